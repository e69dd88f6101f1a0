"""Finds secrets in texts that a stream delivers in pieces, by joining the pieces."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from aquila.cassettes.redaction.decoded_views import DecodedView, decode_json_escapes
from aquila.cassettes.redaction.found_secrets import FoundSecret
from aquila.cassettes.redaction.split_secrets.assembled_texts import PieceGroup, Pieces, put_together
from aquila.cassettes.redaction.split_secrets.event_layouts import EventReader, LeafGroup
from aquila.cassettes.redaction.split_secrets.json_leaves import Leaf, decode_leaves, find_leaves
from aquila.cassettes.redaction.split_secrets.stream_framing import (
    Framing,
    StreamEvent,
    find_events,
    framing_of,
    join_lines,
    parse_json,
)
from aquila.cassettes.redaction.trivial_values import MIN_LENGTH

_LONG = 32 * 1024
"""The size in bytes from which on learning the layouts of a body's events saves time."""

_PLAIN = PieceGroup((b"data",), (), (), False)
"""The group of the data of events that are no JSON."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """One string or list of byte values in an event: its decoded bytes, and its start and end in the body."""

    text: bytes
    start: int
    end: int
    codes: bool = False
    """Whether it is written as a list of byte values, as log probabilities give them."""


_text_of: Callable[[_Piece], bytes] = attrgetter("text")


def find_split_secrets(
    body: bytes, find: Callable[[bytes], list[FoundSecret]], *, cut_off: bool = False
) -> list[list[FoundSecret]]:
    """Search the assembled texts of a body with ``find``. Return for each secret the places of its parts.

    The first part has the placeholder as its replacement, the others are to be removed. With ``cut_off`` the body broke
    off: then texts of one piece are searched, too, because ``find`` may find the beginning of a secret at their end.
    """
    framing = framing_of(body)
    in_lines = framing is not Framing.NONE
    # Nearly all bodies hold no secret, and finding that out takes a fraction of the time that the places take.
    if in_lines and len(body) > _LONG and not _may_hold_secret(body, framing, find, cut_off=cut_off):
        return []
    groups: dict[PieceGroup, Pieces[_Piece]] = {}
    for event in find_events(body, framing):
        for group, piece in _find_pieces(body, event):
            groups.setdefault(group, []).append((piece.start, piece))
    # A body that is one JSON value delivers nothing in pieces over fields of the same name.
    across = in_lines or parse_json(body) is None
    found: list[list[FoundSecret]] = []
    for pieces in put_together(groups, _text_of, across_fields=across, with_single=cut_off):
        text = b"".join([piece.text for piece in pieces])
        found += [list(_spread_over_pieces(body, span, pieces, text)) for span in find(text)]
        found += _find_in_growing_texts(body, pieces, find)
    return found


def _find_in_growing_texts(
    body: bytes, pieces: Sequence[_Piece], find: Callable[[bytes], list[FoundSecret]]
) -> Iterator[list[FoundSecret]]:
    """Find the secrets of a text that each event repeats and lengthens; earlier events hold the beginning of one."""
    start = 0
    for end in range(1, len(pieces) + 1):
        if end < len(pieces) and _is_lengthened(pieces[end - 1], pieces[end]):
            continue
        growing = pieces[start:end]
        start = end
        if len(growing) == 1 or len(growing[0].text) == len(growing[-1].text):
            continue
        lengths = [len(piece.text) for piece in growing]
        for span in find(growing[-1].text):
            value = span.value or growing[-1].text[span.start : span.end]
            parts = [
                FoundSecret(*_place_in_body(body, piece, span.start, min(span.end, len(piece.text))), *span[2:4], value)
                for piece in growing[bisect_right(lengths, span.start) :]
                if len(piece.text) < span.end or piece is growing[-1]
            ]
            if len(parts) > 1:
                yield parts


def _is_lengthened(piece: _Piece, following: _Piece) -> bool:
    shortest = not (piece.codes or following.codes) and len(piece.text) >= MIN_LENGTH
    return shortest and following.text.startswith(piece.text)


def _place_in_body(body: bytes, piece: _Piece, start: int, end: int) -> tuple[int, int]:
    """Return where in the body a part of the text of a piece is written. ``start`` and ``end`` are in the text."""
    raw = body[piece.start : piece.end]
    if raw != piece.text:
        start, end = decode_json_escapes(raw).locate_in_raw(start, end)
    return piece.start + start, piece.start + end


def _may_hold_secret(
    body: bytes, framing: Framing, find: Callable[[bytes], list[FoundSecret]], *, cut_off: bool
) -> bool:
    """Say whether an assembled text holds a secret, without finding the places of its pieces, which takes long."""
    reader = EventReader(body, _describe_document)
    event = next(find_events(body, framing), None)
    while event is not None:
        end = reader.read_events(event.start)
        if end == event.start:
            end = event.end
            for group, piece in _find_pieces(body, event):
                reader.add_piece(group, piece.text)
            if len(event.lines) == 1 and not (event.is_framed and body.startswith(b'"', event.start)):
                reader.learn_layout(body[event.start : event.end])
        event = next(find_events(body, framing, end), None)
    texts = put_together(reader.texts, bytes, across_fields=True, with_single=cut_off)
    return any(find(b"".join(pieces)) for pieces in texts)


def _describe_document(document: bytes) -> Sequence[LeafGroup] | None:
    """Return the groups of the texts of a JSON document, in order."""
    if not isinstance(parse_json(document), dict | list | str):
        return None
    return [LeafGroup(leaf.path, leaf.marks, leaf.ids, leaf.is_codes) for leaf in find_leaves(document)]


def _find_pieces(body: bytes, event: StreamEvent) -> Iterator[tuple[PieceGroup, _Piece]]:
    view = join_lines(body, event) if len(event.lines) > 1 else None
    data, offset = (body, 0) if view is None else (view.data, event.start)
    leaves = find_leaves(data, *((event.start, event.end) if view is None else ()))
    texts = decode_leaves(data, leaves)
    for leaf, text in zip(leaves, texts, strict=True):
        if text or not leaf.is_codes:
            start, end = _locate(view, leaf.start, leaf.end)
            yield _group_of(leaf, texts), _Piece(text, start + offset, end + offset, leaf.is_codes)
    # Data that is a JSON string may also be a piece of plain text that happens to be in quotation marks.
    if event.is_framed and not isinstance(parse_json(data if view else body[event.start : event.end]), dict | list):
        for start, end in event.lines:
            line = body[start:end]
            if view is None or not isinstance(parse_json(line), dict | list):
                yield _PLAIN, _Piece(line, start, end)


def _locate(view: DecodedView | None, start: int, end: int) -> tuple[int, int]:
    if view is None:
        return start, end
    if start == end:
        place, _ = view.locate_in_raw(start, start + 1)
        return place, place
    return view.locate_in_raw(start, end)


def _group_of(leaf: Leaf, texts: Sequence[bytes]) -> PieceGroup:
    return PieceGroup(leaf.path, leaf.marks, tuple([texts[one] for one in leaf.ids]), leaf.is_codes)


def _spread_over_pieces(body: bytes, span: FoundSecret, pieces: list[_Piece], text: bytes) -> Iterator[FoundSecret]:
    value = span.value or text[span.start : span.end]
    ends = list(itertools.accumulate(len(piece.text) for piece in pieces))
    first = True
    for number in range(bisect_right(ends, span.start), len(pieces)):
        piece, offset = pieces[number], ends[number] - len(pieces[number].text)
        if offset >= span.end:
            break
        start, end = max(span.start - offset, 0), min(span.end - offset, len(piece.text))
        if start >= end:
            continue
        if piece.codes:  # a list of byte values cannot hold a placeholder, so it becomes empty
            yield FoundSecret(piece.start, piece.end, span.kind, b"")
            continue
        replacement = span.replacement if first else b""
        yield FoundSecret(*_place_in_body(body, piece, start, end), span.kind, replacement, value)
        first = False
