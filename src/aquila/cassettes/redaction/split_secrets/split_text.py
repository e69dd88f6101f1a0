"""Finds secrets in texts that a stream delivers in pieces, by joining the pieces.

Pieces of one text stand in the same field, with the same numbers such as ``output_index`` and the same ids such as
``item_id``. But in some protocols an id or an index is new in every event, and a text may begin in a field of another
event, as in Anthropic's ``content_block_start``. No rule fits all, so pieces are joined in each of these ways.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from aquila.cassettes.redaction.decoded_views import decode_json_escapes
from aquila.cassettes.redaction.found_secrets import FoundSecret
from aquila.cassettes.redaction.split_secrets.event_layouts import EventReader, LeafGroup
from aquila.cassettes.redaction.split_secrets.stream_events import (
    AnyPiece,
    Framing,
    PieceGroup,
    Pieces,
    TextPiece,
    find_events,
    find_leaves,
    find_pieces,
    framing_of,
    parse_json,
)
from aquila.cassettes.redaction.trivial_values import MIN_LENGTH

_LONG = 8 * 1024
"""The size in bytes from which on learning the layouts of a body's events saves time, even if they are all new."""
_FEW = 64
"""If more ids than this are all different, each event has an id of its own, which tells no texts apart."""

_text_of: Callable[[TextPiece], bytes] = attrgetter("text")


def find_split_secrets(
    body: bytes, find: Callable[[bytes], list[FoundSecret]], *, cut_off: bool = False
) -> list[list[FoundSecret]]:
    """Search the assembled texts of a body with ``find``. Return for each secret the places of its parts.

    The first part has the placeholder as its replacement, the others are to be removed. A list of byte values becomes
    empty. With ``cut_off`` the body broke off: then texts of one piece are searched, too, because ``find`` may find the
    beginning of a secret at their end.
    """
    framing = framing_of(body)
    in_lines = framing is not Framing.NONE
    # Nearly all bodies hold no secret, and finding that out takes a fraction of the time that the places take.
    if in_lines and len(body) > _LONG and not _may_hold_secret(body, framing, find, cut_off=cut_off):
        return []
    groups: dict[PieceGroup, Pieces[TextPiece]] = {}
    for group, piece in find_pieces(body, list(find_events(body, framing))):
        groups.setdefault(group, []).append((piece.start, piece))
    # A body that is one JSON value delivers nothing in pieces over fields of the same name.
    across = in_lines or parse_json(body) is None
    if not (across or cut_off):
        groups = _leave_out_single(groups)
    found: list[list[FoundSecret]] = []
    for pieces in list(_put_together(groups, _text_of, across_fields=across, with_single=cut_off)):
        found += _find_in_growing_texts(body, pieces, find)
        text = b"".join([piece.text for piece in pieces])
        if spans := find(text):
            found += [list(_spread_over_pieces(body, span, pieces, text)) for span in spans]
    return found


def _leave_out_single(groups: dict[PieceGroup, Pieces[TextPiece]]) -> dict[PieceGroup, Pieces[TextPiece]]:
    """Leave out texts that stand alone in their field: nearly all of a body that is one JSON value."""
    counts: dict[object, int] = {}
    for group, pieces in groups.items():
        counts[group.path] = counts.get(group.path, 0) + len(pieces)
    return {group: pieces for group, pieces in groups.items() if counts[group.path] > 1 or group.is_codes}


def _find_in_growing_texts(
    body: bytes, pieces: Sequence[TextPiece], find: Callable[[bytes], list[FoundSecret]]
) -> Iterator[list[FoundSecret]]:
    """Find the secrets of a text that each event repeats and lengthens. Earlier events may hold a part of a secret."""
    # No event repeats a list of byte values, or a line end. The empty text in its place ends the run of growing texts.
    for start, end in _find_growing_runs([b"" if piece.is_whole else piece.text for piece in pieces]):
        growing = pieces[start:end]
        lengths = [len(piece.text) for piece in growing]
        for span in find(growing[-1].text):
            value = span.value or growing[-1].text[span.start : span.end]
            places = [
                _place_in_body(body, piece, span.start, min(span.end, len(piece.text)))
                for piece in growing[bisect_right(lengths, span.start) :]
                if len(piece.text) < span.end or piece is growing[-1]
            ]
            if len(places) > 1:
                yield [FoundSecret(*place, span.kind, span.replacement, value) for place in places]


