"""When which part of a body arrived, as one line: ``412 435x2 451:18``.

Each item is a chunk, with its time in milliseconds. ``412`` reaches to the end of the event in which it begins,
``435x2`` to the end of the second event from there, ``451:18`` has 18 bytes. A body that is no event table counts as
one event. The line stands apart from the text, so that a stream that is recorded again with the same text but other
times changes one line.
"""

from __future__ import annotations

import itertools
import re
from array import array
from bisect import bisect_right
from collections.abc import Sequence

from aquila.cassettes.model import RecordedChunk

_ITEM = re.compile(r"([0-9]{1,15})(?:x([0-9]{1,9})|:([0-9]{1,15}))?", re.ASCII)

_SIZE = re.compile(r"([0-9]+):([0-9]+)", re.ASCII)
_AT_ONCE = 10_000
_SIZES = re.compile(r"[0-9]{1,15}+:[0-9]{1,15}+(?: [0-9]{1,15}+:[0-9]{1,15}+)*+", re.ASCII)


class ChunkListError(ValueError):
    """A chunk list that does not fit its body."""


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
    """Return the chunk list of a body that is not at hand: the time and the bytes of each chunk."""
    items = (f"{at}:{size}" for at, size in zip(times, sizes, strict=True))
    return " ".join([" ".join(some) for some in iter(lambda: list(itertools.islice(items, _AT_ONCE)), [])])


def read_sizes(chunk_list: str, total: int) -> tuple[array[int], array[int]]:
    """Return sizes and times as `write_sizes` wrote them. Raises ChunkListError if they do not have ``total`` bytes."""
    sizes, times = array("Q"), array("Q")
    if not chunk_list:
        return sizes, times
    found = _SIZES.fullmatch(chunk_list)
    if found is None:
        raise ChunkListError("'chunks' of a body in a file must be times with bytes ('412:1024 451:18')")
    for item in _SIZE.finditer(chunk_list):  # there may be a million
        times.append(int(item[1]))
        sizes.append(int(item[2]))
    if sum(sizes) != total:
        raise ChunkListError(f"the chunks have {sum(sizes)} bytes, the body {total}")
    return sizes, times


def cut_body(body: bytes, event_ends: Sequence[int], chunk_list: str) -> tuple[RecordedChunk, ...]:
    """Cut a body into the chunks of a chunk list. Raises ChunkListError for a list that does not fit the body."""
    chunks: list[RecordedChunk] = []
    start = done = 0
    if not chunk_list.isascii():
        raise ChunkListError("'chunks' must be times with events or bytes ('412 435x2 451:18')")
    for item in chunk_list.split(" "):
        if item.isdecimal() and len(item) < 16 and done < len(event_ends):  # by far the most common: the next event
            done += 1
            stop = event_ends[done - 1]
            chunks.append(RecordedChunk(body[start:stop], int(item)))
            start = stop
            continue
        found = _ITEM.fullmatch(item)
        if found is None:
            raise ChunkListError(f"'chunks' must be times with events or bytes ('412 435x2 451:18'), not {item[:40]!r}")
        at, events, size = found.groups()
        if size is None:
            done += int(events or 1)
            if not 0 < done <= len(event_ends):
                raise ChunkListError(f"the chunks have more events than the {len(event_ends)} of the body")
            stop = event_ends[done - 1]
        else:
            stop = start + int(size)
            done = bisect_right(event_ends, stop)
        chunks.append(RecordedChunk(body[start:stop], int(at)))
        start = stop
    if start != len(body):
        raise ChunkListError(f"the chunks have {start} bytes, the body {len(body)}")
    return tuple(chunks)
