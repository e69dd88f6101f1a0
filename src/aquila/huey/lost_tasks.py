"""Enqueue again the tasks of workers that were killed.

Huey takes a task out of the queue when a worker begins it. A worker that is killed (SIGKILL, out of memory, power) or
interrupted (SIGTERM) loses the task. ``keep_running=True`` keeps a copy in the storage until the task has ended, and
enqueues the copies of dead workers when a consumer starts. A worker that is killed between taking a task and copying it
still loses it.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import Any

from huey.api import Task
from huey.exceptions import HueyException
from huey.signals import SIGNAL_INTERRUPTED
from huey.utils import Error

from aquila.errors import MessageRejected

logger = logging.getLogger("aquila.huey")

RUNNING_PREFIX = "aquila.running."
_MAX_LOSSES = 3


def keep_running(huey: Any) -> None:
    """Keep copies of tasks while they execute, and requeue those of dead workers when a consumer starts."""
    huey.keep_running = True
    huey.on_startup("aquila requeue_lost_tasks")(lambda: requeue_lost_tasks(huey))
    huey.signal(SIGNAL_INTERRUPTED)(_mark_interrupted)


def _mark_interrupted(signal: str, task: Task) -> None:
    task._aquila_interrupted = True  # Its worker is about to end; it has not.


def store_running_copy(huey: Any, task: Task, data: bytes) -> None:
    """Keep a copy of the message of a task that a worker has taken."""
    huey.put(RUNNING_PREFIX + task.id, [bytes(data), socket.gethostname(), os.getpid(), time.time()])


def delete_running_copy(huey: Any, task: Task) -> None:
    """Delete the copy of a task that has ended, in whatever way."""
    huey.delete(RUNNING_PREFIX + task.id)


def requeue_lost_tasks(huey: Any, *, lost_after: float = 3600.0) -> list[str]:
    """Enqueue again the tasks whose worker is dead, and return their ids.

    A worker on this machine is dead when its process is gone. A worker on another machine, or in another container,
    counts as dead when it began the task more than ``lost_after`` seconds ago. A task that was lost three times is
    given up, because it may be what kills the workers. Its result is then an error.
    """
    requeued = []
    for key in sorted(huey.all_results()):
        if not key.startswith(RUNNING_PREFIX) or (entry := _read_copy(huey, key)) is None:
            continue
        data, host, pid, since = entry
        if _is_process_alive(pid) if host == socket.gethostname() else time.time() - since < lost_after:
            continue
        if not huey.delete(key):  # Another worker that starts now was faster.
            continue
        task = huey.deserialize_task(data)
        task._aquila_deliveries = getattr(task, "_aquila_deliveries", 0) + 1
        if task._aquila_deliveries >= _MAX_LOSSES:
            _give_up(huey, task)
            continue
        logger.warning("task %s was lost with its worker (process %d on %s) and is enqueued again", task.id, pid, host)
        huey.storage.enqueue(huey.serialize_task(task), task.priority)
        requeued.append(task.id)
    return requeued


def _read_copy(huey: Any, key: str) -> list[Any] | None:
    """Return what ``store_running_copy`` stored, or None. What somebody else has written stays where it is."""
    try:
        entry: Any = huey.get(key, peek=True)
        if entry is None:
            return None
        if type(entry) is list and [type(part) for part in entry] == [bytes, str, int, float]:
            huey.deserialize_task(entry[0])
            return entry
    except (MessageRejected, HueyException):
        pass
    logger.warning("%s in the result store is no copy of a task that was executing, and is left alone", key[:100])
    return None


def _give_up(huey: Any, task: Task) -> None:
    message = f"lost with its worker {task._aquila_deliveries} times and given up"
    logger.error("task %s was %s", task.id, message)
    error = Error({"error": message, "retries": 0, "traceback": "", "task_id": task.id})
    huey.put_result(task.id, error)
    huey._abort_chord_member(task, error)


def _is_process_alive(pid: int) -> bool:
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
