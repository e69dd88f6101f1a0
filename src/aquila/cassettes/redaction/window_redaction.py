"""Redacts bodies that are too large to be held in memory, window by window, as they arrive.

The windows overlap. A window is handed on only up to a place that cuts neither a secret nor the context by which one is
recognised. The rest is searched again with the next window. In binary data, only the stretches of text are searched
for patterns.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from aquila.cassettes.amazon_frames import begins_with_frame
from aquila.cassettes.redaction.found_secrets import FoundSecret, SecretNumbers, merge_found
from aquila.cassettes.redaction.split_secrets.aws_frames import end_of_frame

if TYPE_CHECKING:
    from aquila.cassettes.redaction.scrubber import Scrubber

WINDOW = 256 * 1024
"""How many bytes are searched at once."""

OVERLAP = 16 * 1024
"""How many bytes at the end of a window are searched again with the next one. No secret may be longer."""

STREAM_WINDOW = 1024 * 1024
STREAM_OVERLAP = 192 * 1024
"""The same for event streams, where a secret may be split over hundreds of events."""

_CONTEXT = 1024
"""How many bytes before a secret may be needed to recognise it, such as the name of its field."""

_BOUNDARIES: tuple[tuple[tuple[bytes, bytes], ...], ...] = (
    ((b"\n\n", b""), (b"\r\n\r\n", b""), (b"\r\r", b"")),
    ((b"\n", b""), (b"\r", b"")),
    ((b"}", b'{"'), (b"},", b'{"')),
)
"""What ends an event, and what must follow it. In this order: a blank line, a line, a JSON object before another one.

