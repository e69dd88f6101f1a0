"""Writes an event stream as a table, and the times of a body's chunks as a line (see ``stream_reader``).

Events that differ only in their JSON scalars share a layout. A scalar that is the same in all of them is part of the
layout; the others are cells. The way in which an event is split into scalars and the rest only decides how short the
table is, and never whether it is right: the pieces in their order are always the text of the event.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from string import ascii_lowercase

from aquila.cassettes.body_file import looks_like_event_stream
from aquila.cassettes.codecs.event_streams.stream_reader import MAX_GROWTH, SPACES, EventTable, build_stream, cut_body
from aquila.cassettes.model import RecordedChunk

MAX_BODY = 32 * 1024 * 1024
"""A stream with more bytes is not written as a table."""

NOT_IN_A_TABLE = re.compile("[\t\r\0]")  # a tab separates cells; a CR is left only where it stands alone
"""Characters that no event of a table may have."""
_STRING = r'"[^"\\\n]*(?:\\[^\n][^"\\\n]*)*"'
_SCALAR = (
    rf"((?>(?<=\Aevent: )[^\n]+|{_STRING}|(?<![\w.+-])-?[0-9][0-9.eE+-]*(?![\w.])|\b(?:true|false|null)\b"
    r"|\[[0-9.eE+, -]*\]|[ ]+(?=\}\Z)))"  # a list of numbers, whose length may vary; blanks before the last brace
)
_KEY_OR_SCALAR = re.compile(
    rf"{_STRING}\s*:|{_SCALAR}"
    # A string without an end. Without this alternative, the search would read from each quote to the end of the line.
    r'|"[^"\\\n]*+(?>(?:\\[^\n][^"\\\n]*+)*)'
)
_KEY_BEFORE = re.compile(r'(?:"|\A)([A-Za-z_][A-Za-z0-9_]{0,39})"?\s*:\s*\[?\s*\Z')
_LINE_COST = 10
"""The characters that a line or a layout takes besides its text: indentation, name, line break."""
_MANY = 200
"""After so many events with the same fixed pieces a pattern is made, which splits others in a tenth of the time."""
_MOST_PIECES = 100
"""Of a pattern. To compile one takes 0.1 s then, and 20 s for a hundred times as many."""
_AT_ONCE = 10_000  # items of a chunk list that are joined at a time


class FoldedChunks(tuple[RecordedChunk, ...]):
    """The chunks of an event stream together with its table, so that the table need not be computed again."""

    written: tuple[EventTable, str]

    def __new__(cls, chunks: Sequence[RecordedChunk], written: tuple[EventTable, str]) -> FoldedChunks:
        """Return ``chunks`` with ``written``, the result of ``write_table`` for them."""
        folded = super().__new__(cls, chunks)
        folded.written = written
        return folded


def write_table(chunks: Sequence[RecordedChunk]) -> tuple[EventTable, str] | None:
    """Write an event stream as a table and the list of its chunks.

    Returns None for a body that is no event stream, that is not shorter as a table, or that would not be rebuilt to
    exactly these chunks. Never raises: without a table, the body is stored as it is.
    """
    if isinstance(chunks, FoldedChunks):
        return chunks.written
    try:
        return _write_checked_table(chunks)
    except Exception:  # noqa: BLE001 - whatever the mistake, the body can be stored as it is
        return None


def _write_checked_table(chunks: Sequence[RecordedChunk]) -> tuple[EventTable, str] | None:
    body = b"".join([chunk.data for chunk in chunks])
    table = _table_of(body)
    if table is None or not len(table) < len(body) < MAX_GROWTH * len(table):
        return None
    rebuilt, event_ends = build_stream(table)
    chunk_list = write_chunk_list(chunks, event_ends)
    if rebuilt != body or cut_body(rebuilt, event_ends, chunk_list) != tuple(chunks):
        return None
    return table, chunk_list


def _table_of(body: bytes) -> EventTable | None:
    if len(body) > MAX_BODY or not looks_like_event_stream(body):
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    crlf = "\r\n" in text
    if crlf:
        text = text.replace("\r\n", "\n")  # a stream with mixed line ends fails the comparison with the rebuilt one
    if NOT_IN_A_TABLE.search(text):
        return None
    *events, rest = text.split("\n\n")
    layouts, rows = _find_layouts(events, [0] * len(events))
    if rest:
        rows.append(["~", *rest.split("\n")])
    return EventTable(_join_rows(rows), layouts, crlf)


def write_tables(groups: Sequence[Sequence[str]]) -> tuple[dict[str, str], list[str]]:
    """Write groups of events as tables that share their layouts. Return the layouts, and the rows of each table.

    No event may hold a tab, a CR or a NUL character.
    """
    events = [event for group in groups for event in group]
    layouts, rows = _find_layouts(events, [number for number, group in enumerate(groups) for _ in group])
    written: list[str] = []
    done = 0
    for group in groups:
        written.append(_join_rows(rows[done : done + len(group)]))
        done += len(group)
    return layouts, written


def _join_rows(rows: Iterable[Sequence[str]]) -> str:
    return "".join(["\t".join(row) + "\n" for row in rows])


def _find_layouts(events: Sequence[str], tables: Sequence[int]) -> tuple[dict[str, str], list[list[str]]]:
    """Return the layouts of events, and the row of each event. ``tables`` has the number of each event's table."""
    pieces = list(_split_events(events))
    rows = [["=", *event.split("\n")] for event in events]
    groups: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, (fixed, _) in enumerate(pieces):
        groups[fixed].append(number)
    layouts: dict[str, str] = {}
    names = _layout_names()
    for fixed, members in groups.items():
        if len(members) == 1:
            continue
        layout, cells = _layout_of(
            fixed, [pieces[number][1] for number in members], [tables[number] for number in members]
        )
        size = len(layout) + _LINE_COST + sum([len("\t".join(row)) + 2 for row in cells])
        if size < sum([len(events[number]) for number in members]):
            name = next(names)
            layouts[name] = layout
            for number, row in zip(members, cells, strict=True):
                rows[number] = [name, *row]
    return layouts, rows


