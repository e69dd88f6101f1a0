"""The workers of a queue, as they say of themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from aquila.huey.delivery.consumer_life import CONSUMERS
from aquila.huey.live.heartbeats import WORKERS_TABLE
from aquila.huey.state import Entry, state_of

_MISSED = 3
"""A worker that is silent for so many times its interval is gone. With ``keep_running`` the rescuer decides."""

_MOST = 500

_ODD = (ValueError, TypeError, KeyError, OverflowError, RecursionError)
"""What is raised where an entry is not what it should be: anybody may have written it."""


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A process that executes jobs. ``seen`` is when it last said so; ``workers`` its threads or greenlets."""

    key: str
    host: str
    pid: int
    began: float
    seen: float
    workers: int
    running: tuple[str, ...]
    is_alive: bool


def read_workers(huey: Any) -> list[WorkerRow]:
    """Return the workers that were seen within the last hour, those that live first.

    Where a Huey has ``keep_running`` its workers are consumers that show a heartbeat, and one is gone when the others
    may take over its jobs, no sooner and no later.
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
        except _ODD:
            continue
    for entry in reversed(state.entries(CONSUMERS, limit=_MOST, newest_first=True)):  # The last one counts.
        try:
            about = json.loads(entry.value)
            if "worker" not in about:  # It executes nothing, or publishes nothing.
                continue
            key = str(about["worker"])
            found[key] = _make_row(
                entry, key, about, about["started"], is_alive=abs(now - entry.order) <= huey.lost_after
            )
        except _ODD:
            continue
    return sorted(found.values(), key=lambda row: (not row.is_alive, row.host, row.pid))


def _make_row(entry: Entry, key: str, about: Any, began: Any, *, is_alive: bool) -> WorkerRow:
    running = tuple(map(str, about["running"]))
    return WorkerRow(
        key, str(about["host"]), int(about["pid"]), float(began), entry.order, int(about["workers"]), running, is_alive
    )
