"""Which recordings answer a request whose own scheme, host and port have none.

A recording may have been made through a proxy or of a local server, and then answers for the provider. It is looked for
only where nothing was recorded of the origin itself, so what is kept here is built when it is first needed.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from aquila.cassettes.matching.request_key import without_origin
from aquila.cassettes.storage.merging import Slot


class OtherOrigins:
    """The recordings of a cassette, whatever their origin. ``by_key`` are their numbers, in order, for each key."""

    def __init__(self, by_key: Mapping[str, Sequence[int]]) -> None:
        self._by_key = by_key

    @functools.cached_property
    def _slots_by_content(self) -> Mapping[str, Sequence[Slot]]:
        numbered = sorted(
            (number, (key, at)) for key, numbers in self._by_key.items() for at, number in enumerate(numbers)
        )
        found: dict[str, list[Slot]] = defaultdict(list)
        for _, slot in numbered:
            found[without_origin(slot[0])].append(slot)
        return dict(found)

    def find_slots(self, key: str) -> Sequence[Slot]:
        """Return the recordings whose key differs from ``key`` at most in its origin, in the order of the cassette."""
        return self._slots_by_content.get(without_origin(key), ())


def move_to_origin(url: str, of: str) -> str:
    """Return ``url`` with the scheme, host and port of the URL ``of``."""
    scheme, netloc = urlsplit(of)[:2]
    return urlsplit(url)._replace(scheme=scheme, netloc=netloc).geturl()
