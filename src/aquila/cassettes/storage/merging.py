"""Merges recordings into a cassette that other processes may have changed meanwhile. Reads and writes no file.

A recording is identified by its slot: its key, and its position among the recordings of that key. So merging twice has
the same result as merging once, and of several processes that recorded the same request, one recording is kept.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from aquila.cassettes.matching.request_key import without_origin
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest
from aquila.cassettes.storage.recording_slots import RecordingPlayed, Slot, first_call_of, is_failure

_Row: TypeAlias = tuple[Slot, Interaction]

_FIRST = -1
"""The place before all recordings."""


@dataclass(frozen=True, slots=True)
class NewRecording:
    """A finished recording.

    - ``position``: its number among the recordings of ``key``, from 0.
    - ``order``: a number that grows with each request of its process.
    - ``left_open``: whether an exception or the end of the scope closed the answer, and perhaps not the program.
    - ``call``: the id of the client's call that made the request, such as ``3@job``. If it tries again what failed in
      the same task or thread, the id of the first call that did, a slash and a number. Empty if the call made no other
      attempt.
    - ``renews``: whether it was recorded because the stored recording in its slot is old, or of a conversation that
      drifted.
    - ``part``: the number, from 1, of a part of a conversation that continues. Its chunks follow those of the part
      before. 0 for anything else.
    """

    key: str
    position: int
    order: int
    interaction: Interaction
    left_open: bool = False
    call: str = ""
    renews: bool = False
    part: int = 0

    @property
    def slot(self) -> Slot:
        """What identifies the recording in its cassette."""
        return self.key, self.position

    @property
    def is_closed_by_failure(self) -> bool:
        """Whether it is not kept if its scope fails, because the failure has perhaps closed the answer."""
        return self.left_open and self.interaction.response.was_left


@dataclass(frozen=True, slots=True)
class Changes:
    """The changes that one session makes in its cassette.

    - ``recorded``: the new recordings, in the order of their requests.
    - ``used``: the recordings that were played.
    - ``drop``: the slots whose stored recordings are removed.
    - ``replace``: whether a new recording replaces the stored one in its slot. If not, the new one is dropped.
    - ``drop_keys``: the keys whose stored recordings are all removed.
    - ``key_of_stored``: the function that returns the key of a stored request; None for the usual function.
    - ``for_review``: whether the changes go into a file beside the cassette, which stays as it is.
    """

    recorded: tuple[NewRecording, ...] = ()
    used: tuple[RecordingPlayed, ...] = ()
    drop: frozenset[Slot] = frozenset()
    replace: bool = False
    drop_keys: frozenset[str] = frozenset()
    key_of_stored: Callable[[RecordedRequest], str] | None = field(default=None, compare=False)
    for_review: bool = False

    def without_left_open(self) -> Changes:
        """Return the changes of a scope that failed, without the answers that the failure has perhaps closed."""
        chosen = tuple([row for row in self.recorded if not row.is_closed_by_failure])
        return replace(self, recorded=chosen)

    def as_additions(self) -> Changes:
        """Return the same changes without anything that replaces or removes a stored recording."""
        rows = tuple(replace(row, renews=False) for row in self.recorded)
        return replace(self, recorded=rows, drop=frozenset(), replace=False, drop_keys=frozenset())

    def __bool__(self) -> bool:
        return bool(self.recorded or self.drop or self.drop_keys)

    def touched_slots(self) -> set[Slot]:
        """Return the slots that were played or recorded."""
        return {row.slot for row in self.used} | {row.slot for row in self.recorded}


def drop_retried_failures(
    recorded: Iterable[NewRecording], *, record_errors: str, whole: bool = False
) -> list[NewRecording]:
    """Return recordings without the failures after which a client has tried again, with positions without gaps.

    The last answer of a call is kept, in the place of its first attempt, so that equal calls that ran at the same time
    get their own answers. If it is a failure as well, it gets the number of attempts of the call. Calls by which the
    program tries again follow the one that failed, which is ``retried`` if other tasks made the request, too. ``whole``
    says that every request was recorded; then a gap in the positions is a request without an answer, and is closed,
    too. With ``record_errors="all"`` no failure of a retried call is left out. Each process counts its own requests, so
    two may have recorded the same slot. Then the earlier answer is kept; a failure only if no process got an answer,
    because a replay would give it to every process, also to one that a queue of jobs starts to try again. The result
    is in the order of the requests.
    """
    rows: dict[str, dict[int, NewRecording]] = defaultdict(dict)
    for row in sorted(recorded, key=lambda row: (is_failure(row.interaction.response), row.order)):
        rows[row.key].setdefault(row.position, row)
    settled: list[NewRecording] = []
    for same in rows.values():
        in_order = [same[position] for position in sorted(same)]
        if whole:
            in_order = [replace(row, position=n) for n, row in enumerate(in_order)]
        attempts = Counter(row.call for row in in_order)
        last = {row.call: row for row in in_order}
        jobs = {first_call_of(row.call).rpartition("@")[2] or row.position for row in in_order}
        chains: dict[str | int, list[NewRecording]] = {}
        places: list[int] = []
        dropped = 0
        for row in in_order:
            # The tasks of some event loops are all one job. Then nobody knows which of them has tried again.
            chain_name = first_call_of(row.call) if len(jobs) > 1 else row.call if record_errors != "all" else ""
            chain = chains.setdefault(chain_name or row.position, [])
            failed, is_last = is_failure(row.interaction.response), not row.call or last[row.call] is row
            if failed and not is_last and record_errors != "all":
                dropped += 1
                continue
            places.append(row.position - dropped)
            chain.append(_with(row, attempts=attempts[row.call]) if failed and is_last and row.call else row)
        for chain in chains.values() if len(jobs) > 1 else ():  # made by several tasks or threads
            chain[:-1] = [_with(row, retried=is_failure(row.interaction.response)) for row in chain[:-1]]
        kept = [row for chain in chains.values() for row in chain]
        settled += [replace(row, position=place) for place, row in zip(places, kept, strict=True)]
    return sorted(settled, key=lambda row: row.order)


def _with(row: NewRecording, **changes: Any) -> NewRecording:
    """Return a recording with changes in its response."""
    return replace(row, interaction=replace(row.interaction, response=replace(row.interaction.response, **changes)))


def recordings_by_slot(cassette: Cassette, key: Callable[[RecordedRequest], str]) -> dict[Slot, Interaction]:
    """Return the recordings of a cassette by their slots, in the cassette's order. ``key`` returns a request's key."""
    counts: Counter[str] = Counter()
    found: dict[Slot, Interaction] = {}
    for interaction in cassette.interactions:
        mine = key(interaction.request)
        found[mine, counts[mine]] = interaction
        counts[mine] += 1
    return found


def merge_changes(stored: Cassette, changes: Changes, key: Callable[[RecordedRequest], str]) -> Cassette:
    """Return ``stored`` with ``changes`` applied. ``key`` returns the key of a stored request.

    Stored recordings keep their order. A new recording is put behind the recording whose request came just before, so
    that recording one interaction again changes nothing else in the cassette.
    """
    recorded = {row.slot: row.interaction for row in changes.recorded}
    kept = _kept_rows(stored, changes, recorded, key)
    places = {slot: place for place, (slot, _) in enumerate(kept)}
    requests = [(row.order, row.slot) for row in changes.used] + [(row.order, row.slot) for row in changes.recorded]
    timeline = [slot for _, slot in sorted(requests)]
    followers = _followers(timeline, recorded, places)
    rows: list[_Row] = []

    def place_followers(place: int) -> None:
        rows.extend([(slot, recorded[slot]) for slot in followers.pop(place, ())])

    # New recordings that came before all stored ones stand first. If no stored recording was used, all new ones go to
    # the end.
    if not places.keys().isdisjoint(timeline):
        place_followers(_FIRST)
    for place, row in enumerate(kept):
        rows.append(row)
        place_followers(place)
    place_followers(_FIRST)
    return Cassette.from_interactions(_in_position(rows, {slot for slot, _ in rows} - places.keys()))


def _kept_rows(
    stored: Cassette, changes: Changes, recorded: dict[Slot, Interaction], key: Callable[[RecordedRequest], str]
) -> list[_Row]:
    """Return the interactions of a cassette that stay, each with its slot. Replaced ones are in their new form."""
    renewed = {row.slot for row in changes.recorded if row.renews}
    kept: list[_Row] = []
    for slot, interaction in recordings_by_slot(stored, key).items():
        if slot not in changes.drop and slot[0] not in changes.drop_keys:
            replaces = changes.replace or slot in renewed
            kept.append((slot, recorded.get(slot, interaction) if replaces else interaction))
    return kept


def _followers(
    timeline: Iterable[Slot], recorded: dict[Slot, Interaction], stored: Mapping[Slot, int]
) -> dict[int, list[Slot]]:
    """Return the slots of new recordings, by the place of the stored recording behind which they are put.

    That is the recording whose request came just before. A new recording also stands behind every earlier recording
    that has the same key apart from the host: the requests to a host without recordings of its own are answered by
    those of all other hosts in the order of the cassette, which must be the order of the requests. ``timeline`` are the
    slots in the order of their requests; slots that are neither ``recorded`` nor ``stored`` are skipped.
    """
    followers: dict[int, list[Slot]] = defaultdict(list)
    places = dict(stored)
    last_of_content: dict[str, int] = {}
    before = _FIRST
    for slot in timeline:
        if slot not in places and slot not in recorded:
            continue
        content = without_origin(slot[0])
        last = last_of_content.get(content, _FIRST)
        if slot not in places:
            places[slot] = max(before, last)
            followers[places[slot]].append(slot)
        before = places[slot]
        last_of_content[content] = max(before, last)
    return followers


def _in_position(rows: list[_Row], added: set[Slot]) -> list[Interaction]:
    """Return the interactions, with new ones moved so that those of one key are in the order of their positions.

    Each process counts its own requests, so a new one may have been placed before one with a lower position.
    """
    new: dict[str, deque[tuple[int, Interaction]]] = defaultdict(deque)
    stored: dict[str, deque[int]] = defaultdict(deque)
    for (key, position), interaction in sorted(rows, key=lambda row: row[0]):
        if (key, position) in added:
            new[key].append((position, interaction))
        else:
            stored[key].append(position)
    placed: list[Interaction] = []
    reached: dict[str, int] = defaultdict(int)  # by key: new interactions with positions below this may be placed

    def place_new(key: str, below: int) -> None:
        while new[key] and new[key][0][0] < below:
            placed.append(new[key].popleft()[1])

    for (key, position), interaction in rows:
        if (key, position) in added:
            reached[key] = max(reached[key], position + 1)
        else:
            place_new(key, position)
            placed.append(interaction)
            stored[key].popleft()
        place_new(key, min(reached[key], stored[key][0]) if stored[key] else reached[key])
    return placed
