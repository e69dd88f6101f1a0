"""Compares recordings by the ids that a provider gave, such as those of files, batches and conversations.

A provider never gives the same id again, so each request that names an id depends on the answer that gave it. Accepting
the request alone would leave an id in the cassette that no answer contains. And if all of it is recorded again, each
such request differs from the recorded one, although the program asks the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence

from aquila.cassettes.matching.linked_recordings import GivenIds, group_linked
from aquila.cassettes.matching.provider_ids import ids_named_by
from aquila.cassettes.model import Cassette, RecordedRequest
from aquila.review.alignment import Row


def find_chains(rows: Sequence[Row], stored: Cassette, pending: Cassette) -> list[int]:
    """Return for each row the index of the first row of its conversation, whose requests name ids of its answers.

    Links in both versions count: a recording that would vanish belongs to those that replace the rest of its
    conversation.
    """
    links: dict[Hashable, list[int]] = defaultdict(list)
    for side, cassette, places in (
        ("was", stored, {row.was: at for at, row in enumerate(rows) if row.was is not None}),
        ("now", pending, {row.now: at for at, row in enumerate(rows) if row.now is not None}),
    ):
        ids = GivenIds(cassette.interactions, ())
        for number, link in ids.links_of(set(ids.values())):
            if number in places:
                links[side, link].append(places[number])
    return group_linked(len(rows), links.values())


def find_renamed(
    rows: Sequence[Row], stored: Cassette, pending: Cassette, key_of: Callable[[RecordedRequest], str]
) -> frozenset[Row]:
    """Return the rows whose two requests differ in nothing but such ids, and name ids from the same rows.

    ``rows`` are all of both versions. ``key_of`` returns the key of a request.
    """
    paired = [
        (row, row.was, row.now) for row in rows if not row.same_request and row.was is not None and row.now is not None
    ]
    if not paired:
        return frozenset()
    old = _Renaming(stored, {row.was: place for place, row in enumerate(rows)})
    new = _Renaming(pending, {row.now: place for place, row in enumerate(rows)})
    found = []
    for row, was, now in paired:
        one, other = old.rename(was), new.rename(now)
        if one is not None and other is not None and key_of(one) == key_of(other):
            found.append(row)
    return frozenset(found)


class _Renaming:
    """The requests of a cassette, with names of rows in the places of ids. ``row_of`` has the row of each recording."""

    def __init__(self, cassette: Cassette, row_of: Mapping[int | None, int]) -> None:
        self._interactions = cassette.interactions
        self._ids = GivenIds(cassette.interactions, ())
        self._row_of = row_of

    def rename(self, number: int) -> RecordedRequest | None:
        """Return a request in which each id is named after the row that gave it. None if it names no id."""
        request = self._interactions[number].request
        found = self._ids.find_in(ids_named_by(request))
        if not found:
            return None
        url, body = request.url, request.body
        for each in sorted(found, key=lambda one: -len(one.value)):
            name = f"id-of-{self._row_of[each.number]}"
            url, body = url.replace(each.value, name), body.replace(each.value.encode(), name.encode())
        return RecordedRequest(request.method, url, request.headers, body)