def _find_growing_runs(texts: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Find the runs of texts of which each begins with the one before, and the last is longer than the first."""
    lengthened = [len(one) >= MIN_LENGTH and following.startswith(one) for one, following in itertools.pairwise(texts)]
    if True not in lengthened:  # as in nearly all streams
        return
    start = 0
    for end, goes_on in enumerate((*lengthened, False), 1):
        if not goes_on:
            if len(texts[start]) < len(texts[end - 1]):
                yield start, end
            start = end


def _place_in_body(body: bytes, piece: TextPiece, start: int, end: int) -> tuple[int, int]:
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
            for group, piece in find_pieces(body, (event,)):
                reader.add_piece(group, piece.text)
            if len(event.lines) == 1 and not (event.is_framed and body.startswith(b'"', event.start)):
                reader.learn_layout(body[event.start : event.end])
        event = next(find_events(body, framing, end), None)
    texts = _put_together(reader.texts, bytes, across_fields=True, with_single=cut_off)
    return any(
        find(b"".join(pieces)) or any(find(pieces[end - 1]) for _, end in _find_growing_runs(pieces))
        for pieces in texts
    )


def _describe_document(document: bytes) -> Sequence[LeafGroup] | None:
    """Return the groups of the texts of a JSON document, in order."""
    if not isinstance(parse_json(document), dict | list | str):
        return None
    return [LeafGroup(leaf.path, leaf.marks, leaf.ids, leaf.is_codes) for leaf in find_leaves(document)]


def _spread_over_pieces(body: bytes, span: FoundSecret, pieces: list[TextPiece], text: bytes) -> Iterator[FoundSecret]:
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
        if piece.is_whole:  # it cannot hold a placeholder, so it becomes empty
            yield FoundSecret(piece.start, piece.end, span.kind, b"")
            continue
        replacement = span.replacement if first else b""
        yield FoundSecret(*_place_in_body(body, piece, start, end), span.kind, replacement, value)
        first = False


def _put_together(
    groups: dict[PieceGroup, Pieces[AnyPiece]],
    text_of: Callable[[AnyPiece], bytes],
    *,
    across_fields: bool,
    with_single: bool,
) -> Iterator[list[AnyPiece]]:
    """Yield the pieces of each text that the groups may form, in their order in the stream.

    ``text_of`` returns the bytes of a piece. With ``across_fields``, fields of the same name in different places are
    joined, too. A text of one piece is left out unless ``with_single``, because it can be searched where it stands. A
    list of byte values cannot be searched there, so it is always yielded.
    """
    groups = _without_fresh_ids(groups)
    done: set[frozenset[PieceGroup]] = set()
    for groups_of_text in _choose_groups(groups, across_fields=across_fields):
        if groups_of_text in done:
            continue
        done.add(groups_of_text)
        rows = [row for group in groups_of_text for row in groups[group]]
        rows.sort(key=_place_of)
        pieces = [piece for _, piece in rows]
        if with_single or next(iter(groups_of_text)).is_codes or _is_in_pieces(pieces, text_of):
            yield pieces


def _without_fresh_ids(groups: dict[PieceGroup, Pieces[AnyPiece]]) -> dict[PieceGroup, Pieces[AnyPiece]]:
    """Merge groups that differ only in ids that are new in every event. There may be thousands of them."""
    kinds: dict[PieceGroup, list[PieceGroup]] = {}
    for group in groups:
        kinds.setdefault(group._replace(ids=()), []).append(group)
    kept: dict[PieceGroup, Pieces[AnyPiece]] = {}
    for kind, members in kinds.items():
        fresh = {
            number
            for number, values in enumerate(zip(*(group.ids for group in members), strict=False))
            if len(members) > _FEW and len(set(values)) == len(members) == sum(len(groups[each]) for each in members)
        }
        for group in members:
            ids = tuple([one for number, one in enumerate(group.ids) if number not in fresh])
            kept.setdefault(kind._replace(ids=ids), []).extend(groups[group])
    return kept


def _place_of(row: tuple[int, Any]) -> int:
    return row[0]


def _is_in_pieces(pieces: Sequence[AnyPiece], text_of: Callable[[AnyPiece], bytes]) -> bool:
    """Say whether pieces form a text, and are not one value that every event repeats, such as an id."""
    first = text_of(pieces[0])
    return any(text_of(piece) != first for piece in pieces)


def _choose_groups(groups: dict[PieceGroup, Any], *, across_fields: bool) -> Iterator[frozenset[PieceGroup]]:
    """Yield the sets of groups that may form one text, for each way of joining them."""
    ways: dict[object, set[PieceGroup]] = {}
    for group in groups:
        path, marks, ids, is_codes = group
        name = next((step for step in reversed(path) if step != b"*"), b"")
        keys: list[tuple[object, ...]] = [(path, marks, ids), (path, marks), (path,)]
        keys += [(path, number, one) for number, one in enumerate(ids)]
        if across_fields:
            keys += [(name, "name", marks), (name, "name")]
        for key in keys:
            ways.setdefault((is_codes, key), set()).add(group)
    return map(frozenset, ways.values())