A JSON string holds no line break. Only a string that ends in ``}{`` or ``},{`` is taken for the third; the cut is then
within it.
"""

_PRINTABLE = b"\t\n\r" + bytes(range(32, 127))
_TEXT = bytes(ord("a") if code in _PRINTABLE else ord(" ") for code in range(256))
_SAMPLE = 61  # one byte in this many is looked at to tell text from binary data; a prime, so that no pattern repeats
_TEXT_PART = 16
"""Less than one byte in this many of a text is not printable ASCII, as in most European languages."""
_TEXT_RUN = b"a" * 12
"""The shortest stretch of text in binary data that has room for a secret with its context."""


class CleanPart(NamedTuple):
    """Bytes without secrets, the offsets at which chunks end in them, and whether there was a secret."""

    data: bytes
    ends: Sequence[int]
    changed: bool


def find_in_window(data: bytes, scrubber: Scrubber) -> list[FoundSecret]:
    """Find secrets in a window. Binary data is searched as a whole only for known values and with added rules.

    Data counts as binary if much of it is not printable ASCII. So a text in Chinese does, too.
    """
    sample = data[::_SAMPLE]
    if len(sample.translate(None, _PRINTABLE)) * _TEXT_PART < len(sample):
        return scrubber.find_secrets(data)
    found = scrubber.find_outside_texts(data, len(_TEXT_RUN), _PRINTABLE)
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

    ``find_scrubber`` is called for each window, because more secrets may be known by then. ``numbers`` has the secrets
    of the request. The clean parts together are the clean body; their ``ends``, one for each chunk, are where its
    chunks end. Belongs to one recorded answer, and is dropped after ``take_rest``.
    """

    def __init__(
        self, find_scrubber: Callable[[], Scrubber], *, is_stream: bool, numbers: SecretNumbers | None = None
    ) -> None:
        self._find_scrubber = find_scrubber
        self._scrubber: Scrubber  # the one for the current window, set by `_find_secrets`
        self._numbers = numbers or SecretNumbers()
        self._is_stream = is_stream
        self._window, self._overlap = (STREAM_WINDOW, STREAM_OVERLAP) if is_stream else (WINDOW, OVERLAP)
        self._enough = self._window  # bytes that must have come before the next window is searched
        # The bytes that came and were not handed on, their number, and the ends of their chunks as offsets in them.
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._cuts: list[int] = []
        self._clean: deque[tuple[int, int]] = deque()
        """Start and end of the bytes that were searched before, and need not be searched again."""

    def add_chunk(self, data: bytes, clean: tuple[int, int] | None = None) -> None:
        """Add a chunk. ``clean`` is start and end of a part of it that was searched before, such as base64.

        That part must be a whole value, so that no secret begins or ends within it.
        """
        if clean is not None:
            self._clean.append((self._size + clean[0], self._size + clean[1]))
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
        """Return the first part of the bytes so far without secrets, and keep the rest for the next window.

        The part may be empty. Call it only if ``is_full``.
        """
        taken: list[bytes] = []
        size = 0
        while size < self._enough:
            taken.append(self._pieces.popleft())
            size += len(taken[-1])
        window = b"".join(taken)
        found, split = self._find_secrets(window)
        stop = self._safe_stop(window, found, split)
        self._enough = len(window) - stop + self._window - self._overlap
        return self._hand_on(window, stop, merge_found(itertools.chain(found, *split)), cut_off=False)

    def take_rest(self, *, cut_off: bool) -> CleanPart:
        """Return the last part. With ``cut_off`` the body broke off, so that a secret at its end may be incomplete."""
        window = b"".join(self._pieces)
        self._pieces.clear()
        found, split = self._find_secrets(window)
        return self._hand_on(window, len(window), merge_found(itertools.chain(found, *split)), cut_off=cut_off)

    def _find_secrets(self, window: bytes) -> tuple[list[FoundSecret], list[list[FoundSecret]]]:
        """Return the secrets that stand in a window as a whole, and those in pieces, which include all in frames."""
        self._scrubber = self._find_scrubber()
        window = self._without_clean(window)
        if not window.strip(b"."):
            return [], []
        split = self._scrubber.find_split_secrets(window) if self._is_stream else []
        framed = self._is_stream and begins_with_frame(window)
        return ([] if framed else find_in_window(window, self._scrubber)), split

    def _without_clean(self, window: bytes) -> bytes:
        """Return a window with dots in place of what is clean. Offsets stay the same, and searching dots is fast."""
        pieces: list[bytes] = []
        at = 0
        for start, end in self._clean:
            if start >= len(window):
                break
            pieces += (window[at:start], b"." * (min(end, len(window)) - start))
            at = end
        return b"".join((*pieces, window[at:])) if pieces else window

    def _scrub(self, data: bytes, ends: Sequence[int], *, cut_off: bool) -> tuple[bytes, Sequence[int]]:
        """Return the beginning of a window without secrets, and the offsets ``ends`` in it. Clean parts stay."""
        scrub = self._scrubber.scrub_body if self._is_stream else self._scrubber.scrub_bytes
        clean = [(start, min(end, len(data))) for start, end in self._clean if start < len(data)]
        places = sorted({*ends, *itertools.chain(*clean)})
        done, moved = scrub(self._without_clean(data), cuts=places, cut_off=cut_off, large=True, numbers=self._numbers)
        place_of = dict(zip(places, moved, strict=True))
        pieces: list[bytes] = []
        at = 0
        for start, end in clean:
            pieces += (done[at : place_of[start]], data[start:end])
            at = place_of[end]
        return b"".join((*pieces, done[at:])), [place_of[end] for end in ends]

    def _hand_on(self, window: bytes, stop: int, found: Sequence[FoundSecret], *, cut_off: bool) -> CleanPart:
        """Return the clean part of a window up to the offset ``stop``, and keep the rest for the next window."""
        count = bisect_right(self._cuts, stop)
        ends: Sequence[int] = self._cuts[:count]
        data = before = window if stop == len(window) else window[:stop]
        if cut_off or self._scrubber.changes_texts or (found and found[0].start < stop):
            data, ends = self._scrub(data, ends, cut_off=cut_off)
        if stop < len(window):
            self._pieces.appendleft(window[stop:])
        self._size -= stop
        self._cuts = [cut - stop for cut in self._cuts[count:]]
        self._clean = deque((max(0, start - stop), end - stop) for start, end in self._clean if end > stop)
        return CleanPart(data, ends, data != before)

    def _safe_stop(self, window: bytes, found: Sequence[FoundSecret], split: Iterable[Sequence[FoundSecret]]) -> int:
        """Return the offset at which a window may be cut; 0 if there is none, so that the next window is larger.

        A window of four times the usual size is cut in any case, so that memory stays bounded.
        """
        stop = len(window) - self._overlap
        event_end = _end_of_event(window, stop) if self._is_stream else 0
        if event_end or (self._is_stream and len(window) < 4 * self._window):
            stop = event_end
            # The parts of a secret are handed on together: without its beginning, the rest would not be found.
            for parts in sorted(split, key=lambda parts: parts[0].start, reverse=True):
                if parts[0].start < stop < parts[-1].end:
                    stop = _end_of_event(window, parts[0].start)
        else:
            # Rather at the end of a line or a word, if there is one nearby.
            near = max(window.rfind(b"\n", stop - _CONTEXT, stop), window.rfind(b" ", stop - _CONTEXT, stop)) + 1
            stop = near or stop
        for one in found:
            if one.start - _CONTEXT < stop < one.end:
                stop = one.end if one.end < len(window) else max(0, one.start - _CONTEXT)
        return stop if stop > 0 or len(window) < 4 * self._window else len(window)


def _end_of_event(window: bytes, before: int) -> int:
    """Return the largest end of an event that is not behind an offset; 0 if there is none."""
    if begins_with_frame(window):
        return end_of_frame(window, before)
    for boundaries in _BOUNDARIES:
        ends = [at + len(end) for end, after in boundaries if (at := window.rfind(end + after, 0, before)) >= 0]
        if ends:
            return max(ends)
    return 0


def redact_pieces(
    pieces: Iterable[bytes],
    scrubber: Scrubber,
    *,
    is_stream: bool = False,
    cut_off: bool = False,
    numbers: SecretNumbers | None = None,
) -> Iterator[CleanPart]:
    """Yield the clean parts of a body that is given in pieces.

    ``cut_off`` is as for ``LargeBodyRedactor.take_rest``; ``is_stream`` and ``numbers`` are as for the class.
    """
    redactor = LargeBodyRedactor(lambda: scrubber, is_stream=is_stream, numbers=numbers)
    for piece in pieces:
        redactor.add_chunk(piece)
        while redactor.is_full:
            yield redactor.take_part()
    yield redactor.take_rest(cut_off=cut_off)
