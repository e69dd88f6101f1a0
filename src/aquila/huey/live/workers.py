"""The workers of a queue, as they say of themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass

from aquila.huey.live.storing import WORKERS_TABLE
from aquila.huey.state import SharedState

_MISSED = 3
"""A worker that is silent for so many times its interval is gone."""

_MOST = 500


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


def read_workers(state: SharedState) -> list[WorkerRow]:
    """Return the workers that were seen within the last hour, those that live first."""
    now = state.now()
    rows = []
    for entry in state.entries(WORKERS_TABLE, limit=_MOST, newest_first=True):
        try:
            about = json.loads(entry.value)
            every = min(max(float(about["every"]), 0.05), 3600.0)
            rows.append(
                WorkerRow(
                    entry.key,
                    str(about["host"]),
                    int(about["pid"]),
                    float(about["began"]),
                    entry.order,
                    int(about["workers"]),
                    tuple(map(str, about["running"])),
                    now - entry.order < every * _MISSED + 1,
                )
            )
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            continue
    return sorted(rows, key=lambda row: (not row.is_alive, row.host, row.pid))
