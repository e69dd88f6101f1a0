"""Finds the proposals of one conversation, in which a request names an id from the answer of another recording.

Accepting one of them alone would leave a request in the cassette that names an id which no answer contains.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

from aquila.cassettes.matching.linked_recordings import GivenIds, group_linked
from aquila.cassettes.model import Cassette
from aquila.review.alignment import Row


def find_chains(rows: Sequence[Row], stored: Cassette, pending: Cassette) -> list[int]:
    """Return for each row the index of the first row of its conversation.

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
