"""A three-way merge of cassettes, request by request, for two branches and their common ancestor. Reads no file."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from aquila.cassettes.model import Cassette, Interaction, RecordedRequest
from aquila.cassettes.storage.merging import Changes, NewRecording, merge_changes, recordings_by_slot
from aquila.cassettes.storage.recording_slots import RecordingPlayed


class BranchMerge(NamedTuple):
    """The merged cassette, and the decisions where both branches changed a recording, one sentence each."""

    cassette: Cassette
    decisions: list[str]


def merge_branches(
    base: Cassette, ours: Cassette, theirs: Cassette, key: Callable[[RecordedRequest], str]
) -> BranchMerge:
    """Merge two versions of a cassette. ``base`` is their common ancestor, ``key`` returns the key of a request.

    A recording that only one branch added, recorded again or removed is added, replaced or removed. If both recorded a
    request again, the later recording is kept, because both answer the same request. A recording that one branch
    removed and the other recorded again is kept, too.
    """
    before, mine, others = (recordings_by_slot(each, key) for each in (base, ours, theirs))
    recorded: list[NewRecording] = []
    used: list[RecordingPlayed] = []
    decisions: list[str] = []
    for order, (slot, now) in enumerate(others.items()):
        old, own = before.get(slot), mine.get(slot)
        if own is None and now == old:
            continue  # removed in our branch, unchanged in theirs
        if own is None and old is not None:
            decisions.append(f"{_describe(now)} was removed in one branch and recorded again in the other: it is kept")
        if own is None or own == old or (now not in (old, own) and now.recorded > own.recorded):
            recorded.append(NewRecording(*slot, order, now))
        else:
            used.append(RecordingPlayed(*slot, order))
        if own is not None and now != own and old not in (now, own):
            later = max(now.recorded, own.recorded)
            decisions.append(f"{_describe(now)} was recorded in both branches: the later recording is kept ({later})")
    for slot, own in mine.items():
        if slot in before and slot not in others and own != before[slot]:
            decisions.append(f"{_describe(own)} was removed in one branch and recorded again in the other: it is kept")
    removed = {slot for slot, own in mine.items() if slot not in others and before.get(slot) == own}
    changes = Changes(tuple(recorded), tuple(used), frozenset(removed), replace=True)
    return BranchMerge(merge_changes(ours, changes, key), decisions)


def _describe(interaction: Interaction) -> str:
    return f"{interaction.request.method} {interaction.request.url}"
