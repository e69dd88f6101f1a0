"""Decodes the escapes of JSON, Python, URLs and HTML, which may hide a secret, and finds decoded places in the body.

Colours and broken lines in the report of a test are taken for escapes that mean nothing.
"""

from __future__ import annotations

import re
import sys
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from aquila.lazy_patterns import lazy_pattern


class DecodedView:
    """Bytes with their escapes decoded, and for each decoded byte the place where it is written in the raw bytes.

    ``raw`` are the bytes with escapes. ``escape`` matches one escape, and ``decode`` returns the bytes that it means;
    without them the bytes stay as they are. ``outer`` is the view whose decoded bytes are ``raw``; None if ``raw`` are
    the bytes of the body itself. A view is not changed after it is built.
    """

    __slots__ = ("_decoded", "_outer", "_raw", "data")

    def __init__(
        self,
        raw: bytes,
        escape: re.Pattern[bytes] | None = None,
        decode: Callable[[re.Match[bytes]], bytes] = lambda match: match[0],
        outer: DecodedView | None = None,
    ) -> None:
        pieces: list[bytes] = []
        # Offsets at which runs begin, in the decoded bytes and in the raw ones: literal text and escapes by turns.
        # Arrays: a text may be full of escapes, and lists of numbers would take many times its memory.
        self._decoded = array("Q", (0,))
        self._raw = array("Q", (0,))
        self._outer = outer
        length = position = 0
        for match in escape.finditer(raw) if escape else ():
            text = decode(match)
            pieces += (raw[position : match.start()], text)
            length += match.start() - position
            self._decoded.extend((length, length + len(text)))
            self._raw.extend(match.span())
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

    def locate_in_body(self, start: int, end: int) -> tuple[int, int]:
        """Do the same for the bytes of the body, through all the outer views."""
        place = self.locate_in_raw(start, end)
        return place if self._outer is None else self._outer.locate_in_body(*place)

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


_BACKSLASHES = lazy_pattern(
    rb"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|U00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4})"
    rb"|\\([\"'\\/bfnrt])"
)
"""The escapes of JSON, and those of ``repr`` in Python, as in tracebacks and logs."""
_CONTROLS = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_PERCENT = lazy_pattern(rb"%([0-9a-fA-F]{2})")
# Which characters an error page has as references, and in which form, differs between libraries of templates.
_REFERENCE = lazy_pattern(rb"&(?:#0*([0-9]{1,7})|#[xX]0*([0-9a-fA-F]{1,6})|(amp|lt|gt|quot|apos));")
_NAMED = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}


def _decode_backslash(match: re.Match[bytes]) -> bytes:
    high, low, code, char = match.groups()
    if char:
        return _CONTROLS.get(char, char)
    if code:
        return chr(int(code[1:], 16)).encode("utf-8", "surrogatepass")
    return chr(0x10000 + (int(high, 16) - 0xD800) * 0x400 + int(low, 16) - 0xDC00).encode()


def _decode_byte(match: re.Match[bytes]) -> bytes:
    """Decode an escape in the ``repr`` of bytes, where ``\\xe4`` is no character."""
    return bytes((int(match[3][1:], 16),)) if match[3] and match[3][:1] == b"x" else _decode_backslash(match)


def _decode_percent(match: re.Match[bytes]) -> bytes:
    return bytes((int(match[1], 16),))


def _decode_reference(match: re.Match[bytes]) -> bytes:
    decimal, hexadecimal, name = match.groups()
    if name:
        return _NAMED[name]
    code = int(decimal) if decimal else int(hexadecimal, 16)
    return chr(code).encode("utf-8", "surrogatepass") if code <= sys.maxunicode else match[0]


_Notation: TypeAlias = tuple[bytes, re.Pattern[bytes], Callable[[re.Match[bytes]], bytes]]
"""A way to write characters as escapes: what text with any holds, the pattern of one, and what that one means."""
BACKSLASHES: tuple[_Notation, ...] = (
    (b"\\", _BACKSLASHES, _decode_backslash),
    (b"\\x", _BACKSLASHES, _decode_byte),
)
_NOTATIONS = (*BACKSLASHES, (b"%", _PERCENT, _decode_percent), (b"&", _REFERENCE, _decode_reference))
_DEPTH = 5
"""How many layers of escapes are decoded, such as JSON in a JSON string in a URL."""
_MOST_READINGS = 64
"""How many readings one text has at most. Hardly any has more than ten; one made for it would have hundreds."""


