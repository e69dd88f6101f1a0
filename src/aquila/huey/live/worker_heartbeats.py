"""The heartbeats of processes that execute jobs, for the page of jobs: sends and reads them.

With ``keep_running`` a consumer sends a heartbeat already, so that other consumers can take over its lost tasks. That
heartbeat then has the fields for the page, too, and this module sends none.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aquila.huey.delivery.consumer_heartbeats import CONSUMERS
from aquila.huey.live.job_record import StoragePlace
from aquila.huey.state import Entry, state_of

if TYPE_CHECKING:
    from aquila.huey.live.publisher import JobPublisher

WORKERS_TABLE = "live.workers"
"""The table of heartbeats: by the id of the process, in the order of its last one."""

_MOST_RUNNING = 100
"""How many of the jobs that a process executes are named in a heartbeat."""

_MISSED = 3
"""A worker is gone after this many missed heartbeats. With ``keep_running`` the limit is ``lost_after``."""

_MOST = 500  # Heartbeats that are read from each of the two tables.

_MALFORMED = (ValueError, TypeError, KeyError, OverflowError, RecursionError)
"""The errors of an entry that is not a heartbeat: anybody may have written it."""


class Heartbeats:
    """Sends the heartbeats of this process to the storages in which it has workers.

    - ``publisher``: the publisher of the Huey. Its lock guards ``workers`` and ``has_left``.
    - ``every``: seconds between two heartbeats.
    - ``unless_away``: returns a context manager in which a storage may fail.

    ``worker`` is the id of this process, and ``workers`` has the storage of each worker thread or greenlet in it. The
    ``EventWriter`` owns this object, and replaces it in a fork.
    """

    def __init__(
        self, publisher: JobPublisher, every: float, unless_away: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._publisher = publisher
        self._every = every
        self._unless_away = unless_away
        self._pid = os.getpid()
        self._began = time.time()
        self._due: dict[StoragePlace, float] = {}
        """When the next heartbeat to a storage is due, by the monotonic clock. Removed together with the heartbeat."""
        self._reported: dict[StoragePlace, int] = {}
        """How many workers the heartbeat of ``keep_running`` has reported. Removed with the last worker."""
        self.worker = f"{socket.gethostname()}:{self._pid}:{uuid.uuid4().hex[:8]}"
        self.workers: list[StoragePlace] = []
        self.has_left = False  # True from `EventWriter.leave` to the next worker: nothing is sent then.

    def add_worker(self, place: StoragePlace) -> None:
        """Count a worker that begins."""
        self.has_left = False
        self.workers.append(place)

    def remove_worker(self, place: StoragePlace) -> None:
        """Count a worker that ends."""
        if place in self.workers:
            self.workers.remove(place)
        if place not in self.workers:
            self._reported.pop(place, None)

    def next_due(self) -> float:
        """Return when to call ``beat`` again, by the clock of ``time.monotonic``."""
        return min(self._due.values(), default=time.monotonic() + self._every)

    def describe_consumer(self, place: StoragePlace) -> dict[str, Any]:
        """Return the fields about this process for the heartbeat of ``keep_running`` at a storage.

        There are none if the process has no worker there.
        """
        if self.has_left or place not in self.workers:
            return {}
        return {"worker": self.worker, **self._describe(place, self.workers.count(place), self._find_running())}

    def beat(self) -> None:
        """Send the heartbeats that are due, to each storage where this process has workers or executes a job."""
        # The lock is held only while the state is copied: a storage that hangs must not stop the workers.
        with self._publisher.lock:
            if self.has_left:
                return
            workers, running = Counter(self.workers), self._find_running()
        now = time.monotonic()
        for place in {**self._due, **workers, **running}:
            if self._due.get(place, 0.0) > now:
                continue
            if place not in running and not workers[place]:
                self._remove_from(place)
            elif not (workers[place] and self._is_in_other_heartbeat(place, workers[place])):
                self._due[place] = now + self._every
                about = {
                    "host": socket.gethostname(),
                    "pid": self._pid,
                    "began": self._began,
                    "every": self._every,
                    **self._describe(place, workers[place], running),
                }
                with self._unless_away():
                    state = state_of(place)
                    # The storage is asked each time, because somebody may have set its clock.
                    state.put(WORKERS_TABLE, self.worker, json.dumps(about).encode(), order=state.now())

    def _is_in_other_heartbeat(self, place: StoragePlace, workers: int) -> bool:
        """Whether the heartbeat of ``keep_running`` reports these workers. Sends one if their number has changed."""
        life = self._publisher.huey.find_life_at(place.storage)
        if life is None:
            return False
        if place in self._due:
            self._remove_from(place)
        if self._reported.get(place) != workers:
            with self._unless_away():
                life.beat()
                # Its thread starts with the first task that is taken. On a paused queue none is.
                life.ensure_beating()
                self._reported[place] = workers
        return True

    def remove_all(self) -> None:
        """Remove the heartbeats of this process from all storages."""
        for place in list(self._due):
            self._remove_from(place)

    def _remove_from(self, place: StoragePlace) -> None:
        self._due.pop(place, None)
        with self._unless_away():
            state_of(place).delete(WORKERS_TABLE, self.worker)

    def _find_running(self) -> dict[StoragePlace, list[str]]:
        found: dict[StoragePlace, list[str]] = {}
        for record in self._publisher.records.values():
            if record.run and not record.is_over:
                found.setdefault(record.place, []).append(record.summary.id)
        return found

    @staticmethod
    def _describe(place: StoragePlace, workers: int, running: dict[StoragePlace, list[str]]) -> dict[str, Any]:
        return {"workers": workers, "running": running.get(place, [])[:_MOST_RUNNING]}


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
