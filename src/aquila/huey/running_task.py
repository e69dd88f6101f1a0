"""The task that is executing, for the code of the task and everything that it calls."""

from __future__ import annotations

import threading
from typing import Any

from huey.api import Task
from huey.exceptions import CancelExecution, RateLimitExceeded, RetryTask, TaskLockedException

from aquila.engine.calls.request_gate import gate_owner
from aquila.errors import ConfigError
from aquila.huey.limits.task_gate import TaskGate
from aquila.huey.progress.kept_progress import KeptProgress

_making = threading.Lock()  # what is kept of any task: only for the moment in which that is made or settled
# Set in the context of one execution, which AquilaHuey makes, and never reset: the context ends with the execution.
# Nobody but tasks owns a gate.
_current = gate_owner

FLOW_CONTROL = (RetryTask, CancelExecution, TaskLockedException, RateLimitExceeded)
"""What a task raises to tell Huey what becomes of it. It has not failed then."""


class CurrentTask:
    """The task that is executing: ``current_task()`` returns it.

    ``task`` is Huey's task, ``huey`` its Huey. ``attempt`` counts the executions from 1: a retry is another attempt.
    ``delivery`` counts from 1 how often this attempt was given to a worker. From 2 on a worker was lost or interrupted
    in it: requests may have been sent and paid for, and checkpoints and a partial answer may be there. ``kept`` is what
    it keeps for the next one: ``checkpoint`` and ``follow`` use it.

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

    __slots__ = ("_gate", "_is_complete", "_kept", "attempt", "delivery", "huey", "task")

    def __init__(self, huey: Any, task: Task) -> None:
        self.huey = huey
        self.task = task
        past = task.__dict__
        self.attempt = past.get("_aquila_attempt", 1)
        self.delivery = past.get("_aquila_deliveries", 0) + 1
        # Made where it is first needed. Of the first execution nothing is kept before that.
        self._kept = None if self.attempt == self.delivery == 1 else KeptProgress(huey, task, is_first=False)
        self._is_complete = False
        self._gate: TaskGate | None = None

    def __repr__(self) -> str:
        return f"<CurrentTask {self.task!r}, attempt {self.attempt}>"

    @property
    def kept(self) -> KeptProgress:
        """What the task keeps for its next execution."""
        if self._kept is None:
            with _making:  # Threads of the task may be the first at once, and outlive it.
                if self._kept is None:
                    self._kept = KeptProgress(self.huey, self.task, is_first=True)
                    if self._is_complete:
                        self._kept.delete()
        return self._kept

    def _settle_kept(self, error: BaseException | None) -> None:
        """Remove what was kept because the task is complete, or see that it is stored."""
        with _making:
            kept = self._kept
        if kept is not None:
            if error is None:
                kept.delete()
            else:
                kept.store_unstored()

    @property
    def request_gate(self) -> TaskGate:
        """What the requests of the task pass."""
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
        return f"{type(self.task).__module__}.{self.task.name}"

    @property
    def retries_left(self) -> int:
        """How many retries are left if this attempt fails."""
        return int(self.task.retries or 0)

    @property
    def waits(self) -> int:
        """How often the provider asked the task to come back later. Each time was an attempt, and no retry."""
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
    """Remove what the task that is executing here kept for its retry, if it is this task, or see that it is stored."""
    current: CurrentTask | None = _current.get()
    if current is not None and current.task is task:
        current._is_complete = error is None
        if current._kept is not None:  # Whoever makes it from now on sees that the task is complete.
            current._settle_kept(error)
