"""Waiting for a result in a test queue in memory, where it may be that nobody executes the task."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from huey.api import Result
from huey.constants import EmptyData
from huey.storage import MemoryStorage

from aquila.errors import TaskError
from aquila.fork_locks import are_threads_greenlets, renewed_in_child
from aquila.huey.tasks.running_task import current_task_or_none
from aquila.lazy_imports import lazy_modules
from aquila.recording.storing.machine_clock import machine_seconds

if TYPE_CHECKING:
    from aquila.huey.testing import enqueued_tasks, performing, task_run
else:
    lazy_modules(globals(), "aquila.huey.testing: enqueued_tasks, performing, task_run")

_PATIENCE = 15.0
"""Seconds without any change after which no result is expected any more, where there are other threads. One of them may
be a worker: an idle one looks into the queue every ten seconds. The clock is that of the machine, because a test that
puts its own clock forward has not waited."""
_MANY = 5
"""How often somebody may look for a result before that is a wait for it."""
_read = Result._get  # private to Huey 3.5
_watching: list[None] = []  # an entry for each block of `watching_reads` that is open in this process
_lock = renewed_in_child(threading.Lock())  # for `_watching` and `Result._get`


def wait_for_result(
    huey: Any, key: str, timeout: float | None = None, backoff: float = 1.15, max_delay: float = 1.0
) -> bool:
    """Wait in the place of the method of a ``MemoryStorage`` until the task with the id ``key`` has a result.

    The parameters are those of the method. Raises ``TaskError`` where no result will come and the caller would wait for
    ever. A caller with a ``timeout`` waits for so long, as in production.
    """
    storage = huey.storage
    if timeout is not None:
        return bool(MemoryStorage.wait_result(storage, key, timeout, backoff, max_delay))
    delay, wait = 0.05, Wait(huey, key)
    while not storage.has_data_for_key(key):
        if not _has_other_threads():
            raise TaskError(_explain(_find_enqueued(huey, key), key))
        wait.look_for_progress()
        time.sleep(min(delay, max_delay))
        delay *= backoff
    return True


@contextlib.contextmanager
def watching_reads() -> Iterator[None]:
    """Put ``read_result`` in its place until the last of these blocks ends, in whichever order threads end them."""
    with _lock:
        _watching.append(None)
        Result._get = read_result
    try:
        yield
    finally:
        with _lock:
            _watching.pop()
            if not _watching:
                Result._get = _read


def read_result(result: Any, preserve: bool = False) -> Any:
    """Read a result in the place of ``Result._get``, whose parameters these are.

    Huey's ``aget_result`` and ``as_completed`` do so again and again. They get the ``TaskError`` that
    ``wait_for_result`` raises where there are other threads: in asyncio, the one that waits does not know whether
    somebody else executes tasks.
    """
    data = _read(result, preserve)
    if data is EmptyData and "wait_result" in vars(result.huey.storage):  # as in a test queue in memory
        wait = vars(result).setdefault("_aquila_wait", Wait(result.huey, result.id))
        wait.looks += 1
        if wait.looks > _MANY:
            wait.look_for_progress()
    return data


class Wait:
    """A wait for the result of the task with the id ``key``, in which somebody has looked for it ``looks`` times."""

    def __init__(self, huey: Any, key: str) -> None:
        self.looks = 0
        self._huey = huey
        self._key = key
        self._seen: object = None
        self._since = self._next = machine_seconds()

    def look_for_progress(self) -> None:
        """Raise ``TaskError`` if nothing has happened for so long that no result will come."""
        huey, now, before = self._huey, machine_seconds(), self._seen
        if now < self._next:
            return
        self._next = now + _PATIENCE / 15  # because a look copies the queue, and many results may be waited for
        self._seen = huey.storage.enqueued_items(), huey.storage.scheduled_items()
        if self._seen != before or _is_other_executing(huey):
            self._since = now
        elif now - self._since > _PATIENCE:
            task = _find_enqueued(huey, self._key)
            if task is None or _was_ready(huey, task):
                raise TaskError(_explain(task, self._key))


def _has_other_threads() -> bool:
    """Whether there are threads or greenlets that may execute tasks. Aquila's own, such as that of scripts, do not."""
    others = (each for each in threading.enumerate() if each is not threading.current_thread())
    return are_threads_greenlets() or any(not each.name.startswith("aquila-") for each in others)


def _is_other_executing(huey: Any) -> bool:
    """Whether a task executes in this process beside the one that waits, if a task waits."""
    current = current_task_or_none()
    return any(current is None or task is not current.task for task in list(huey._tasks_in_flight))


def _was_ready(huey: Any, task: Any) -> bool:
    """Whether a worker might have executed a task for so long: it may have waited for its time until now."""
    return bool(huey.ready_to_run(task, huey._get_timestamp() - timedelta(seconds=_PATIENCE)))


def _find_enqueued(huey: Any, key: str) -> Any:
    """Return the enqueued task with an id, or the one that it is to follow; None if there is none."""
    for task in enqueued_tasks.read_enqueued(huey):
        if any(part.id == key for part in performing.list_nested_tasks(task)):
            return task
    return None


def _explain(task: Any, key: str) -> str:
    if task is None:
        return (
            f"the task {key}, for whose result this waits, is not enqueued, so no result will come. It has returned "
            "None (which a Huey stores with store_none=True), its result was read before, it was revoked or has "
            "expired, or it is the task that waits"
        )
    option = "" if task.eta is None else "with_scheduled=True"
    return (
        f"this waits for a result of {task_run.call_text(task)}, which nobody executes: it is in the queue of the "
        f"test, and no worker takes it. Call drain_queue({option}) before. Or, where a task waits for another, let "
        "`with use_test_queue('inline'):` execute each task when it is enqueued, or run_consumer(workers=2) run "
        "enough workers"
    )
