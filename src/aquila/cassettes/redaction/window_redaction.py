"""Redacts bodies that are too large to be held in memory: window by window, as they arrive.

The windows overlap: what is handed on ends where no secret and nothing that tells one is cut. Binary data is searched
where it is text.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from aquila.cassettes.redaction.found_secrets import FoundSecret, merge_found

WINDOW = 256 * 1024
"""Bytes that are searched at once."""

OVERLAP = 16 * 1024
"""Bytes at the end of a window that are searched again with the next one: as long as a secret may be."""

STREAM_WINDOW = 1024 * 1024
STREAM_OVERLAP = 192 * 1024
"""The same for event streams, where a secret may be split over hundreds of events."""

_CONTEXT = 1024
"""Bytes before a secret that may tell that it is one, such as the name of its field."""

_PRINTABLE = b"\t\n\r" + bytes(range(32, 127))
_TEXT = bytes(ord("a") if code in _PRINTABLE else ord(" ") for code in range(256))
_SAMPLE = 61  # one byte of so many tells whether a window is text
_TEXT_RUN = b"a" * 12
"""The shortest text in binary data in which a secret with what tells it has room."""


class WindowScrubber(Protocol):
    """What finds and replaces secrets in one window."""

    @property
    def changes_texts(self) -> bool:
        """Whether every text must go through it."""

    def find_secrets(self, data: bytes) -> list[FoundSecret]:
        """Return the merged places of secrets, in order."""

    def find_split_secrets(self, data: bytes) -> list[list[FoundSecret]]:
        """Return for each secret that is split over events the places of its parts, in order."""

    def find_outside_texts(self, data: bytes, shortest: int) -> list[FoundSecret]:
        """Return the places of those known values that are no text of at least ``shortest`` characters."""

    def scrub_bytes(
        self, data: bytes, *, cuts: Sequence[int] = (), split: bool = False, cut_off: bool = False, large: bool = False
    ) -> tuple[bytes, Sequence[int]]:
        """Return the data without secrets, and the cuts moved along."""


class CleanPart(NamedTuple):
    """Bytes without secrets, where in them chunks end, and whether there was a secret."""

    data: bytes
    ends: Sequence[int]
    changed: bool


def find_in_window(data: bytes, scrubber: WindowScrubber) -> list[FoundSecret]:
    """Find secrets in a window. In binary data only texts are searched, and the known values everywhere."""
    sample = data[::_SAMPLE]
    if len(sample.translate(None, _PRINTABLE)) * 16 < len(sample):
        return scrubber.find_secrets(data)
    found = scrubber.find_outside_texts(data, len(_TEXT_RUN))
    text = data.translate(_TEXT)
    start = text.find(_TEXT_RUN)
    while start >= 0:
        end = text.find(b" ", start)
        end = len(text) if end < 0 else end
        for one in scrubber.find_secrets(data[start:end]):
            found.append(one._replace(start=one.start + start, end=one.end + start))
        start = text.find(_TEXT_RUN, end)
    return merge_found(found)


class LargeBodyRedactor:
    """Redacts a body that arrives in chunks. ``is_stream`` says that it is an event stream. Not thread-safe.

    The clean parts together are the clean body, and their ends, one for each chunk, are where its chunks end.
    """

    def __init__(self, scrubber: WindowScrubber, *, is_stream: bool) -> None:
        self._scrubber = scrubber
        self._is_stream = is_stream
        self._window, self._overlap = (STREAM_WINDOW, STREAM_OVERLAP) if is_stream else (WINDOW, OVERLAP)
        self._enough = self._window
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._cuts: list[int] = []

    def add_chunk(self, data: bytes) -> None:
        """Take in a chunk."""
        if len(data) <= self._window:
            self._pieces.append(data)
        else:
            self._pieces += [data[start : start + self._window] for start in range(0, len(data), self._window)]
        self._size += len(data)
        self._cuts.append(self._size)

    @property
    def is_full(self) -> bool:
        """Whether there is a window to search, so that ``take_part`` has something to do."""
        return self._size >= self._enough

    def take_part(self) -> CleanPart:
        """Return what is clean of the bytes so far, and keep the rest for the next window."""
        taken: list[bytes] = []
        size = 0
        while size < self._enough:
            taken.append(self._pieces.popleft())
            size += len(taken[-1])
        window = b"".join(taken)
        found = find_in_window(window, self._scrubber)
        split = self._scrubber.find_split_secrets(window) if self._is_stream else []
        stop = self._safe_stop(window, found, split)
        self._enough = len(window) - stop + self._window - self._overlap
        return self._hand_on(window, stop, merge_found(itertools.chain(found, *split)), cut_off=False)

    def take_rest(self, *, cut_off: bool) -> CleanPart:
        """Return the last part. With ``cut_off`` the body broke off, and a secret may lack its end."""
        window = b"".join(self._pieces)
        self._pieces.clear()
        found = find_in_window(window, self._scrubber)
        split = self._scrubber.find_split_secrets(window) if self._is_stream else []
        return self._hand_on(window, len(window), merge_found(itertools.chain(found, *split)), cut_off=cut_off)

    def _hand_on(self, window: bytes, stop: int, found: Sequence[FoundSecret], *, cut_off: bool) -> CleanPart:
        count = bisect_right(self._cuts, stop)
        ends: Sequence[int] = self._cuts[:count]
        data = before = window if stop == len(window) else window[:stop]
        if cut_off or self._scrubber.changes_texts or (found and found[0].start < stop):
            data, ends = self._scrubber.scrub_bytes(data, cuts=ends, split=self._is_stream, cut_off=cut_off, large=True)
        if stop < len(window):
            self._pieces.appendleft(window[stop:])
        self._size -= stop
        self._cuts = [cut - stop for cut in self._cuts[count:]]
        return CleanPart(data, ends, data != before)

    def _safe_stop(self, window: bytes, found: Sequence[FoundSecret], split: Iterable[Sequence[FoundSecret]]) -> int:
        """Return where a window may be cut. 0 if nowhere: then the next one is larger."""
        stop = len(window) - self._overlap
        if self._is_stream:
            stop = _end_of_event(window, stop)
            # No part of a secret is handed on before the others: they would no longer be found.
            for parts in sorted(split, key=lambda parts: parts[0].start, reverse=True):
                if parts[0].start < stop <= parts[-1].start:
                    stop = _end_of_event(window, parts[0].start)
        else:
            # A line or a word is whole if there is an end of one nearby.
            near = max(window.rfind(b"\n", stop - _CONTEXT, stop), window.rfind(b" ", stop - _CONTEXT, stop)) + 1
            stop = near or stop
        for one in found:
            if one.start - _CONTEXT < stop < one.end:
                stop = one.end if one.end < len(window) else max(0, one.start - _CONTEXT)
        return stop if stop > 0 or len(window) < 4 * self._window else len(window)


def _end_of_event(window: bytes, before: int) -> int:
    """Return where the last event ends that ends before a place, or 0."""
    blank_lines = (b"\n\n", b"\r\n\r\n", b"\r\r")
    ends = [at + len(line) for line in blank_lines if (at := window.rfind(line, 0, before)) >= 0]
    return max(ends, default=0)


def redact_pieces(
    pieces: Iterable[bytes], scrubber: WindowScrubber, *, is_stream: bool = False, cut_off: bool = False
) -> Iterator[CleanPart]:
    """Yield the clean parts of a body that is given in pieces."""
    redactor = LargeBodyRedactor(scrubber, is_stream=is_stream)
    for piece in pieces:
        redactor.add_chunk(piece)
        while redactor.is_full:
            yield redactor.take_part()
    yield redactor.take_rest(cut_off=cut_off)
