"""Rebuilds an event stream from its table, and the chunks of any body from its chunk list.

A table has *layouts* and *events*, both plain text:

- A layout is the text of an event, with placeholders where events differ: ``"delta":{"content":«content»}``. The names
  of placeholders are for human readers only, except ``«spaces»``, whose cell is a number of blanks. ``«»`` is the
  character ``«`` itself.
- Each line of ``events`` is an event: the name of a layout, then a cell for each placeholder, separated by tabs. An
  empty or missing cell has the text of that cell in the last line with the same layout.
- A line with ``=`` instead of a name has the lines of the event itself as cells. ``~`` means the same, but no blank
  line ends the event, as at the end of a stream that broke off.

Cells are literal text, not values, so the stream is rebuilt to the byte.

A *chunk list* says when which part of a body arrived, as one line: ``412 435x2 451:18``. Each item is a chunk, with its
time in milliseconds. ``412`` reaches to the end of the event in which it begins, ``435x2`` to the end of the second
event from there, ``451:18`` has 18 bytes. A body that is no event table counts as one event. The line is separate from
the text. So if a stream is recorded again with the same text but other times, only this line changes.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from aquila.cassettes.model import RecordedChunk

SPACES = "spaces"
"""The name of a placeholder for the blanks before an event's last brace, with which some servers hide its length."""

MAX_GROWTH = 64
"""A stream is at most this many times as large as its table, so that a small file cannot fill the memory."""

_LAYOUT_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_PLACEHOLDER = re.compile("«([^«»]*)»")
_ITEM = re.compile(r"([0-9]{1,15})(?:x([0-9]{1,9})|:([0-9]{1,15}))?", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,15}):([0-9]{1,15})(?: (?=[0-9])|\Z)", re.ASCII)


class TableError(ValueError):
    """A table that no stream can be built from.

    ``part`` is ``layouts`` or ``events``. ``key`` is the name of the layout, or the number of the line in ``events``,
    from 0.
    """

    def __init__(self, what: str, part: str, key: str | int) -> None:
        super().__init__(what)
        self.part = part
        self.key = key


class ChunkListError(ValueError):
    """A chunk list that does not fit its body."""


@dataclass(frozen=True, slots=True)
class EventTable:
    """An event stream as a table. ``crlf`` says that the lines of the stream end in CR LF."""

    events: str
    layouts: Mapping[str, str] = field(default_factory=dict)
    crlf: bool = False

    def __len__(self) -> int:
        """The number of characters that the table takes."""
        return len(self.events) + sum([len(name) + len(text) for name, text in self.layouts.items()])


def build_stream(table: EventTable) -> tuple[bytes, list[int]]:
    """Return the body of a stream, and the positions in it at which its events end. Raises TableError."""
    texts = TableReader(table.layouts, limit=MAX_GROWTH * len(table), crlf=table.crlf).read_events(table.events)
    stream = "".join(texts)
    lengths = map(len, texts if stream.isascii() else map(str.encode, texts))
    return stream.encode(), list(accumulate(lengths))


class TableReader:
    """Reads the rows of one table, or of several that share their layouts.

    All events together have at most ``limit`` characters. Raises TableError.
    """

    def __init__(self, layouts: Mapping[str, str], *, limit: int, crlf: bool = False) -> None:
        self._layouts = {name: _FillableLayout(name, text) for name, text in layouts.items()}
        self._left = limit
        self._crlf = crlf
        self._used: set[str] = set()

    def read_events(self, rows: str) -> list[str]:
        """Return the events in the rows of one table, each with the blank line that ends it. Raises TableError."""
        for name in self._used:
            self._layouts[name].forget_row()
        self._used.clear()
        texts: list[str] = []
        for number, line in enumerate(rows.removesuffix("\n").split("\n")):
            name, *cells = line.split("\t")
            try:
                if name in self._layouts:
                    text = self._layouts[name].fill(cells)
                    self._used.add(name)
                elif name in ("=", "~") and cells:
                    text = "\n".join(cells) + "\n\n" * (name == "=")
                else:
                    raise ValueError(f"no layout {name[:40]!r}")
            except ValueError as error:
                raise TableError(str(error), "events", number) from None
            if self._crlf:
                text = text.replace("\n", "\r\n")
            self._left -= len(text)
            if self._left < 0:
                raise TableError(f"the stream is more than {MAX_GROWTH} times as large as its table", "events", number)
            texts.append(text)
        return texts


class _FillableLayout:
    """A layout that can be filled with cells. It keeps the cells of the last line."""

    def __init__(self, name: str, text: str) -> None:
        if not _LAYOUT_NAME.fullmatch(name):
            raise TableError(f"not the name of a layout: {name[:40]!r}", "layouts", name)
        pieces = _PLACEHOLDER.split(text.replace("%", "%%"))
        names = [name for name in pieces[1::2] if name]
        pieces[1::2] = ["%s" if name else "«" for name in pieces[1::2]]
        self._format = "".join(pieces) + "\n\n"  # Python's own formatting is the fastest way to fill a text
        self._width = len(names)
        self._spaces = [number for number, name in enumerate(names) if name == SPACES]
        self._last: list[str] = []

    def fill(self, cells: list[str]) -> str:
        """Return the text of an event. Raises ValueError."""
        if len(cells) != self._width or "" in cells:
            cells = self._complete(cells)
        self._last = cells
        if self._spaces:
            cells = [_blanks(cell) if at in self._spaces else cell for at, cell in enumerate(cells)]
        return self._format % tuple(cells)

    def forget_row(self) -> None:
        """Forget the cells of the last line."""
        self._last = []

    def _complete(self, cells: list[str]) -> list[str]:
        """Fill the empty cells of a line from the layout's last line."""
        missing = self._width - len(cells)
        if missing < 0:
            raise ValueError(f"{len(cells)} cells for {self._width} placeholders")
        if not self._last:
            raise ValueError("the first line of a layout must fill all its placeholders")
        return [cell or before for cell, before in zip([*cells, *[""] * missing], self._last, strict=True)]


def _blanks(count: str) -> str:
    if not (count.isdigit() and count.isascii() and len(count) < 6):
        raise ValueError(f"{SPACES} must be a number of blanks")
    return " " * int(count)


# --- chunk lists


def read_sizes(chunk_list: str, total: int) -> tuple[array[int], array[int]]:
    """Return sizes and times from a chunk list of `write_sizes`. Raises ChunkListError if the sum is not ``total``."""
    sizes, times = array("Q"), array("Q")
    if not chunk_list:
        return sizes, times
    at = 0
    while at < len(chunk_list):  # there may be a million items
        item = _SIZE.match(chunk_list, at)
        if item is None:
            raise ChunkListError("'chunks' of a body in a file must be times with bytes ('412:1024 451:18')")
        times.append(int(item[1]))
        sizes.append(int(item[2]))
        at = item.end()
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
