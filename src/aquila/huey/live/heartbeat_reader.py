"""Reads the heartbeats of the workers of a queue."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from aquila.huey.delivery.consumer_heartbeats import CONSUMERS
from aquila.huey.live.worker_heartbeats import WORKERS_TABLE
from aquila.huey.state import Entry, state_of

_MISSED = 3
"""A worker is gone after this many missed heartbeats. With ``keep_running`` the limit is ``lost_after``."""

_MOST = 500  # Heartbeats that are read from each of the two tables.

_MALFORMED = (ValueError, TypeError, KeyError, OverflowError, RecursionError)
"""The errors of an entry that is not a heartbeat: anybody may have written it."""


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A process that executes jobs.

    ``began`` is when it began and ``seen`` when its last heartbeat came, in seconds since the epoch. ``workers`` is the
    number of its threads or greenlets, ``running`` are the ids of jobs that it executes.
    """

    key: str
    host: str
    pid: int
    began: float
    seen: float
    workers: int
    running: tuple[str, ...]
    is_alive: bool


def read_workers(huey: Any) -> list[WorkerRow]:
    """Return the workers that have sent a heartbeat within the last hour, the living ones first.

    With ``keep_running`` their heartbeats are those of consumers, and a worker is gone exactly when other consumers may
    take over its jobs. Raises what the storage raises.
    """
    state = state_of(huey)
    now = state.now()
    found: dict[str, WorkerRow] = {}
    for entry in state.entries(WORKERS_TABLE, limit=_MOST, newest_first=True):
        try:
            about = json.loads(entry.value)
            lasts = min(max(float(about["every"]), 0.05), 3600.0) * _MISSED + 1
            found[entry.key] = _make_row(
                entry, entry.key, about, about["began"], is_alive=abs(now - entry.order) < lasts
            )
        except _MALFORMED:
            continue
    # The oldest first, so that of two lives of one process the newer one is kept.
    for entry in reversed(state.entries(CONSUMERS, limit=_MOST, newest_first=True)):
        try:
            about = json.loads(entry.value)
            if "worker" not in about:  # A consumer that has no worker, such as a scheduler, or publishes nothing.
                continue
            key = str(about["worker"])
            found[key] = _make_row(
                entry, key, about, about["started"], is_alive=abs(now - entry.order) <= huey.lost_after
            )
        except _MALFORMED:
            continue
    return sorted(found.values(), key=lambda row: (not row.is_alive, row.host, row.pid))


def _make_row(entry: Entry, key: str, about: Any, began: Any, *, is_alive: bool) -> WorkerRow:
    running = tuple(map(str, about["running"]))
    return WorkerRow(
        key, str(about["host"]), int(about["pid"]), float(began), entry.order, int(about["workers"]), running, is_alive
    )
