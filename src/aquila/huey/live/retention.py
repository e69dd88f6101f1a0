"""Removes published jobs: chosen ones, or the oldest of too many."""

from __future__ import annotations

from aquila.huey.live.events import events_table
from aquila.huey.live.summaries import JOBS_TABLE
from aquila.huey.state import SharedState

_AT_ONCE = 500
_MOST = 5_000


def forget_jobs(state: SharedState, *jobs: str) -> None:
    """Remove the events and the summaries of jobs, by their ids. Their tasks and results stay as they are."""
    # The events first: without the summary nobody would ever find events that are left.
    state.drop(*map(events_table, jobs))
    state.delete(JOBS_TABLE, *jobs)


def forget_old_jobs(state: SharedState, *, keep: int, before: float) -> int:
    """Remove the oldest jobs beyond ``keep``, and those whose last change was ``before`` (seconds since the epoch).

    Removes about 5,000 at most, so that the thread of a worker is not busy for long. Returns how many it has removed.
    """
    forgotten = 0
    while forgotten < _MOST:
        surplus = state.count(JOBS_TABLE) - keep
        entries = state.entries(JOBS_TABLE, limit=min(_AT_ONCE, surplus)) if surplus > 0 else []
        entries = entries or state.entries(JOBS_TABLE, limit=_AT_ONCE, below=before)
        if not entries:
            break
        forget_jobs(state, *(entry.key for entry in entries))
        forgotten += len(entries)
    return forgotten
