"""Conversations: the recordings of cassettes that belong together, because one names an id that another has given.

If one of them is recorded anew, all are: a provider never gives the same id again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from aquila.cassettes.matching.provider_ids import ids_given_by, ids_named_by, values_in
from aquila.cassettes.model import Interaction
from aquila.cassettes.object_memo import ObjectMemo

_LOOKING = ("GET", "HEAD")
"""Methods that make nothing. Within a conversation they tell what it has made meanwhile."""

Recording: TypeAlias = tuple[int, int]
"""One of several cassettes, and the number (from 0) of a recording in it."""


class _Held(NamedTuple):
    """What a recording holds: the ids that its request names, every text of that, and the ids that its answer gives."""

    named: Mapping[str, str]
    values: frozenset[str]
    given: frozenset[str]


_held: ObjectMemo[Interaction, _Held] = ObjectMemo(limit=32 * 1024 * 1024)
_HELD_SIZE = 2048


def _find_held(recording: Interaction) -> _Held:
    held = _held.find(recording)
    if held is None:
        request, chunks = recording.request, recording.response.chunks
        held = _Held(ids_named_by(request), values_in(request), frozenset(ids_given_by(recording)))
        # Chunks that are no tuple lie in a file.
        size = sum([len(chunk.data) for chunk in chunks]) if isinstance(chunks, tuple) else 0
        _held.add(recording, held, request.size + size + _HELD_SIZE)
    return held


class GivenId(NamedTuple):
    """An id that a request names: ``where`` it stands, and the ``number`` (from 0) of the recording that gives it."""

    value: str
    where: str
    number: int


class GivenIds:
    """Which recordings of one cassette give which ids, and which name them.

    What a request held before any answer did is the client's own id, and no recording gives it. Neither does one that
    only looks at what its provider has anyway, such as a list of files: what it names stays known. ``keys`` are those
    of the recordings.
    """

    def __init__(self, recordings: Sequence[Interaction], keys: Sequence[str]) -> None:
        self.keys = keys
        self._givers: dict[str, int] = {}
        self._named: list[Mapping[str, str]] = []
        known: set[str] = set()
        for number, each in enumerate(recordings):
            held = _find_held(each)
            self._named.append(held.named)
            known |= held.values
            if each.request.method.upper() in _LOOKING and self._givers.keys().isdisjoint(held.named):
                continue
            for value in held.given - known:
                self._givers.setdefault(value, number)

    def find_in(self, named: Mapping[str, str]) -> list[GivenId]:
        """Return those ids of ``named`` (see ``ids_named_by``) that a recording gives."""
        return [GivenId(value, where, self._givers[value]) for value, where in named.items() if value in self._givers]

    def values(self) -> Iterable[str]:
        """Return the ids that the recordings give."""
        return self._givers.keys()

    def links_of(self, given: set[str]) -> Iterator[tuple[int, Hashable]]:
        """Yield what each recording has in common with others: ids of ``given`` that it gives or names."""
        for value, number in self._givers.items():
            yield number, value
        for number, named in enumerate(self._named):
            for value in given.intersection(named):
                yield number, value


def find_conversation(start: Iterable[Recording], cassettes: Sequence[GivenIds]) -> list[Recording]:
    """Return the recordings that belong to those of ``start``, these included, in order.

    Requests with one key cannot be told apart, so their recordings stay together too.
    """
    given = {value for cassette in cassettes for value in cassette.values()}
    links: dict[Hashable, list[Recording]] = defaultdict(list)
    linked: dict[Recording, list[Hashable]] = defaultdict(list)
    for which, cassette in enumerate(cassettes):
        same_key = ((number, (which, key)) for number, key in enumerate(cassette.keys))
        for rows in (cassette.links_of(given), same_key):
            for number, link in rows:
                links[link].append((which, number))
                linked[which, number].append(link)
    found, waiting = set(start), list(start)
    while waiting:
        for link in linked.pop(waiting.pop(), ()):
            new = [each for each in links.pop(link, ()) if each not in found]
            found.update(new)
            waiting += new
    return sorted(found)
