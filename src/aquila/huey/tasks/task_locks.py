"""Huey's locks and rate limits as decorators, which also take ``async`` functions. A lock belongs to its job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from huey.api import RateLimit, TaskLock
from huey.constants import EmptyData
from huey.exceptions import TaskLockedException

from aquila.huey.progress.patient_results import PATIENCE
from aquila.huey.progress.storage_patience import ask_until_answered
from aquila.huey.tasks.running_task import CurrentTask, current_task_or_none
from aquila.huey.tasks.task_ends import HAS_ENDED
from aquila.huey.tasks.task_wrapper import enclose_function

_OUTSIDE = "1"  # What Huey stores for a lock. Here it stands for code outside of tasks.


class _AnyFunction:
    """Decorates an ``async`` function so that it runs to its end within the block. Huey only makes its coroutine there.

    It is mixed in before a class of Huey that is a decorator and a context manager.
    """

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        enclosed: Callable[..., Any] = enclose_function(function, self, as_argument=False)
        return enclosed


class JobRateLimit(_AnyFunction, RateLimit):  # type: ignore[misc]
    """What ``huey.rate_limit`` returns."""


class JobLock(_AnyFunction, TaskLock):  # type: ignore[misc]
    """What ``huey.lock_task`` returns. The storage keeps the id of the job that holds the lock.

    A worker that is killed, or a thread whose process ends, cannot release the lock of its job. The next execution of
    the job takes the lock again, once. Otherwise the job would wait for itself: Huey gives up a task whose lock is
    taken.
    """

    def acquire(self) -> bool:
        """Take the lock. Where another job has it, an exception of Huey says so to the worker."""
        current = current_task_or_none()
        held: set[str] = set() if current is None else vars(current.task).setdefault("_aquila_locks", set())
        if not self._take(current) and (self._key in held or not self._take_again(current)):
            raise TaskLockedException(f"unable to acquire lock {self._name}")
        held.add(self._key)
        return True

    def _take(self, current: CurrentTask | None) -> bool:
        return bool(self._huey.put_if_empty(self._key, _holder(current), self._ttl))

    def _take_again(self, current: CurrentTask | None) -> bool:
        """Take the lock from an earlier execution of the same job, which may be of an earlier attempt."""
        if current is None or current.attempt == current.delivery == 1 or not self._is_held_by(current):
            return False
        if self._ttl is None:
            return True
        self._huey.delete(self._key)  # Its time begins anew. Whoever takes the lock at this moment has it.
        return self._take(current)

    def _is_held_by(self, current: CurrentTask | None) -> bool:
        # As patient as `AquilaHuey.delete`: a storage that is away for a moment must not fail what has been done.
        found = ask_until_answered(lambda: self._huey.get_raw(self._key, peek=True), patience=PATIENCE)
        if found is EmptyData:
            return False
        try:
            return bool(self._huey.serializer.deserialize(found) == _holder(current))
        except Exception:  # noqa: BLE001 -- whatever a serializer raises: a program with another one has the lock
            return False

    def __exit__(self, *error: object) -> None:
        current = current_task_or_none()
        # A job that was handed back, or taken over, while this code went on has the lock in its next execution. And
        # another job may have the lock where its `ttl` is over.
        is_over_here = current is not None and getattr(current.task, "_aquila_end", HAS_ENDED) is not HAS_ENDED
        if not is_over_here and self._is_held_by(current):
            self._huey.delete(self._key)


def _holder(current: CurrentTask | None) -> str:
    return _OUTSIDE if current is None else current.id
