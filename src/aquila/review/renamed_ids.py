"""Finds requests that differ in nothing but the ids that a provider gave: a file, a batch, a conversation at it.

A provider never gives the same id again. So where such a conversation is recorded anew, each request that names one of
its ids is another request, although the program asks the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from aquila.cassettes.matching.linked_recordings import GivenIds
from aquila.cassettes.matching.provider_ids import ids_named_by
from aquila.cassettes.model import Cassette, RecordedRequest
from aquila.review.alignment import Row


def find_renamed(
    rows: Sequence[Row], stored: Cassette, pending: Cassette, key_of: Callable[[RecordedRequest], str]
) -> frozenset[Row]:
    """Return the rows whose requests would have one key if the ids in them were named after the rows that gave them.

    ``rows`` are all of both versions. ``key_of`` gives the key of a request.
    """
    paired = [row for row in rows if not row.same_request and row.was is not None and row.now is not None]
    if not paired:
        return frozenset()
    old = _Renaming(stored, {row.was: place for place, row in enumerate(rows)})
    new = _Renaming(pending, {row.now: place for place, row in enumerate(rows)})
    found = []
    for row in paired:
        one, other = old.rename(row.was or 0), new.rename(row.now or 0)
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
