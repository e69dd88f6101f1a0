"""Event streams, folded: what their events share is written once, and what varies is a line of a table.

The form is described in unfold.py, which reads it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate

from aquila.cassettes.codecs.sse_fold import templates
from aquila.cassettes.codecs.sse_fold.fold_reader import MAX_GROWTH, Folded, unfold
from aquila.cassettes.model import RecordedChunk

MAX_BODY = 32 * 1024 * 1024
"""A stream larger than this is not folded."""

_STREAM = re.compile(rb"(?:data|event|id|retry|):")
_FOLDABLE = re.compile("[^\t\r\0]*")  # a tab separates cells; a CR is left where it stands alone


def fold(chunks: Sequence[RecordedChunk]) -> Folded | None:
    """Fold an event stream.

    Returns None for what is no event stream, does not get shorter, or would not unfold to exactly these chunks.
    Never raises: folding makes a file shorter, and a recording is worth more than that.
    """
    try:
        folded = table_of(chunks)
        return folded if folded is not None and unfold(folded) == tuple(chunks) else None
    except Exception:  # noqa: BLE001 - whatever is wrong with the fold, the chunks can be stored as they are
        return None


def table_of(chunks: Sequence[RecordedChunk]) -> Folded | None:
    """Fold an event stream, without the check that it unfolds again."""
    body = b"".join([chunk.data for chunk in chunks])
    if len(body) > MAX_BODY or not _STREAM.match(body):
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    crlf = "\r" in text
    if crlf:
        if text.count("\r\n") != text.count("\n"):
            return None  # now the one line end, now the other
        text = text.replace("\r\n", "\n")
    if not _FOLDABLE.fullmatch(text):
        return None
    *events, tail = text.split("\n\n")
    ends = list(accumulate([len(event.encode()) + 2 + crlf * (event.count("\n") + 2) for event in events]))
    found = templates.find([event.replace("«", "«»") for event in events])
    if tail:
        found.lines.append(["~", *tail.replace("«", "«»").split("\n")])
        ends.append(len(body))
    folded = Folded("\n".join(_with_chunks(found.lines, ends, chunks)) + "\n", found.templates, found.shared, crlf)
    size = len(folded)
    return folded if size < len(body) < MAX_GROWTH * size else None


def _with_chunks(lines: Sequence[Sequence[str]], ends: Sequence[int], chunks: Sequence[RecordedChunk]) -> Iterator[str]:
    """Write the lines, each with the chunks that begin in it; equal lines are written once, with their number."""
    starts = list(accumulate([len(chunk.data) for chunk in chunks], initial=0))
    waiting = deque(zip(starts, [chunk.at for chunk in chunks], strict=False))
    begin, line, repeats = 0, "", 0
    for cells, end in zip(lines, ends, strict=True):
        marks = ""
        while waiting and waiting[0][0] < end:
            start, at = waiting.popleft()
            marks += f"{at}+{start - begin} " if start > begin else f"{at} "
        begin = end
        again = not marks and len(cells) == 1 and line.rpartition(" ")[2] == cells[0] and cells[0] != "="
        if again:
            repeats += 1
            continue
        if line:
            yield f"{line}*{repeats}" if repeats > 1 else line
        line = marks + "\t".join(cells)
        repeats = 1
    if line:
        yield f"{line}*{repeats}" if repeats > 1 else line
    if waiting:
        yield " ".join([str(at) for _, at in waiting])
