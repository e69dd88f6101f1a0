"""Places in bytes: finding them through an encoding, and replacing them without moving what is around them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

PLACEHOLDER = b"[redacted]"
"""What stands in place of a secret: always the same, so that two developers' requests stay equal."""


class Span(NamedTuple):
    """Bytes ``start`` to ``end`` are a secret of this ``kind``, to be replaced by ``replacement``."""

    start: int
    end: int
    kind: str
    replacement: bytes = PLACEHOLDER


def merged(spans: Iterable[Span]) -> list[Span]:
    """Sort spans and join those that overlap or touch; a joint one is replaced once."""
    result: list[Span] = []
    for span in sorted(spans):
        if result and span.start <= result[-1].end:
            last = result[-1]
            # Of the pieces of a secret only the first has a text; it wins over the empty ones.
            replacement = max(last.replacement, span.replacement, key=len)
            result[-1] = Span(last.start, max(last.end, span.end), last.kind, replacement)
        else:
            result.append(span)
    return result


def in_placeholder(data: bytes, start: int, end: int) -> bool:
    """Say whether a place is part of a placeholder that already stands there."""
    at = data.find(PLACEHOLDER, max(0, end - len(PLACEHOLDER)), start + len(PLACEHOLDER))
    return at >= 0 and at <= start and end <= at + len(PLACEHOLDER)


def replaced(data: bytes, spans: Sequence[Span], cuts: Sequence[int] = ()) -> tuple[bytes, list[int]]:
    """Replace merged spans. Return the new bytes, and where ``cuts`` (sorted offsets into ``data``) lie in them.

    A cut inside a span falls at the same fraction of its replacement.
    """
    pieces: list[bytes] = []
    moved: list[int] = []
    waiting = iter(cuts)
    cut = next(waiting, None)
    done, length = 0, 0
    for span in (*spans, Span(len(data), len(data), "", b"")):
        while cut is not None and cut <= span.start:
            moved.append(length + cut - done)
            cut = next(waiting, None)
        length += span.start - done
        while cut is not None and cut < span.end:
            moved.append(length + (cut - span.start) * len(span.replacement) // (span.end - span.start))
            cut = next(waiting, None)
        pieces += (data[done : span.start], span.replacement)
        length += len(span.replacement)
        done = span.end
    return b"".join(pieces), moved


class View:
    """Bytes with their escapes decoded, and the way back to the bytes as they stood."""

    __slots__ = ("_decoded", "_raw", "data")

    def __init__(self, raw: bytes, escape: re.Pattern[bytes], decode: Callable[[re.Match[bytes]], bytes]) -> None:
        pieces: list[bytes] = []
        # Offsets at which runs begin, in the decoded bytes and in the raw ones: literal text and escapes by turns.
        self._decoded = [0]
        self._raw = [0]
        length = position = 0
        for match in escape.finditer(raw):
            text = decode(match)
            pieces += (raw[position : match.start()], text)
            length += match.start() - position
            self._decoded += (length, length + len(text))
            self._raw += (match.start(), match.end())
            length += len(text)
            position = match.end()
        pieces.append(raw[position:])
        self.data = b"".join(pieces)

    def raw(self, start: int, end: int) -> tuple[int, int]:
        """Where bytes of the decoded text stand in the raw bytes; escapes are taken whole."""
        at = bisect_right(self._decoded, start) - 1
        first = self._raw[at] + (start - self._decoded[at] if at % 2 == 0 else 0)
        at = bisect_right(self._decoded, end - 1) - 1
        last = self._raw[at + 1] if at % 2 else self._raw[at] + end - self._decoded[at]
        return first, last


_JSON_ESCAPE = re.compile(
    rb"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|\\u([0-9a-fA-F]{4})"
    rb'|\\(["\\/bfnrt])'
)
_CONTROLS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_PERCENT = re.compile(rb"%([0-9a-fA-F]{2})")


def _json_escape(match: re.Match[bytes]) -> bytes:
    high, low, code, char = match.groups()
    if char:
        return _CONTROLS.get(char, char)
    if code:
        return chr(int(code, 16)).encode("utf-8", "surrogatepass")
    return chr(0x10000 + (int(high, 16) - 0xD800) * 0x400 + int(low, 16) - 0xDC00).encode()


def _percent(match: re.Match[bytes]) -> bytes:
    return bytes((int(match[1], 16),))


def json_view(raw: bytes) -> View:
    """Decode the escapes of JSON strings."""
    return View(raw, _JSON_ESCAPE, _json_escape)


# Characters that need no escape, so that a secret may be written with it or without.
_NEEDLESS = re.compile(rb"\\(?:u00[2-7]|/)")
_NEEDLESS_IN_UNICODE = re.compile(rb"\\(?:u[0-9a-fA-F]|/)")


def views(raw: bytes, *, ascii_only: bool) -> Iterator[View]:
    """Decode the escapes that may hide something, those of JSON and those of URLs.

    With ``ascii_only`` what may be hidden is ASCII: texts whose only escapes are those of other letters hide nothing.
    """
    if b"\\" in raw and (_NEEDLESS if ascii_only else _NEEDLESS_IN_UNICODE).search(raw):
        yield json_view(raw)
    if b"%" in raw and _PERCENT.search(raw):
        yield View(raw, _PERCENT, _percent)


_CUT_ESCAPE = re.compile(rb"(\\+)(u[0-9a-fA-F]{0,3})?$")


def whole_escapes(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Widen a span that would cut a backslash escape in two, which would leave broken JSON."""
    match = _CUT_ESCAPE.search(data, max(0, start - 64), start)
    if match and len(match[1]) % 2:
        start = match.end(1) - 1
    match = _CUT_ESCAPE.search(data, max(start, end - 64), end)
    if match and len(match[1]) % 2:
        begun = match.end(1)
        end = begun + (5 if data[begun : begun + 1] == b"u" else 1)
    return start, min(end, len(data))
