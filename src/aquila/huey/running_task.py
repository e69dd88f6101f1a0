"""The task that is executing, for the code of the task and everything that it calls."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from huey.api import Task
from huey.exceptions import CancelExecution, RateLimitExceeded, RetryTask, TaskLockedException

from aquila.errors import ConfigError
from aquila.huey.progress.kept_progress import KeptProgress

# Set in the context of one execution, which AquilaHuey makes, and never reset: the context ends with the execution.
_current: ContextVar[CurrentTask | None] = ContextVar("aquila_task", default=None)

FLOW_CONTROL = (RetryTask, CancelExecution, TaskLockedException, RateLimitExceeded)
"""What a task raises to tell Huey what becomes of it. It has not failed then."""


class CurrentTask:
    """The task that is executing: ``current_task()`` returns it.

    ``task`` is Huey's task, ``huey`` its Huey. ``attempt`` counts the executions from 1: a retry is another attempt.
    ``delivery`` counts from 1 how often this attempt was given to a worker. From 2 on a worker was lost or interrupted
    in it: requests may have been sent and paid for, and checkpoints and a partial answer may be there. ``kept`` is what
    it keeps for the next one: ``checkpoint`` and ``follow`` use it.
    """

    __slots__ = ("attempt", "delivery", "huey", "kept", "task")

    def __init__(self, huey: Any, task: Task) -> None:
        self.huey = huey
        self.task = task
        self.attempt = attempt_of(task)
        self.delivery = getattr(task, "_aquila_deliveries", 0) + 1
        self.kept = KeptProgress(huey, task, is_first=self.attempt == 1 and self.delivery == 1)

    def __repr__(self) -> str:
        return f"<CurrentTask {self.task!r}, attempt {self.attempt}>"

    @property
    def id(self) -> str:
        """The id of the task, the same in every attempt."""
        return str(self.task.id)

    @property
    def name(self) -> str:
        """The full name of the task."""
        return f"{type(self.task).__module__}.{self.task.name}"

    @property
    def retries_left(self) -> int:
        """How many retries are left if this attempt fails."""
        return int(self.task.retries or 0)

    @property
    def waits(self) -> int:
        """How often the task was rescheduled for a provider or a limit. Each time was an attempt, and no retry."""
        times: int = getattr(self.task, "_aquila_waits", (0,))[0]
        return times

    def is_revoked(self) -> bool:
        """Whether the task was revoked while it executes. Asks the storage."""
        return bool(self.huey.is_revoked(self.task, peek=True))


def attempt_of(task: Task) -> int:
    """Which attempt of a task this is, from 1."""
    return int(getattr(task, "_aquila_attempt", 1))


def current_task() -> CurrentTask:
    """Return the task that is executing here. Raises ``ConfigError`` outside of a task."""
    current = _current.get()
    if current is None:
        raise ConfigError(
            "no task is executing here. Call this in a task of a Huey of aquila.huey, or of one that was given to "
            "instrument(). In a test use perform_job(): call_local() calls the function without its task"
        )
    return current


def current_task_or_none() -> CurrentTask | None:
    """Return the task that is executing here, or None."""
    return _current.get()


def enter_current_task(huey: Any, task: Task) -> None:
    """Make a task the one that is executing in this context, which is the task's own and ends with it."""
    _current.set(CurrentTask(huey, task))


def settle_progress(task: Task, error: BaseException | None) -> None:
    """Remove what the task that is executing here kept for its retry, if it is this task, or see that it is stored."""
    current = _current.get()
    if current is not None and current.task is task:
        if error is None:
            current.kept.delete()
        else:
            current.kept.store_unstored()