def _layout_names() -> Iterator[str]:
    """Yield a, b, ... z, aa, ab, ..."""
    yield from ascii_lowercase
    for prefix in _layout_names():
        for letter in ascii_lowercase:
            yield prefix + letter


def _split_events(events: Iterable[str]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    seen: defaultdict[tuple[str, ...], int] = defaultdict(int)
    usual: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None  # of events with the fixed pieces ``usual``
    for event in events:
        if pattern is not None and (found := pattern.fullmatch(event)) is not None:
            yield usual, found.groups()
            continue
        fixed, scalars = _split_event(event)
        seen[fixed] += 1
        if seen[fixed] == _MANY and len(fixed) <= _MOST_PIECES:
            usual, pattern = fixed, re.compile(_SCALAR.join(map(re.escape, fixed)))
        yield fixed, scalars


def _split_event(event: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split an event into its fixed pieces and the scalars between them. Keys belong to the fixed pieces."""
    fixed: list[str] = []
    scalars: list[str] = []
    end = 0
    for found in _KEY_OR_SCALAR.finditer(event):
        if found[1] is not None:
            fixed.append(event[end : found.start(1)])
            scalars.append(found[1])
            end = found.end(1)
    return (*fixed, event[end:]), tuple(scalars)


def _layout_of(
    fixed: Sequence[str], scalars: Sequence[tuple[str, ...]], tables: Sequence[int]
) -> tuple[str, list[list[str]]]:
    """Return the layout of events that have their fixed pieces in common, and the cells of each event's row."""
    layout = _escape(fixed[0])
    columns: list[Sequence[str]] = []
    for number, column in enumerate(zip(*scalars, strict=True)):
        if column.count(column[0]) == len(column):
            layout += _escape(column[0])
        elif not any(cell.strip(" ") for cell in column):
            columns.append([str(len(cell)) for cell in column])
            layout += f"«{SPACES}»"
        else:
            columns.append(column)
            key = _KEY_BEFORE.search(fixed[number])
            layout += f"«{key[1] if key and key[1] != SPACES else 'x'}»"
        layout += _escape(fixed[number + 1])
    rows = list(zip(*columns, strict=True)) if columns else [()] * len(scalars)
    return layout, list(_without_repeated_cells(rows, tables))


def _without_repeated_cells(rows: Sequence[Sequence[str]], tables: Sequence[int]) -> Iterator[list[str]]:
    """Yield the rows without the cells that are equal in the row before of the same table."""
    before: Sequence[str] = ()
    table = -1
    for row, table_of_row in zip(rows, tables, strict=True):
        if table_of_row != table:
            before, table = [""] * len(row), table_of_row
        cells = ["" if cell == above else cell for cell, above in zip(row, before, strict=True)]
        before = row
        while cells and not cells[-1]:
            cells.pop()
        yield cells


def _escape(text: str) -> str:
    return text.replace("«", "«»")


# --- chunk lists


def write_chunk_list(chunks: Sequence[RecordedChunk], event_ends: Sequence[int]) -> str:
    """Return the chunk list of a body.

    ``event_ends`` are the positions in the body, in bytes, at which its events end, in ascending order.
    """
    items: list[str] = []
    events_before = {end: number for number, end in enumerate(event_ends, 1)}
    start, done = 0, 0
    for chunk in chunks:
        stop = start + len(chunk.data)
        ended = events_before.get(stop) if chunk.data else None
        if ended is None:
            items.append(f"{chunk.at}:{len(chunk.data)}")
            done = bisect_right(event_ends, stop)
        else:
            items.append(f"{chunk.at}" if ended == done + 1 else f"{chunk.at}x{ended - done}")
            done = ended
        start = stop
    return " ".join(items)


def write_sizes(sizes: Sequence[int], times: Sequence[int]) -> str:
    """Return the chunk list of a body that lies in a file: the time and the size in bytes of each chunk."""
    items = (f"{at}:{size}" for at, size in zip(times, sizes, strict=True))
    return " ".join([" ".join(some) for some in iter(lambda: list(itertools.islice(items, _AT_ONCE)), [])])