def decode_json_escapes(raw: bytes) -> DecodedView:
    """Return a view of ``raw`` without the escapes of JSON strings."""
    return DecodedView(raw, _BACKSLASHES, _decode_backslash)


def readings_of(
    data: bytes,
    may_hide: Callable[[bytes], bool] = lambda text: True,
    *,
    notations: Sequence[_Notation] = _NOTATIONS,
    cut_off: bool = False,
) -> Iterator[DecodedView]:
    """Yield views of all that ``data`` may be read as: as it is, with the escapes of any notation decoded, and again.

    Most backslashes hide no secret: they are decoded only in texts of which ``may_hide`` is true. ``cut_off`` says that
    the data broke off: half an escape at the end is then left out before the others are decoded. Those with fewer
    layers decoded come first, and there are ``_MOST_READINGS`` at most.
    """
    first = DecodedView(data)
    yield first
    # Mostly, all orders in which escapes are decoded have the same result. Known by hashes, so that a reading is freed
    # when it has been searched.
    known = {hash(data)}
    waiting = deque([(first, 1)])
    while waiting:
        outer, depth = waiting.popleft()
        raw = without_half_escape(outer.data) if cut_off else outer.data
        for mark, escape, decode in notations:
            if mark in raw and escape.search(raw) and (escape is not _BACKSLASHES or may_hide(raw)):
                if len(known) == _MOST_READINGS:
                    return
                view = DecodedView(raw, escape, decode, outer)
                if hash(view.data) not in known:
                    known.add(hash(view.data))
                    yield view
                    if depth < _DEPTH:
                        waiting.append((view, depth + 1))


_COLOUR = lazy_pattern(rb"\x1b\[[0-9;]*m")
_BREAK = rb"""["'](?:\n(?:E ++)?(?:[?%b] [^\n]*)?){0,64}\n(?:E ++)?(?:%b )? *+b?["']"""
# In the difference of two values, lines of the other value and hints may stand between.
_BREAKS = lazy_pattern(_BREAK % (b"+", b"-")), lazy_pattern(_BREAK % (b"-", rb"\+"))


def readings_of_report(data: bytes) -> Iterator[DecodedView]:
    """Yield views of a report without colours, and with the text of each of the two values that it may compare joined.

    ``pprint`` breaks a long string or bytes into adjacent literals, each in a line of its own.
    """
    plain = DecodedView(data, _COLOUR, _leave_out)
    for escape in _BREAKS:
        view = DecodedView(plain.data, escape, _leave_out, plain)
        if view.data != data:
            yield view


def _leave_out(match: re.Match[bytes]) -> bytes:
    return b""


# An odd number of backslashes at the end begins an escape; an even number is whole escapes of backslashes.
_CUT_ESCAPE = lazy_pattern(rb"(\\+)(?:u[0-9a-fA-F]{0,3}|x[0-9a-fA-F]?|U[0-9a-fA-F]{0,7})?\Z")
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


def widen_to_whole_escapes(view: DecodedView, start: int, end: int) -> tuple[int, int]:
    """Widen a range in the bytes of a view so that it cuts no JSON escape in two, which would leave broken JSON."""
    if escape := _escape_across(view, start, max(0, start - 64)):
        start = escape[0]
    if escape := _escape_across(view, end, max(start, end - 64)):
        end = escape[1]
    return start, end


def _escape_across(view: DecodedView, place: int, first: int) -> tuple[int, int] | None:
    """Return start and end of the escape that begins before ``place`` and ends behind it; None if there is none.

    The search begins at ``first``, so that it stays short in a run of many backslashes.
    """
    run = _CUT_ESCAPE.search(view.data, first, place)
    if run is None or len(run[1]) % 2 == 0:
        return None
    escape = _WHOLE_ESCAPE.match(view.data, run.end(1) - 1)
    if escape is None or (escape[0] == b'\\"' and view.ends_string(escape.end() - 1)):
        return None
    return escape.span()
