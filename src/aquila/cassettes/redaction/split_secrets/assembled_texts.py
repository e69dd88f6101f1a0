"""Joins the pieces in which a stream delivers its texts.

Pieces of one text stand in the same field, with the same numbers such as ``output_index`` and the same ids such as
``item_id``. But in some protocols an id or an index is new in every event, and a text may begin in a field of another
event, as in Anthropic's ``content_block_start``. No rule fits all, so pieces are joined in each of these ways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from aquila.cassettes.redaction.split_secrets.json_leaves import Path


class PieceGroup(NamedTuple):
    """What pieces have in common. ``marks`` and ``ids`` are those of ``Leaf``, with the texts of the ids."""

    path: Path
    marks: tuple[int, ...]
    ids: tuple[bytes, ...]
    is_codes: bool


_FEW = 64
"""If more ids than this are all different, each event has an id of its own, which tells no texts apart."""

Piece = TypeVar("Piece")
Pieces: TypeAlias = list[tuple[int, Piece]]
"""Pieces, in any order, with their places in that of the stream."""


def put_together(
    groups: dict[PieceGroup, Pieces[Piece]],
    text_of: Callable[[Piece], bytes],
    *,
    across_fields: bool,
    with_single: bool = False,
) -> Iterator[list[Piece]]:
    """Yield the pieces of each text that the groups may form, in their order in the stream.

    ``text_of`` returns the bytes of a piece. With ``across_fields``, fields of the same name in different places are
    joined, too. A text of one piece is left out unless ``with_single``, because it can be searched where it stands; a
    list of byte values is always yielded, because it cannot.
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


def _without_fresh_ids(groups: dict[PieceGroup, Pieces[Piece]]) -> dict[PieceGroup, Pieces[Piece]]:
    """Merge groups that differ only in ids that are new in every event. There may be thousands of them."""
    kinds: dict[PieceGroup, list[PieceGroup]] = {}
    for group in groups:
        kinds.setdefault(group._replace(ids=()), []).append(group)
    kept: dict[PieceGroup, Pieces[Piece]] = {}
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


def _is_in_pieces(pieces: Sequence[Piece], text_of: Callable[[Piece], bytes]) -> bool:
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
