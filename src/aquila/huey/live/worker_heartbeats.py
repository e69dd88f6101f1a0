"""The heartbeats of processes that execute jobs, for the page of jobs: sends and reads them.

The heartbeats of ``delivery.consumer_heartbeats`` are others. By those consumers with ``keep_running`` find lost tasks.
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

from aquila.huey.live.job_record import StoragePlace
from aquila.huey.state import state_of

if TYPE_CHECKING:
    from aquila.huey.live.publisher import JobPublisher

WORKERS_TABLE = "live.workers"
"""The table of heartbeats: by the id of the process, in the order of its last one."""

_MISSED = 3
"""A worker is gone after this many missed heartbeats. With ``keep_running`` it is not before ``lost_after``."""

_MOST = 500  # Heartbeats that are read.


class Heartbeats:
    """Sends the heartbeats of this process to the storages in which it has workers.

    - ``publisher``: the publisher of the Huey. Its lock guards ``workers``.
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
        self._due: dict[StoragePlace, float] = {}
        """When the next heartbeat to a storage is due, by the monotonic clock. Removed together with the heartbeat."""
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

    def next_due(self) -> float:
        """Return when to call ``beat`` again, by the clock of ``time.monotonic``."""
        return min(self._due.values(), default=time.monotonic() + self._every)

    def beat(self) -> None:
        """Send the heartbeats that are due, to each storage where this process has workers or executes a job."""
        # The lock is held only while the state is copied: a storage that hangs must not stop the workers.
        with self._publisher.lock:
            if self.has_left:
                return
            workers, running = Counter(self.workers), self._count_running()
        now = time.monotonic()
        for place in {**self._due, **workers, **running}:
            if self._due.get(place, 0.0) > now:
                continue
            if place not in running and not workers[place]:
                self._remove_from(place)
            else:
                self._due[place] = now + self._every
                about = {
                    "host": socket.gethostname(),
                    "pid": self._pid,
                    "every": self._every,
                    "workers": workers[place],
                    "running": running[place],
                }
                with self._unless_away():
                    state = state_of(place)
                    # The storage is asked each time, because somebody may have set its clock.
                    state.put(WORKERS_TABLE, self.worker, json.dumps(about).encode(), order=state.now())

    def remove_all(self) -> None:
        """Remove the heartbeats of this process from all storages."""
        for place in list(self._due):
            self._remove_from(place)

    def _remove_from(self, place: StoragePlace) -> None:
        self._due.pop(place, None)
        with self._unless_away():
            state_of(place).delete(WORKERS_TABLE, self.worker)

    def _count_running(self) -> Counter[StoragePlace]:
        records = self._publisher.records.values()
        return Counter(record.place for record in records if record.run and not record.is_over)


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A process that executes jobs.

    ``seen`` is when its last heartbeat came, in seconds since the epoch. ``workers`` is the number of its threads or
    greenlets, ``running`` that of the jobs that it executes.
    """

    key: str
    host: str
    pid: int
    seen: float
    workers: int
    running: int
    is_alive: bool


def read_workers(huey: Any) -> list[WorkerRow]:
    """Return the workers that have sent a heartbeat within the last hour, the living ones first.

    With ``keep_running`` a worker is gone when it has been silent for so long that other consumers may take over its
    jobs. Raises what the storage raises.
    """
    state = state_of(huey)
    now = state.now()
    found = []
    for entry in state.entries(WORKERS_TABLE, limit=_MOST, newest_first=True):
        about = json.loads(entry.value)
        lasts = about["every"] * _MISSED + 1
        found.append(
            WorkerRow(
                entry.key,
                about["host"],
                about["pid"],
                entry.order,
                about["workers"],
                about["running"],
                abs(now - entry.order) <= (max(lasts, huey.lost_after) if huey.keep_running else lasts),
            )
        )
    return sorted(found, key=lambda row: (not row.is_alive, row.host, row.pid))
