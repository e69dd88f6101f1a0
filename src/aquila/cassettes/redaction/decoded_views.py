"""Decodes the escapes of JSON, URLs and HTML, which may hide a secret, and maps decoded places back to raw ones."""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator

from aquila.lazy_patterns import lazy_pattern


class DecodedView:
    """Bytes with their escapes decoded, and for each decoded byte the place where it is written in the raw bytes.

    ``raw`` are the bytes with escapes. ``escape`` matches one escape, and ``decode`` returns the bytes that it means.
    ``outer`` is the view whose decoded bytes are ``raw``; None if ``raw`` are the bytes of the body itself. A view is
    not changed after it is built.
    """

    __slots__ = ("_decoded", "_outer", "_raw", "data")

    def __init__(
        self,
        raw: bytes,
        escape: re.Pattern[bytes],
        decode: Callable[[re.Match[bytes]], bytes],
        outer: DecodedView | None = None,
    ) -> None:
        pieces: list[bytes] = []
        # Offsets at which runs begin, in the decoded bytes and in the raw ones: literal text and escapes by turns.
        self._decoded = [0]
        self._raw = [0]
        self._outer = outer
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
        """Return where the decoded bytes from ``start`` to ``end`` are written in the raw bytes, in whole escapes."""
        run = bisect_right(self._decoded, start) - 1
        first = self._raw[run] + (start - self._decoded[run] if run % 2 == 0 else 0)
        run = bisect_right(self._decoded, end - 1) - 1
        last = self._raw[run + 1] if run % 2 else self._raw[run] + end - self._decoded[run]
        return first, last

    def ends_string(self, quote: int) -> bool:
        r"""Say whether the quote at this offset of ``data`` ends a JSON string, although a backslash precedes it.

        It does if the backslash was escaped and the quote was not, as in ``"C:\\"``.
        """
        run = bisect_right(self._decoded, quote) - 1
        if run % 2:
            return False
        if bisect_right(self._decoded, quote - 1) - 1 != run:
            return True
        return self._outer is not None and self._outer.ends_string(self._raw[run] + quote - self._decoded[run])


_JSON_ESCAPE = lazy_pattern(
    rb"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|\\u([0-9a-fA-F]{4})"
    rb'|\\(["\\/bfnrt])'
)
_CONTROLS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_PERCENT = lazy_pattern(rb"%([0-9a-fA-F]{2})")
# Which characters an error page has as references, and in which form, differs between libraries of templates.
_REFERENCE = lazy_pattern(rb"&(?:#0*([0-9]{1,7})|#[xX]0*([0-9a-fA-F]{1,6})|(amp|lt|gt|quot|apos));")
_NAMED = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}


def _decode_json_escape(match: re.Match[bytes]) -> bytes:
    high, low, code, char = match.groups()
    if char:
        return _CONTROLS.get(char, char)
    if code:
        return chr(int(code, 16)).encode("utf-8", "surrogatepass")
    return chr(0x10000 + (int(high, 16) - 0xD800) * 0x400 + int(low, 16) - 0xDC00).encode()


def _decode_percent(match: re.Match[bytes]) -> bytes:
    return bytes((int(match[1], 16),))


def _decode_reference(match: re.Match[bytes]) -> bytes:
    decimal, hexadecimal, name = match.groups()
    if name:
        return _NAMED[name]
    code = int(decimal) if decimal else int(hexadecimal, 16)
    return chr(code).encode("utf-8", "surrogatepass") if code <= sys.maxunicode else match[0]


def decode_json_escapes(raw: bytes, outer: DecodedView | None = None) -> DecodedView:
    """Return a view of ``raw`` without the escapes of JSON strings. ``outer`` is as in ``DecodedView``."""
    return DecodedView(raw, _JSON_ESCAPE, _decode_json_escape, outer)


# Characters that need no escape, so that a secret may be written with it or without.
_NEEDLESS = lazy_pattern(rb"\\(?:u00[2-7]|/)")
_NEEDLESS_IN_UNICODE = lazy_pattern(rb"\\(?:u[0-9a-fA-F]|/)")


def decoded_views(
    raw: bytes, *, ascii_only: bool, outer: DecodedView | None = None, cut_off: bool = False
) -> Iterator[DecodedView]:
    """Yield views of ``raw`` without its escapes, if they may hide a secret: those of JSON, of URLs, and of HTML.

    Known secrets are also searched for as JSON must write them, so only needless escapes can hide one, such as those of
    a slash or of the letter A. With ``ascii_only`` all known secrets are ASCII, so escapes of other letters hide none.
    With ``cut_off`` the beginning of a secret is searched for, and only without escapes, so any escape may hide it.
    ``outer`` is the view whose decoded bytes ``raw`` are; None if ``raw`` is the body.
    """
    if b"\\" in raw and (cut_off or (_NEEDLESS if ascii_only else _NEEDLESS_IN_UNICODE).search(raw)):
        yield decode_json_escapes(raw, outer)
    if b"%" in raw and _PERCENT.search(raw):
        yield DecodedView(raw, _PERCENT, _decode_percent, outer)
    if b"&" in raw and _REFERENCE.search(raw):
        yield DecodedView(raw, _REFERENCE, _decode_reference, outer)


# An odd number of backslashes at the end begins an escape; an even number is whole escapes of backslashes.
_CUT_ESCAPE = lazy_pattern(rb"(\\+)(?:u[0-9a-fA-F]{0,3})?\Z")
_WHOLE_ESCAPE = lazy_pattern(rb'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')


def without_cut_escape(data: bytes) -> bytes:
    """Return the beginning of a JSON string without an escape that is cut off at its end."""
    cut = _CUT_ESCAPE.search(data, max(0, len(data) - 64))
    return data[: cut.end(1) - 1] if cut and len(cut[1]) % 2 else data


# The beginning of an escape of a URL, or of a reference of HTML.
_CUT_IN_TEXT = lazy_pattern(
    rb"(?:%[0-9a-fA-F]?|&(?:#[xX]?[0-9a-fA-F]{0,8}|a(?:mp?|p(?:os?)?)?|[lg]t?|q(?:u(?:ot?)?)?)?)\Z"
)


def without_half_escape(data: bytes) -> bytes:
    """Return the beginning of a text without an escape of JSON, URLs or HTML that is cut off at its end."""
    data = without_cut_escape(data)
    cut = _CUT_IN_TEXT.search(data, max(0, len(data) - 12))
    return data[: cut.start()] if cut else data


def widen_to_whole_escapes(data: bytes, start: int, end: int, view: DecodedView | None = None) -> tuple[int, int]:
    """Widen the range from ``start`` to ``end`` so that it cuts no JSON escape in two, which would leave broken JSON.

    ``view`` is the view whose decoded bytes ``data`` are, if they are not those of the body.
    """
    if escape := _escape_across(data, start, max(0, start - 64), view):
        start = escape[0]
    if escape := _escape_across(data, end, max(start, end - 64), view):
        end = escape[1]
    return start, end


def _escape_across(data: bytes, place: int, first: int, view: DecodedView | None) -> tuple[int, int] | None:
    """Return start and end of the escape that begins before ``place`` and ends behind it; None if there is none.

    The search begins at ``first``, so that it stays short in a run of many backslashes.
    """
    run = _CUT_ESCAPE.search(data, first, place)
    if run is None or len(run[1]) % 2 == 0:
        return None
    escape = _WHOLE_ESCAPE.match(data, run.end(1) - 1)
    if escape is None or (escape[0] == b'\\"' and view is not None and view.ends_string(escape.end() - 1)):
        return None
    return escape.span()
