"""Matches the recordings of two versions of a cassette, and builds versions between the two.

A version is never built from positions of recordings, which shift when one is added or left out. So a decision about
one recording leaves the others unchanged.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from aquila.cassettes.codecs.json_body import with_compact_request
from aquila.cassettes.matching.difference import find_differences, weigh_differences
from aquila.cassettes.matching.match_rules import MatchRules
from aquila.cassettes.matching.nearest_recording import find_nearest_recordings
from aquila.cassettes.matching.request_key import canonical_request
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest

_CANDIDATES = 4
_GREATEST_DIFFERENCE = 25.0
"""Two requests that differ by more than this (see ``weigh_differences``) are not versions of one request."""
_MOST_COMPARED = 100
"""With how many recordings a request is compared that has no partner, so that the search for all is not slow."""


@dataclass(frozen=True, slots=True)
class Row:
    """A recording in both versions or in one. ``was`` and ``now`` are its numbers in the old and new version, from 0.

    ``same_request``: the requests of both versions have the same key.
    """

    was: int | None
    now: int | None
    same_request: bool = True


def digest_interaction(interaction: Interaction) -> str:
    """Return a digest of everything in a recording that its file keeps: not the blanks in the JSON of a request."""
    request, response = with_compact_request(interaction).request, interaction.response
    body = request.body
    digest = hashlib.sha256()
    for part in (
        (interaction.kind, request.method, request.url, request.headers, len(body)),
        (response.status, response.headers, response.end, response.error, response.started, response.ended),
        (response.attempts, response.retried, interaction.recorded, interaction.upstream, interaction.model),
    ):
        digest.update(repr(part).encode("utf-8", "surrogatepass"))
    digest.update(body)
    for chunk in response.chunks:
        digest.update(f"\n{chunk.at} {len(chunk.data)}\n".encode())
        digest.update(chunk.data)
    return digest.hexdigest()


def digest_answer(interaction: Interaction) -> str:
    """Return a digest of an answer's status, end and bytes, whatever its chunks and times are."""
    response = interaction.response
    digest = hashlib.sha256(repr((response.status, response.end, response.error)).encode())
    for chunk in response.chunks:
        digest.update(chunk.data)
    return digest.hexdigest()


def align_recordings(
    stored: Cassette, pending: Cassette, key_of: Callable[[RecordedRequest], str], rules: MatchRules
) -> list[Row]:
    """Return a row for each recording of both versions: those of ``pending`` in order, then those that it lacks.

    Recordings with the same key are matched in order, equal answers first. A request that only ``pending`` has is
    matched with the most similar one that only ``stored`` has, if any is similar enough.
    """
    partners = _pair_by_key(stored, pending, key_of)
    paired = dict(partners)
    rest = sorted({*range(len(stored.interactions))} - {*partners.values()})
    fresh = [number for number in range(len(pending.interactions)) if number not in partners]
    similar = pair_similar(stored, rest, pending, fresh, rules)
    paired.update(similar)
    rest = sorted({*rest} - {*similar.values()})
    rows = [
        Row(paired.get(number), number, same_request=number in partners or number not in paired)
        for number in range(len(pending.interactions))
    ]
    return rows + [Row(number, None) for number in rest]


def _pair_by_key(stored: Cassette, pending: Cassette, key_of: Callable[[RecordedRequest], str]) -> dict[int, int]:
    """Return numbers of recordings in ``pending``, each with the number of its match in ``stored`` by key."""
    by_key: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for which, cassette in enumerate((stored, pending)):
        for number, interaction in enumerate(cassette.interactions):
            by_key[key_of(interaction.request)][which].append(number)
    partners: dict[int, int] = {}
    for before, after in by_key.values():
        if not (before and after):
            continue
        one = [digest_answer(stored.interactions[number]) for number in before]
        other = [digest_answer(pending.interactions[number]) for number in after]
        for _, a, b, c, d in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
            partners.update(zip(after[c:d], before[a:b], strict=False))
    return partners


