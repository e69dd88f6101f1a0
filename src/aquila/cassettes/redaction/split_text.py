"""Finds secrets in texts that a stream delivers in pieces, by putting the pieces together."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aquila.cassettes.redaction.decoded_views import decode_json_escapes
from aquila.cassettes.redaction.event_layouts import EventReader, Group
from aquila.cassettes.redaction.found_secrets import FoundSecret

_LINE = re.compile(rb"(?<![^\r\n])(data:[ \t]*)?([^\r\n]+)")
_LONG = 32 * 1024
"""From so many bytes on it is worth while to learn how the events of a body look."""

_LITERAL = re.compile(rb'"((?:[^"\\]|\\.)*+)"(\s*:)?|\[([\s0-9,]*[0-9][\s0-9,]*)\]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Piece:
    """One string or list of byte values in an event: its decoded bytes, and where it stands in the body."""

    text: bytes
    start: int
    end: int
    codes: bool = False
    """Whether it is written as a list of byte values, as log probabilities give them."""


def find_split_secrets(body: bytes, find: Callable[[bytes], list[FoundSecret]]) -> list[list[FoundSecret]]:
    """Find what ``find`` finds in the assembled texts of a body. Return for each secret the places of its parts.

    The first part is to be replaced by the placeholder, the others by nothing.
    """
    is_one_document = body.lstrip()[:1] in (b"{", b"[") and _parse_json(body) is not None
    if not is_one_document and len(body) > _LONG and not _may_hold_secret(body, find):
        return []
    documents = [(0, len(body))] if is_one_document else [line.span(2) for line in _find_lines(body)]
    groups: dict[Group, list[_Piece]] = {}
    for start, end in documents:
        for group, piece in _find_pieces(body, start, end):
            groups.setdefault((group, piece.codes), []).append(piece)
    return [
        list(_spread_over_pieces(body, span, pieces))
        for pieces in groups.values()
        # A text that is the same in each event, such as its id, is not one in pieces.
        if pieces[0].codes or any(piece.text != pieces[0].text for piece in pieces)
        for span in find(b"".join([piece.text for piece in pieces]))
    ]


def _may_hold_secret(body: bytes, find: Callable[[bytes], list[FoundSecret]]) -> bool:
    """Say whether an assembled text holds a secret, without the places of its pieces, which take long to find."""
    reader = EventReader(body, _describe_document)
    line = next(_find_lines(body), None)
    while line is not None:
        end = reader.read_events(line.start())
        if end == line.start():
            end = line.end()
            for group, piece in _find_pieces(body, *line.span(2)):
                reader.add_piece((group, piece.codes), piece.text)
            reader.learn_layout(line[2])
        line = next(_find_lines(body, end), None)
    return any(
        find(b"".join(pieces))
        for (_, codes), pieces in reader.texts.items()
        if codes or pieces.count(pieces[0]) != len(pieces)
    )


def _describe_document(document: bytes) -> Sequence[Group] | None:
    """Return the groups of the texts of a JSON document, in order, and whether each is a list of byte values."""
    value = _parse_json(document)
    if not isinstance(value, dict | list):
        return None
    leaves = list(_find_leaves(value, (), ()))
    places = sum(match[2] is None for match in _LITERAL.finditer(document))
    return [(group, not isinstance(leaf, str)) for group, leaf in leaves] if len(leaves) == places else None


def _find_lines(body: bytes, start: int = 0) -> Iterator[re.Match[bytes]]:
    """Yield the lines of data from ``start`` on: those with ``data:``, and those that may be JSON."""
    for line in _LINE.finditer(body, start):
        if line[1] or line[2][:1] in b"{[":
            yield line


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
