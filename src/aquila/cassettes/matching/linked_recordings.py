"""Finds the recordings that belong together because the request of one names an id that the answer of another gave.

If one of them is recorded anew, all must be: a provider never gives the same id again.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from aquila.cassettes.matching.provider_ids import ids_given_by, ids_named_by, values_in
from aquila.cassettes.model import Interaction
from aquila.cassettes.object_memo import ObjectMemo
from aquila.fork_locks import renewed_in_child

_LOOKING = ("GET", "HEAD")
"""Methods that create nothing. Their answers list what exists: all files of an account, for example. If the request
names an id that a conversation has given, the answer lists what that conversation has created so far."""

Recording: TypeAlias = tuple[int, int]
"""The number of a cassette in a list, and the number of a recording in it, both from 0."""


class _RecordingIds(NamedTuple):
    """The ids of a recording.

    ``named`` are the ids that its request names, each with its place. ``values`` are all texts of the request, and
    ``given`` the ids in its answer.
    """

    named: Mapping[str, str]
    values: frozenset[str]
    given: frozenset[str]


# One for the process, so that all tests that share a cassette parse its bodies once. The limit is in bytes.
_known_ids: ObjectMemo[Interaction, _RecordingIds] = ObjectMemo(limit=32 * 1024 * 1024)
_ROW_SIZE = 2048
"""An estimate, in bytes, of what a row takes besides the recording that it keeps alive."""


def _read_ids(recording: Interaction) -> _RecordingIds:
    ids = _known_ids.find(recording)
    if ids is None:
        request, chunks = recording.request, recording.response.chunks
        ids = _RecordingIds(ids_named_by(request), values_in(request), frozenset(ids_given_by(recording)))
        # Chunks that are not a tuple lie in a file, and take no memory.
        size = sum([len(chunk.data) for chunk in chunks]) if isinstance(chunks, tuple) else 0
        _known_ids.add(recording, ids, request.size + size + _ROW_SIZE)
    return ids


class GivenId(NamedTuple):
    """An id that a request names: ``where`` it stands, and the ``number`` (from 0) of the recording that gives it."""

    value: str
    where: str
    number: int


class GivenIds:
    """Which recordings of one cassette give which ids, and which recordings name them.

    A client made an id that stood in a request before it stood in an answer, so no recording gives such an id. An
    answer that only lists what the provider had before, such as all files, gives none either. ``keys`` are the keys of
    the recordings, in their order.
    """

    def __init__(self, recordings: Sequence[Interaction], keys: Sequence[str]) -> None:
        self.keys = keys
        # Recordings are read one by one until a question is answered: most are answered by the first few, and to read
        # all of a large cassette takes seconds. The lock guards what follows.
        self._lock = renewed_in_child(threading.Lock())
        self._unread = enumerate(recordings)
        self._givers: dict[str, int] = {}
        self._named: list[Mapping[str, str]] = []
        self._known: set[str] = set()  # the texts of the requests that were read

    def find_in(self, named: Mapping[str, str]) -> list[GivenId]:
        """Return the ids of ``named`` (see ``ids_named_by``) that a recording gives."""
        with self._lock:
            self._read(until=named)
            return [
                GivenId(value, where, self._givers[value]) for value, where in named.items() if value in self._givers
            ]

    def values(self) -> Iterable[str]:
        """Return the ids that the recordings give."""
        with self._lock:
            self._read()
        return self._givers.keys()

    def links_of(self, given: set[str]) -> Iterator[tuple[int, Hashable]]:
        """Yield the number of a recording, and an id of ``given`` that it gives or names, for all such pairs."""
        for value in self.values():
            yield self._givers[value], value
        for number, named in enumerate(self._named):
            for value in given.intersection(named):
                yield number, value

    def _read(self, until: Iterable[str] | None = None) -> None:
        """Read further recordings: all of them, or until it is known of each of some values whether one gives it."""
        undecided = None if until is None else set(until).difference(self._known, self._givers)
        while undecided is None or undecided:
            number, each = next(self._unread, (-1, None))
            if each is None:
                return
            ids = _read_ids(each)
            self._named.append(ids.named)
            self._known |= ids.values
            is_list = each.request.method.upper() in _LOOKING and self._givers.keys().isdisjoint(ids.named)
            given = frozenset[str]() if is_list else ids.given - self._known
            for value in given:
                self._givers.setdefault(value, number)
            if undecided is not None:
                undecided.difference_update(ids.values, given)


def find_conversation(start: Iterable[Recording], cassettes: Sequence[GivenIds]) -> list[Recording]:
    """Return the recordings that belong to those of ``start``, these included, in order.

    Requests with one key cannot be told apart, so their recordings stay together too.
    """
    given = {value for cassette in cassettes for value in cassette.values()}
    numbers: dict[Recording, int] = {}
    links: dict[Hashable, list[int]] = defaultdict(list)
    for which, cassette in enumerate(cassettes):
        for number, key in enumerate(cassette.keys):
            numbers[which, number] = len(numbers)
            links[which, key].append(numbers[which, number])
        for number, value in cassette.links_of(given):
            links[value].append(numbers[which, number])
    groups = group_linked(len(numbers), links.values())
    wanted = {groups[numbers[each]] for each in start}
    return [each for each, number in numbers.items() if groups[number] in wanted]


def group_linked(count: int, links: Iterable[Sequence[int]]) -> list[int]:
    """Return, for each of ``count`` recordings, the number of the first recording of its group. Numbers count from 0.

    Each of ``links`` holds the numbers of recordings that belong together.
    """
    # Union-find with path halving: each number points towards the first number of its group.
    first = list(range(count))

    def find(at: int) -> int:
        while first[at] != at:
            first[at] = at = first[first[at]]
        return at

    for linked in links:
        for at in linked[1:]:
            one, other = sorted((find(linked[0]), find(at)))
            first[other] = one
    return [find(at) for at in range(count)]
