"""Adds a batch to the events of a job, after the batches that other processes have added."""

from __future__ import annotations

from aquila.huey.live.events import batch_key, events_table
from aquila.huey.state import EntryChange, SharedState


def append_batch(state: SharedState, job: str, batch: bytes, number: int = 0) -> int:
    """Store a batch under the next free number, and return the number. Storing the same batch again changes nothing.

    ``job`` is the id of the job. ``number`` is the one that is probably free, or 0 if that is not known. Raises what
    the storage raises.
    """
    table = events_table(job)
    while True:
        if not number:
            newest = state.entries(table, limit=1, newest_first=True)
            number = int(newest[0].order) + 1 if newest else 1
        key = batch_key(number)
        # The second condition: it was stored by an earlier call, whose connection broke before the answer came. Stored
        # once more, its events would be there twice.
        if state.add(table, key, batch, order=number) or state.get(table, key) == batch:
            return number
        number = 0


def change_for(job: str, batch: bytes, number: int) -> EntryChange:
    """Return the change that stores a batch under a number that is probably free; see ``SharedState.change_many``."""
    return EntryChange(events_table(job), batch_key(number), None, batch, number)
