"""Bytes with their escapes decoded, and the way back: a secret may be written with the escapes of JSON or of a URL."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator


class DecodedView:
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

    def locate_in_raw(self, start: int, end: int) -> tuple[int, int]:
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


def _decode_json_escape(match: re.Match[bytes]) -> bytes:
    high, low, code, char = match.groups()
    if char:
        return _CONTROLS.get(char, char)
    if code:
        return chr(int(code, 16)).encode("utf-8", "surrogatepass")
    return chr(0x10000 + (int(high, 16) - 0xD800) * 0x400 + int(low, 16) - 0xDC00).encode()


def _decode_percent(match: re.Match[bytes]) -> bytes:
    return bytes((int(match[1], 16),))


def decode_json_escapes(raw: bytes) -> DecodedView:
    """Decode the escapes of JSON strings."""
    return DecodedView(raw, _JSON_ESCAPE, _decode_json_escape)


# Characters that need no escape, so that a secret may be written with it or without.
_NEEDLESS = re.compile(rb"\\(?:u00[2-7]|/)")
_NEEDLESS_IN_UNICODE = re.compile(rb"\\(?:u[0-9a-fA-F]|/)")


def decoded_views(raw: bytes, *, ascii_only: bool) -> Iterator[DecodedView]:
    """Decode the escapes that may hide something, those of JSON and those of URLs.

    With ``ascii_only`` what may be hidden is ASCII: texts whose only escapes are those of other letters hide nothing.
    """
    if b"\\" in raw and (_NEEDLESS if ascii_only else _NEEDLESS_IN_UNICODE).search(raw):
        yield decode_json_escapes(raw)
    if b"%" in raw and _PERCENT.search(raw):
        yield DecodedView(raw, _PERCENT, _decode_percent)


_CUT_ESCAPE = re.compile(rb"(\\+)(u[0-9a-fA-F]{0,3})?$")


def widen_to_whole_escapes(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Widen a span that would cut a backslash escape in two, which would leave broken JSON."""
    match = _CUT_ESCAPE.search(data, max(0, start - 64), start)
    if match and len(match[1]) % 2:
        start = match.end(1) - 1
    match = _CUT_ESCAPE.search(data, max(start, end - 64), end)
    if match and len(match[1]) % 2:
        begun = match.end(1)
        end = begun + (5 if data[begun : begun + 1] == b"u" else 1)
    return start, min(end, len(data))
