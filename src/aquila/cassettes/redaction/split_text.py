"""Finds secrets in texts that a stream delivers in pieces, by putting the pieces together."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from aquila.cassettes.redaction.decoded_views import decode_json_escapes
from aquila.cassettes.redaction.found_secrets import FoundSecret

_LINE = re.compile(rb"^(data:[ \t]*)?([^\r\n]+)", re.MULTILINE)
_LITERAL = re.compile(rb'"((?:[^"\\]|\\.)*+)"(\s*:)?|\[([\s0-9,]*[0-9][\s0-9,]*)\]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Piece:
    """One string or list of byte values in an event: its decoded bytes, and where it stands in the body."""

    text: bytes
    start: int
    end: int
    codes: bool = False
    """Whether it is written as a list of byte values, as log probabilities give them."""


def find_split_secrets(body: bytes, find: Callable[[bytes], list[FoundSecret]]) -> Iterator[FoundSecret]:
    """Find what ``find`` finds in the assembled texts of a body; one span for each piece that holds a part of it.

    The first part is to be replaced by the placeholder, the others by nothing.
    """
    groups: dict[tuple[Any, ...], list[_Piece]] = {}
    for start, end in _find_documents(body):
        for group, piece in _find_pieces(body, start, end):
            groups.setdefault(group, []).append(piece)
    for pieces in groups.values():
        # A text that is the same in each event, such as its id, is not one in pieces.
        if pieces[0].codes or any(piece.text != pieces[0].text for piece in pieces):
            for span in find(b"".join(piece.text for piece in pieces)):
                yield from _spread_over_pieces(body, span, pieces)


def _find_documents(body: bytes) -> Iterator[tuple[int, int]]:
    """Yield where JSON values and lines of data stand: the whole body, or its lines, with ``data:`` or without."""
    if body.lstrip()[:1] in (b"{", b"[") and _parse_json(body) is not None:
        yield 0, len(body)
        return
    for match in _LINE.finditer(body):
        if match[1] or match[2][:1] in b"{[":
            yield match.span(2)


def _parse_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _find_pieces(body: bytes, start: int, end: int) -> Iterator[tuple[tuple[Any, ...], _Piece]]:
    document = body[start:end]
    value = _parse_json(document)
    if not isinstance(value, dict | list):
        yield (), _Piece(document, start, end)
        return
    places = [match for match in _LITERAL.finditer(document) if match[2] is None]
    leaves = list(_find_leaves(value, (), ()))
    if len(leaves) != len(places):  # a key occurs twice, and the parser has dropped one of its values
        return
    for (group, leaf), place in zip(leaves, places, strict=True):
        first, last = place.span(1) if isinstance(leaf, str) else place.span(3)
        if isinstance(leaf, str):
            yield group, _Piece(leaf.encode("utf-8", "surrogatepass"), start + first, start + last)
        elif max(leaf) < 256:
            yield group, _Piece(bytes(leaf), start + first, start + last, codes=True)


def _find_leaves(value: Any, path: tuple[str, ...], marks: tuple[int, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield strings and lists of non-negative integers, each with the text that it is a piece of.

    The text is named by the path without positions in lists, and by the numbers that tell texts apart, such as
    ``output_index``.
    """
    if isinstance(value, str):
        yield (path, marks), value
    elif isinstance(value, dict):
        marks += tuple(v for k, v in value.items() if k.endswith("index") and isinstance(v, int))
        for key, child in value.items():
            if isinstance(child, str | dict | list):
                yield from _find_leaves(child, (*path, key), marks)
    elif value and all(type(item) is int and item >= 0 for item in value):
        yield (path, marks), value
    else:
        for child in value:
            if isinstance(child, str | dict | list):
                yield from _find_leaves(child, (*path, "*"), marks)


def _spread_over_pieces(body: bytes, span: FoundSecret, pieces: list[_Piece]) -> Iterator[FoundSecret]:
    offset = 0
    first = True
    for piece in pieces:
        start, end = max(span.start - offset, 0), min(span.end - offset, len(piece.text))
        offset += len(piece.text)
        if start >= end:
            continue
        if piece.codes:
            yield FoundSecret(piece.start, piece.end, span.kind, b"")
            continue
        raw = body[piece.start : piece.end]
        if raw != piece.text:
            start, end = decode_json_escapes(raw).locate_in_raw(start, end)
        yield FoundSecret(piece.start + start, piece.start + end, span.kind, span.replacement if first else b"")
        first = False
