"""Add a batch to the events of a job, after whatever others have added."""

from __future__ import annotations

from aquila.huey.live.events import batch_key, events_table
from aquila.huey.state import EntryChange, SharedState


def append_batch(state: SharedState, job: str, batch: bytes, number: int = 0) -> int:
    """Store a batch under the next free number, and return that number. A batch that is there already stays one.

    ``number`` is the one that is probably free; 0 where nobody knows.
    """
    table = events_table(job)
    while True:
        if not number:
            newest = state.entries(table, limit=1, newest_first=True)
            number = int(newest[0].order) + 1 if newest else 1
        key = batch_key(number)
        # It may have been stored before, and the connection have broken before the storage could say so.
        if state.add(table, key, batch, order=number) or state.get(table, key) == batch:
            return number
        number = 0


def change_for(job: str, batch: bytes, number: int) -> EntryChange:
    """Return what stores a batch under a number that is probably free."""
    return EntryChange(events_table(job), batch_key(number), None, batch, number)
