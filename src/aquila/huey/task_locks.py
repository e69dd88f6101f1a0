"""Huey's locks and rate limits as decorators, which also take ``async`` functions. A lock belongs to its job."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from huey.api import RateLimit, TaskLock
from huey.exceptions import TaskLockedException

from aquila.huey.running_task import current_task_or_none

_OUTSIDE = "1"  # What Huey stores for a lock. Here it stands for code outside of tasks.


class _AnyFunction:
    """Decorates an ``async`` function so that it runs to its end within the block. Huey only makes its coroutine there.

    It is mixed in before a class of Huey that is a decorator and a context manager.
    """

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if not inspect.iscoroutinefunction(function):
            decorated: Callable[..., Any] = super().__call__(function)  # type: ignore[misc]
            return decorated

        @functools.wraps(function)
        async def inner(*args: Any, **kwargs: Any) -> Any:
            with self:  # type: ignore[attr-defined]
                return await function(*args, **kwargs)

        return inner


class JobRateLimit(_AnyFunction, RateLimit):  # type: ignore[misc]
    """What ``huey.rate_limit`` returns."""


class JobLock(_AnyFunction, TaskLock):  # type: ignore[misc]
    """What ``huey.lock_task`` returns. The storage keeps the id of the job that holds the lock.

    A worker that is killed, or a thread whose process ends, cannot release the lock of its job. When the job is
    delivered again, it takes the lock again. Otherwise it would wait for itself: Huey gives up a task whose lock is
    taken.
    """

    def acquire(self) -> bool:
        """Take the lock. Where another job has it, an exception of Huey says so to the worker."""
        current = current_task_or_none()
        holder = _OUTSIDE if current is None else current.id
        if self._huey.put_if_empty(self._key, holder, self._ttl):
            return True
        if current is not None and current.delivery > 1 and self._huey.get(self._key, peek=True) == holder:
            return True
        raise TaskLockedException(f"unable to acquire lock {self._name}")
