"""The task that is executing, for the code of the task and everything that it calls."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

from huey.api import Task
from huey.exceptions import CancelExecution, RateLimitExceeded, RetryTask, TaskLockedException

from aquila.engine.calls.request_gate import gate_owner
from aquila.errors import ConfigError
from aquila.fork_locks import renewed_in_child
from aquila.huey.limits.task_gate import TaskGate
from aquila.huey.progress.kept_progress import KeptProgress

# One lock for all tasks, held only while the gate or the progress of one is made or read: that is rare and quick.
_making = renewed_in_child(threading.Lock())
# The context variable of the gate also holds the task that is executing, because only tasks own a gate: setting one
# variable instead of two is part of the time of every task. `AquilaHuey` sets it in the context of one execution, and
# nobody resets it: the context ends with the execution.
_current = gate_owner

FLOW_CONTROL = (RetryTask, CancelExecution, TaskLockedException, RateLimitExceeded)
"""The exceptions by which a task tells Huey what to do next. They are no failures."""


class CurrentTask:
    """The task that is executing: ``current_task()`` returns it.

    - ``task``: Huey's task. ``huey``: its Huey.
    - ``attempt``: the number of the attempt, from 1. A retry is another attempt.
    - ``delivery``: how often this attempt was given to a worker, from 1. From 2 on, a worker was lost or interrupted
      during it: requests may have been sent and paid for, and there may be checkpoints and a partial answer.
    - ``kept``: the progress that it keeps for the next execution. ``checkpoint`` and ``follow`` use it.

    Examples:
        >>> from aquila.huey import CurrentTask, MemoryHuey, current_task
        >>> from aquila.huey.testing import perform_job
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task()
        ... def report(topic):
        ...     task: CurrentTask = current_task()
        ...     return task.attempt, task.delivery, task.huey.name
        >>> perform_job(report, "eagles").value
        (1, 1, 'jobs')
    """

    __slots__ = ("_gate", "_kept", "attempt", "delivery", "huey", "task")

    def __init__(self, huey: Any, task: Task) -> None:
        self.huey = huey
        self.task = task
        self.attempt: int = getattr(task, "_aquila_attempt", 1)
        self.delivery: int = getattr(task, "_aquila_deliveries", 0) + 1
        # Made when it is first needed. In a later execution it is made at once: an earlier execution may have stored
        # something that must be removed at the end.
        self._kept = None if self.attempt == self.delivery == 1 else KeptProgress(huey, task, is_first=False)
        self._gate: TaskGate | None = None

    def __repr__(self) -> str:
        return f"<CurrentTask {self.task!r}, attempt {self.attempt}>"

    @property
    def kept(self) -> KeptProgress:
        """The progress that the task keeps for its next execution."""
        if self._kept is None:
            with _making:
                # Checked again under the lock, because several threads of the task may come here at once.
                if self._kept is None:
                    self._kept = KeptProgress(self.huey, self.task, is_first=True)
        return self._kept

    @property
    def request_gate(self) -> TaskGate:
        """The gate that every request of the task passes."""
        if self._gate is None:
            with _making:
                if self._gate is None:
                    self._gate = TaskGate(self.huey, self.task)
        return self._gate

    @property
    def id(self) -> str:
        """The id of the task, the same in every attempt."""
        return str(self.task.id)

    @property
    def name(self) -> str:
        """The full name of the task."""
        return task_name(self.task)

    @property
    def retries_left(self) -> int:
        """How many retries are left if this attempt fails."""
        return int(self.task.retries or 0)

    @property
    def waits(self) -> int:
        """How often a provider asked the task to come back later. Each time cost an attempt, but no retry."""
        times: int = getattr(self.task, "_aquila_waits", (0,))[0]
        return times

    def is_revoked(self) -> bool:
        """Whether the task was revoked while it executes. Asks the storage, and raises what that raises."""
        return bool(self.huey.is_revoked(self.task, peek=True))


def task_name(task: Any) -> str:
    """Return the full name of a task or a task class, as in its messages."""
    kind = task if isinstance(task, type) else type(task)
    return f"{kind.__module__}.{kind.__name__}"


def attempt_of(task: Task) -> int:
    """Return the number of a task's attempt, from 1."""
    return int(getattr(task, "_aquila_attempt", 1))


def delay_of_retry(task: Task, now: datetime, eta: datetime | None) -> float:
    """Return after how many seconds a task that has just failed is tried again.

    ``eta`` is the time that the error asks for; None for the ``retry_delay`` of the task.
    """
    if eta is None:
        return float(task.retry_delay or 0)
    error = getattr(task, "_aquila_error", None)
    asked = error.delay if isinstance(error, RetryTask) else None
    if asked is not None:
        return float(asked.total_seconds() if isinstance(asked, timedelta) else asked)
    return max(0.0, round((eta - now).total_seconds(), 3))


def current_task() -> CurrentTask:
    """Return the task that is executing here. Raises ``ConfigError`` outside of a task."""
    current: CurrentTask | None = _current.get()
    if current is None:
        raise ConfigError(
            "no task is executing here. Call this in a task of a Huey of aquila.huey, or of one that was given to "
            "instrument(). In a test use perform_job(): call_local() calls the function without its task"
        )
    return current


def current_task_or_none() -> CurrentTask | None:
    """Return the task that is executing here, or None."""
    current: CurrentTask | None = _current.get()
    return current


def settle_progress(task: Task, error: BaseException | None) -> None:
    """End the progress of ``task``, if ``task`` is the one that executes here.

    Without an ``error`` the progress is removed. With one it is kept for the retry, and stored if that failed before.
    """
    current: CurrentTask | None = _current.get()
    if current is not None and current.task is task and current._kept is not None:
        if error is None:
            current._kept.delete()
        else:
            current._kept.store_unstored()
