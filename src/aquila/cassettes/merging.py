"""Putting recordings into a cassette that others may have changed meanwhile.

A recording is identified by its slot: its key, and its position among the recordings of that key. So merging twice is
the same as merging once, and processes that recorded the same request agree on one recording.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from aquila.cassettes.model import Cassette, Interaction, Request

Slot: TypeAlias = tuple[str, int]

TRANSIENT = frozenset({408, 409, 429, *range(500, 600)})
"""Statuses after which clients try again, so that only the last of a row says how the request ended."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A finished recording: its key, its position among the key's recordings, and when its request was made."""

    key: str
    position: int
    order: int
    interaction: Interaction

    @property
    def slot(self) -> Slot:
        """What identifies the recording in its cassette."""
        return self.key, self.position


@dataclass(frozen=True, slots=True)
class Played:
    """A recording that was played: its key, its position among the key's recordings, and when it was asked for."""

    key: str
    position: int
    order: int

    @property
    def slot(self) -> Slot:
        """What identifies the recording in its cassette."""
        return self.key, self.position


@dataclass(frozen=True, slots=True)
class Changes:
    """What one session means for its file.

    ``recorded`` are settled recordings in the order of their requests; ``used`` what was played; ``drop`` the slots to
    leave out; with ``replace`` a recording takes the place of the one
    that stands in its slot, otherwise the one that stands there stays.
    """

    recorded: tuple[Recorded, ...] = ()
    used: tuple[Played, ...] = ()
    drop: frozenset[Slot] = frozenset()
    replace: bool = False

    def __bool__(self) -> bool:
        return bool(self.recorded or self.drop)

    def slots(self) -> set[Slot]:
        """The slots that were played or recorded."""
        return {row.slot for row in self.used} | {row.slot for row in self.recorded}


def settle(recorded: Iterable[Recorded], *, record_errors: str) -> list[Recorded]:
    """Leave out failures that were followed by another answer to the same request, and close the gaps they leave.

    With ``record_errors="all"`` nothing is left out. Returned in the order of the requests.
    """
    rows: dict[str, list[Recorded]] = defaultdict(list)
    for row in sorted(recorded, key=lambda row: row.order):
        rows[row.key].append(row)
    settled: list[Recorded] = []
    for same in rows.values():
        kept = [
            row
            for row, following in itertools.zip_longest(same, same[1:])
            if record_errors == "all" or following is None or row.interaction.response.status not in TRANSIENT
        ]
        first = min(row.position for row in same)
        settled += (Recorded(row.key, first + at, row.order, row.interaction) for at, row in enumerate(kept))
    return sorted(settled, key=lambda row: row.order)


def merge(stored: Cassette, changes: Changes, key: Callable[[Request], str]) -> Cassette:
    """Return ``stored`` with ``changes`` made. ``key`` gives the key of a stored request.

    What stays keeps its order. A new recording is put behind the one whose request came just before its own, so that
    re-recording one interaction changes only that one.
    """
    recorded = {row.slot: row.interaction for row in changes.recorded}
    counts: dict[str, int] = defaultdict(int)
    merged: list[tuple[Slot, Interaction]] = []
    present: set[Slot] = set()
    for interaction in stored.interactions:
        mine = key(interaction.request)
        slot = (mine, counts[mine])
        counts[mine] += 1
        if slot in changes.drop:
            continue
        present.add(slot)
        merged.append((slot, recorded[slot] if changes.replace and slot in recorded else interaction))

    # What came before each new recording: the latest slot, in the order of requests, that is in the cassette.
    timeline = sorted(
        [(row.order, row.slot) for row in changes.used] + [(row.order, row.slot) for row in changes.recorded]
    )
    behind: dict[Slot | None, list[Slot]] = defaultdict(list)
    before: Slot | None = None
    for _, slot in timeline:
        if slot in recorded and slot not in present:
            behind[before].append(slot)
            present.add(slot)
            before = slot
        elif slot in present:
            before = slot

    rows: list[Interaction] = []

    def place(slots: Iterable[Slot]) -> None:
        # A stack instead of recursion: thousands of new recordings form one chain.
        waiting = list(slots)[::-1]
        while waiting:
            slot = waiting.pop()
            rows.append(recorded[slot])
            waiting += behind.pop(slot, [])[::-1]

    # Recordings that came before all others stand first; but where nothing stored was used, they are additions.
    old = {slot for slot, _ in merged}
    first = behind.pop(None, [])
    comes_first = any(slot in old for _, slot in timeline)
    if comes_first:
        place(first)
    for slot, interaction in merged:
        rows.append(interaction)
        place(behind.pop(slot, []))
    if not comes_first:
        place(first)
    return Cassette.of(rows)
