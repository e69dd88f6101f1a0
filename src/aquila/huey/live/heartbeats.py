"""How a process that executes jobs says that it lives.

With ``keep_running`` its workers show a heartbeat already, by which others take over their jobs. That one says it then.
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
from typing import TYPE_CHECKING, Any

from aquila.huey.live.job_record import StoragePlace
from aquila.huey.state import state_of

if TYPE_CHECKING:
    from aquila.huey.live.publisher import JobPublisher

WORKERS_TABLE = "live.workers"
"""By worker: what it says of itself, ordered by when it last said it."""

_MOST_RUNNING = 100
"""How many of the jobs that it executes a process names."""


class Heartbeats:
    """What this process says of itself, and where. ``every`` is how often, in seconds.

    ``worker`` is its id, new for each process. ``workers`` has for each worker in it the place of its queue; it changes
    under the lock of the publisher. ``unless_away`` makes a context that does without a storage that fails.
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
        self._reported: dict[StoragePlace, int] = {}
        """How many workers the heartbeat of ``keep_running`` has reported."""
        self.worker = f"{socket.gethostname()}:{self._pid}:{uuid.uuid4().hex[:8]}"
        self.workers: list[StoragePlace] = []
        self.has_left = False

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
        """Return when to call ``beat`` again, by ``time.monotonic``."""
        return min(self._due.values(), default=time.monotonic() + self._every)

    def describe_consumer(self, place: StoragePlace) -> dict[str, Any]:
        """Return what the heartbeat of ``keep_running`` at a place says of this process: nothing without a worker."""
        if self.has_left or place not in self.workers:
            return {}
        return {"worker": self.worker, **self._describe(place, self.workers.count(place), self._find_running())}

    def beat(self) -> None:
        """Say that this process lives, wherever it has workers or executes a job, and it is time."""
        with self._publisher.lock:
            if self.has_left:
                return
            workers, running = Counter(self.workers), self._find_running()
        now = time.monotonic()
        for place in {**self._due, **workers, **running}:
            if self._due.get(place, 0.0) > now:
                continue
            if place not in running and not workers[place]:
                self._take_leave_of(place)
            elif not (workers[place] and self._is_reported_otherwise(place, workers[place])):
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
                    # Asked each time: somebody may have set the clock of the storage.
                    state.put(WORKERS_TABLE, self.worker, json.dumps(about).encode(), order=state.now())

    def _is_reported_otherwise(self, place: StoragePlace, workers: int) -> bool:
        """Whether the heartbeat of ``keep_running`` says that these workers live. Has it say so when one has begun."""
        life = self._publisher.huey.find_life_at(place.storage)
        if life is None:
            return False
        if place in self._due:
            self._take_leave_of(place)
        if self._reported.get(place) != workers:
            with self._unless_away():
                life.beat()
                life.ensure_beating()  # Nothing else begins it on a queue that is paused.
                self._reported[place] = workers
        return True

    def take_leave(self) -> None:
        """Say nowhere any more that this process lives."""
        for place in list(self._due):
            self._take_leave_of(place)

    def _take_leave_of(self, place: StoragePlace) -> None:
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
