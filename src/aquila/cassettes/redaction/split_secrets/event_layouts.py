"""Reads the texts of thousands of events quickly, because most events of a stream differ only in their values.

A layout is a JSON document without its strings, its lists of byte values and most of its numbers. It is compiled to a
regular expression, which reads a further event of the same layout many times faster than a JSON parser.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import count
from typing import NamedTuple

from aquila.cassettes.redaction.split_secrets.stream_events import (
    Path,
    PieceGroup,
    Pieces,
    decode_codes,
    decode_string,
)
from aquila.lazy_patterns import lazy_pattern


class LeafGroup(NamedTuple):
    """The group of a text of a layout, as in ``Leaf``: ``ids`` are positions among all texts of the layout."""

    path: Path
    marks: tuple[int, ...]
    ids: tuple[int, ...]
    is_codes: bool


_TOKEN = lazy_pattern(
    rb'"(?P<string>[^"\\]*+(?>(?:\\.[^"\\]*+)*))"(?P<colon>\s*:\s*)?|\[(?P<codes>\s*+[0-9][\s0-9,]*+)\]'
    rb"|(?P<number>-?[0-9][0-9.eE+-]*)|[^\"\[0-9-]+|.",
    re.DOTALL,
)
_ANY_STRING = rb'"([^"\\\x00-\x1f]*+(?>(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*))"'
_ANY_CODES = rb"\[(\s*+[0-9][\s0-9,]*+)\]"
_ANY_NUMBER = rb"-?[0-9][0-9.eE+-]*+"
# The end of the line, and the lines up to the next data: blank ones and other fields.
_UP_TO_NEXT = (
    rb"[ \t]*+(?:[\r\n]++|\Z)"
    rb'(?>(?:(?!data[:\r\n]|[ \t\x1e]*+(?:[0-9a-z]{1,2}:)?["{\[])[^\r\n]++(?:[\r\n]++|\Z))*)'
)
_MOST_LAYOUTS = 16  # that one body may have; each is tried at each event
_MOST_DOCUMENTS = 64  # whose layout is learned, before a body is given up whose events are all different


class Layout:
    """One kind of event. ``document`` is an event of it, and ``groups`` are those of its texts, in order."""

    def __init__(self, document: bytes, groups: Sequence[LeafGroup]) -> None:
        # `re` caches compiled patterns, so the next window of the same stream compiles none.
        self._match = re.compile(rb"(?:data:)?[ \t]*+" + _pattern_for(document) + _UP_TO_NEXT, re.DOTALL).match
        self._groups = groups
        # The texts of the events read since `hand_on` was called, which clears it: one row for each event.
        self._rows: list[tuple[bytes, ...]] = []

    def read_events(self, body: bytes, at: int) -> int:
        """Read the events of this layout that follow one another from offset ``at`` on. Return where they end."""
        match = self._match(body, at)
        while match:
            self._rows.append(match.groups())
            at = match.end()
            match = self._match(body, at)
        return at

    def hand_on(self, texts: dict[PieceGroup, Pieces[bytes]], place: int) -> int:
        """Move the pieces that were read to the texts to which they belong.

        ``place`` is the number of the first piece in the order of the stream. Returns the number of the next piece.
        """
        columns = [
            [decode_codes(raw) for raw in column] if group.is_codes else _decode_strings(column)
            for column, group in zip(zip(*self._rows, strict=True), self._groups, strict=True)
        ]
        step, rows = len(columns), len(self._rows)
        self._rows = []
        for number, ((path, marks, ids, is_codes), column) in enumerate(zip(self._groups, columns, strict=True)):
            pieces = list(zip(count(place + number, step), column))
            named = [columns[one] for one in ids]
            # Mostly all events have the same ids. Then a whole column is added at once.
            if all(each.count(each[0]) == rows for each in named):
                group = PieceGroup(path, marks, tuple([each[0] for each in named]), is_codes)
                if kept := [piece for piece in pieces if piece[1]] if is_codes else pieces:
                    texts.setdefault(group, []).extend(kept)
                continue
            for piece, values in zip(pieces, zip(*named, strict=True), strict=True):
                if piece[1] or not is_codes:  # numbers that are no bytes
                    texts.setdefault(PieceGroup(path, marks, values, is_codes), []).append(piece)
        return place + step * rows


class EventReader:
    """Reads the events of one body by their layouts. Belongs to one search, and is dropped with it.

    ``describe`` returns the groups of the texts of a document, or None if the document has no layout.
    """

    def __init__(self, body: bytes, describe: Callable[[bytes], Sequence[LeafGroup] | None]) -> None:
        self._body = body
        self._describe = describe
        self._layouts: list[Layout] = []  # the one that matched last comes first
        self._looked_at = 0  # documents given to `learn_layout`
        self._place = 0  # number of the next piece in the order of the stream
        self.texts: dict[PieceGroup, Pieces[bytes]] = {}
        """The pieces of each text, with their places."""

    def read_events(self, at: int) -> int:
        """Read events as long as they have a known layout, from the line at ``at`` on. Return where they end."""
        start = -1
        while start != at:
            start = at
            for place, layout in enumerate(self._layouts):
                end = layout.read_events(self._body, at)
                if end > at:
                    self._place = layout.hand_on(self.texts, self._place)
                    if place:  # move to front: the next event most likely has the same layout
                        self._layouts.insert(0, self._layouts.pop(place))
                    at = end
                    break
        return at

    def learn_layout(self, document: bytes) -> None:
        """Learn the layout of an event, so that ``read_events`` reads events like it."""
        if len(self._layouts) < _MOST_LAYOUTS and self._looked_at < _MOST_DOCUMENTS:
            self._looked_at += 1
            groups = self._describe(document)
            if groups:
                self._layouts.insert(0, Layout(document, groups))

    def add_piece(self, group: PieceGroup, piece: bytes) -> None:
        """Add a piece of an event that has no known layout."""
        self.texts.setdefault(group, []).append((self._place, piece))
        self._place += 1


def _pattern_for(document: bytes) -> bytes:
    """Return a pattern for documents with other strings, lists of byte values and numbers in the same places.

    Numbers that tell texts apart, such as ``output_index``, must be the same, and so must numbers in lists.
    """
    parts: list[bytes] = []
    key = None
    for token in _TOKEN.finditer(document):
        if token["colon"]:
            parts.append(re.escape(token[0]))
        elif token["string"] is not None:
            parts.append(_ANY_STRING)
        elif token["codes"]:
            parts.append(_ANY_CODES)
        elif token["number"] and key is not None and not key.endswith(b"index") and b"\\" not in key:
            parts.append(_ANY_NUMBER)
        else:
            parts.append(re.escape(token[0]))
        key = token["string"] if token["colon"] else None
    return b"".join(parts)


def _decode_strings(column: Sequence[bytes]) -> Sequence[bytes]:
    return [decode_string(raw) if b"\\" in raw else raw for raw in column]
