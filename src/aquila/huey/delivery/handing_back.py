"""Enqueues taken tasks again: interrupted tasks, and tasks that the storage has refused to take back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from huey.api import Task
from huey.signals import SIGNAL_ENQUEUED

from aquila.huey.limits.unique_jobs import requeue_claim

logger = logging.getLogger("huey.aquila")


class RefusedTasks:
    """Tasks without a copy that the storage has refused to take back.

    The next reading of the schedule, or the end of the process, enqueues them. ``TasksInHand`` owns this object.
    """

    def __init__(self, huey: Any) -> None:
        self._huey = huey
        self._storage = huey.storage
        # Guards `tasks`. Re-entrant, because an interrupt may strike in a thread that holds it.
        # fork: a child has an object of its own, see `TasksInHand`
        self._lock = threading.RLock()
        self.tasks: list[Task] = []
        """Read without the lock, to see whether there are any. ``take_all`` replaces the list."""

    def add(self, task: Task) -> None:
        """Keep a task that the storage has refused."""
        with self._lock:
            self.tasks.append(task)

    def take_all(self) -> list[Task]:
        """Return the tasks, which are no longer kept here."""
        with self._lock:
            taken, self.tasks = self.tasks, []
            return taken

    def store(self, let_go: Callable[[Task], object], *, again: bool = False) -> None:
        """Ask the storage once more to take the tasks, where this process reads the schedule no more.

        ``let_go`` is called with each task first. With ``again``, a task that the storage refuses again is kept for the
        next time. Otherwise it is lost, and that is logged.
        """
        # Without the lock, so that no thread waits for the storage.
        for task in self.take_all():
            let_go(task)
            try:
                data = self._huey.serialize_task(task)
                if self._huey.ready_to_run(task):
                    self._storage.enqueue(data, task.priority)
                else:
                    self._storage.add_to_schedule(data, task.eta)
            except Exception:
                if again:
                    self.add(task)
                else:
                    logger.exception("task %s is due again and could not be enqueued", task.id)


def enqueue_interrupted(huey: Any, task: Task, message: bytes, put_back: Callable[[bytes], bool]) -> None:
    """Enqueue a task whose worker was interrupted. A failure is logged.

    ``message`` is the one that was taken. ``put_back`` enqueues a message in its place. It returns False where another
    consumer has taken the task over.
    """
    try:
        # Read from the message, because the code of the task may have changed its arguments.
        again = huey.deserialize_task(message)
        again._aquila_deliveries = getattr(again, "_aquila_deliveries", 0) + 1
        requeue_claim(huey, again)
        huey._emit(SIGNAL_ENQUEUED, again)  # Before the task is enqueued, as Huey does.
        if put_back(huey.serialize_task(again)):
            logger.warning("task %s was interrupted and is enqueued again", task.id)
    except Exception:
        logger.exception("task %s was interrupted and could not be enqueued again", task.id)
