"""Finds the texts of JSON in bytes, also of JSON that was cut off, and of JSON values that follow one another directly.

Python's JSON parser does not say where a text stands, drops all but the last of fields with the same name, and refuses
JSON that was cut off.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from aquila.cassettes.redaction.decoded_views import decode_json_escapes, without_cut_escape

_TOKEN = re.compile(
    rb'"(?P<string>(?:[^"\\\r\n]|\\[^\r\n])*+)(?P<quote>"(?P<colon>\s*+:(?:\s*+(?P<number>-?[0-9]++)(?![.eE]))?)?)?'
    rb"|\[(?P<codes>\s*+[0-9][\s0-9,]*+)(?:\]|\Z)"
    rb'|(?<![^\r\n])(?P<channel>[0-9a-z]{1,2}):(?=["{\[])'
    rb"|[\[\]{}]"
)
_LIST = ord("[")
_DEEPEST = 64
"""The longest path. Without a limit, the paths of deeply nested values would take quadratic memory."""

Path = tuple[bytes, ...]


class Leaf(NamedTuple):
    """A string, or a list of byte values, and where its content begins and ends in the bytes.

    ``path`` are the names of the fields that lead to it, with ``*`` for a list. ``marks`` are numbers that tell texts
    apart, such as ``output_index``. ``ids`` are the positions, among all leaves, of strings that tell texts apart, such
    as ``item_id``. ``is_codes`` says that it is a list of byte values, as log probabilities have them.
    """

    path: Path
    marks: tuple[int, ...]
    ids: tuple[int, ...]
    start: int
    end: int
    is_codes: bool


class _Value:
    """An object or a list that is being read."""

    __slots__ = ("_outer", "ids", "marks", "path")

    def __init__(self, path: Path, outer: _Value | None) -> None:
        self.path = path
        self.marks: list[int] = []
        self.ids: list[int] = []
        self._outer = outer

    def all_marks(self) -> tuple[int, ...]:
        return (*self._outer.all_marks(), *self.marks) if self._outer else tuple(self.marks)

    def all_ids(self) -> tuple[int, ...]:
        return (*self._outer.all_ids(), *self.ids) if self._outer else tuple(self.ids)


def find_leaves(data: bytes, start: int = 0, end: int | None = None) -> list[Leaf]:
    """Return the strings and the lists of byte values from ``start`` to ``end``, in order, without names of fields."""
    end = len(data) if end is None else end
    if data.find(b'"', start, end) < 0 and data.find(b"[", start, end) < 0:  # plain text or base64, quickly
        return []
    found: list[tuple[Path, _Value, tuple[int, int], bool]] = []
    within = _Value((), None)
    open_values = [within]
    key = b""
    for match in _TOKEN.finditer(data, start, end):
        text, quote, colon, number, codes, channel = match.groups()
        if text is not None:
            if colon:
                key = text
                if number and key.endswith(b"index"):
                    within.marks.append(int(number))
                continue
            if key.endswith((b"id", b"Id", b"ID")):
                within.ids.append(len(found))
            found.append((_step(within.path, key), within, match.span(1), False))
            if quote is None:  # JSON has no line ends in strings: it was cut off here
                open_values = [_Value((), None)]
        elif codes:
            found.append((_step(within.path, key), within, match.span(5), True))
        elif channel:
            if len(open_values) == 1:
                open_values = [_Value((channel,), None)]
        elif data[match.start()] in b"{[":
            path = _step(within.path, key)
            open_values.append(_Value((*path, b"*") if data[match.start()] == _LIST else path, within))
        elif len(open_values) > 1:
            open_values.pop()
            if len(open_values) == 1:
                open_values = [_Value(open_values[0].path, None)]
        within = open_values[-1]
        key = b""
    return _make_leaves(found)


def _make_leaves(found: Iterable[tuple[Path, _Value, tuple[int, int], bool]]) -> list[Leaf]:
    # After the whole document was read: a mark or an id of an object may stand behind the text to which it belongs.
    known: dict[_Value, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    leaves = []
    for path, value, place, is_codes in found:
        if value not in known:
            known[value] = value.all_marks(), value.all_ids()
        leaves.append(Leaf(path, *known[value], *place, is_codes))
    return leaves


def _step(path: Path, key: bytes) -> Path:
    return (*path, key) if key and len(path) < _DEEPEST else path


def decode_leaves(data: bytes, leaves: Iterable[Leaf]) -> list[bytes]:
    """Return the texts of leaves without escapes, or their bytes. Numbers that are no byte values give no bytes."""
    return [(decode_codes if leaf.is_codes else decode_string)(data[leaf.start : leaf.end]) for leaf in leaves]


def decode_string(raw: bytes) -> bytes:
    """Decode the content of a JSON string. An escape that is cut off at the end is left out."""
    if b"\\" not in raw:
        return raw
    try:
        text: str = json.loads(b'"%s"' % raw)
    except ValueError:  # it is cut off, or not UTF-8
        return decode_json_escapes(without_cut_escape(raw)).data
    return text.encode("utf-8", "surrogatepass")


def decode_codes(raw: bytes) -> bytes:
    """Return the bytes of a list of byte values, given without its brackets; empty if a number is no byte value."""
    try:
        return bytes(map(int, raw.rstrip(b" \t\r\n,").split(b",")))
    except ValueError:
        return b""