def pair_similar(
    stored: Cassette, rest: Sequence[int], pending: Cassette, fresh: Sequence[int], rules: MatchRules
) -> dict[int, int]:
    """Return numbers in ``fresh``, each with the number in ``rest`` whose request is most similar, if any is.

    Both are in order, and none is in two pairs. Of very many recordings only those are looked at that are near the one
    behind the last pair, since a changed prompt leaves the order as it was.
    """
    paired: dict[int, int] = {}
    left, expected = list(rest), 0
    for number in fresh:
        first = max(0, min(bisect_left(left, expected) - _MOST_COMPARED // 2, len(left) - _MOST_COMPARED))
        near = left[first : first + _MOST_COMPARED]
        found = _find_similar(pending.interactions[number], near, stored, rules)
        if found is not None:
            paired[number] = found
            left.remove(found)
            expected = found + 1
    return paired


def _find_similar(interaction: Interaction, rest: Sequence[int], stored: Cassette, rules: MatchRules) -> int | None:
    """Return the number in ``rest`` whose request is most similar to that of ``interaction``, or None."""
    rules = rules.with_origin() if rules.compares_origin else rules
    now = canonical_request(interaction.request, rules)
    best: tuple[float, int] | None = None
    recordings = [stored.interactions[number] for number in rest]
    for position in find_nearest_recordings(interaction.request, recordings, _CANDIDATES):
        weight = weigh_differences(find_differences(canonical_request(recordings[position].request, rules), now))
        if weight <= _GREATEST_DIFFERENCE and (best is None or weight < best[0]):
            best = weight, rest[position]
    return best[1] if best is not None else None


def choose_versions(
    stored: Cassette,
    pending: Cassette,
    rows: Sequence[Row],
    takes_new: Mapping[Row, bool | None],
    key_of: Callable[[RecordedRequest], str],
) -> tuple[Cassette, Cassette]:
    """Return the cassette after some decisions, and the pending cassette that remains beside it.

    ``takes_new`` says for each row whether the recording of ``pending`` is accepted (True) or rejected (False). For an
    undecided row (None) both files keep what they have. ``key_of`` returns the key of a request.
    """
    if all(takes_new[row] for row in rows):
        return pending, pending
    before, after = _Side("was", stored, rows, key_of), _Side("now", pending, rows, key_of)
    now = {row: takes_new[row] is True for row in rows}
    later = {row: takes_new[row] is not False for row in rows}
    return (
        Cassette.from_interactions(_pick(_order_rows(before, after, now), now, stored, pending)),
        Cassette.from_interactions(_pick(_order_rows(after, before, later), later, stored, pending)),
    )


class _Side:
    """The rows of one of the two versions, in its order, with the keys of their requests there."""

    def __init__(
        self, side: str, cassette: Cassette, rows: Sequence[Row], key_of: Callable[[RecordedRequest], str]
    ) -> None:
        placed = {getattr(row, side): row for row in rows}
        self.rows = [placed[number] for number in range(len(cassette.interactions))]
        self._requests = [interaction.request for interaction in cassette.interactions]
        self._key_of = key_of
        self.is_pending = side == "now"

    def group_by_key(self) -> list[list[Row]]:
        """Return for each row all rows with the same key, in order."""
        groups: dict[str, list[Row]] = defaultdict(list)
        keys = [self._key_of(request) for request in self._requests]
        for key, row in zip(keys, self.rows, strict=True):
            groups[key].append(row)
        return [groups[key] for key in keys]


def _order_rows(base: _Side, other: _Side, takes_new: Mapping[Row, bool]) -> list[Row]:
    """Insert into the rows of ``base`` those that only ``other`` has, or that have another key there.

    Each inserted row comes behind the row that it follows in ``other``. Rows with the same key keep the order of
    ``other`` among each other, because a key's recordings are played in order.
    """
    # A changed request may have the key of other rows now, so it is removed and inserted again at its place among them.
    ordered = [row for row in base.rows if row.same_request or takes_new[row] != other.is_pending]
    known = set(ordered)
    wanted = {row for row in other.rows if row not in known and takes_new[row] == other.is_pending}
    before: Row | None = None
    if not wanted:
        return ordered
    for row, siblings in zip(other.rows, other.group_by_key(), strict=True):
        if row in wanted:
            at = siblings.index(row)
            place = 0 if before is None else ordered.index(before) + 1
            earlier = [ordered.index(each) + 1 for each in siblings[:at] if each in known]
            later = [ordered.index(each) for each in siblings[at + 1 :] if each in known]
            ordered.insert(min([max([place, *earlier]), *later]), row)
            known.add(row)
        before = row if row in known else before
    return ordered


def _pick(
    ordered: Iterable[Row], takes_new: Mapping[Row, bool], stored: Cassette, pending: Cassette
) -> Iterable[Interaction]:
    for row in ordered:
        number = row.now if takes_new[row] else row.was
        if number is not None:
            yield (pending if takes_new[row] else stored).interactions[number]
