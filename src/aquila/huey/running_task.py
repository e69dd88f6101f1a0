"""The task that is executing, for the code of the task and everything that it calls."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import Any

from huey.api import Task
from huey.exceptions import CancelExecution, RateLimitExceeded, RetryTask, TaskLockedException

from aquila.errors import ConfigError

# Set in the context of one execution, which AquilaHuey makes, and never reset: the context ends with the execution.
_current: ContextVar[CurrentTask | None] = ContextVar("aquila_task", default=None)

FLOW_CONTROL = (RetryTask, CancelExecution, TaskLockedException, RateLimitExceeded)
"""What a task raises to tell Huey what becomes of it. It has not failed then."""

CHECKPOINTS_PREFIX = "aquila.checkpoints."
PARTIAL_PREFIX = "aquila.partial."
"""Prefixes of the keys in the result store under which a task keeps what it has so far."""


class CurrentTask:
    """The task that is executing: ``current_task()`` returns it.

    ``task`` is Huey's task, ``huey`` its Huey. ``attempt`` is the number of this execution, from 1.
    """

    __slots__ = ("_kept", "_lock", "_shown", "attempt", "huey", "task")

    def __init__(self, huey: Any, task: Task) -> None:
        self.huey = huey
        self.task = task
        self.attempt = attempt_of(task)
        self._lock = threading.Lock()  # Threads of the task may keep checkpoints at once.
        self._kept: dict[str, Any] | None = None
        self._shown = False

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
        times: int = getattr(self.task, "_aquila_waits", (0, 0.0))[0]
        return times

    def is_revoked(self) -> bool:
        """Whether the task was revoked while it executes. Asks the storage."""
        return bool(self.huey.is_revoked(self.task, peek=True))

    def load_checkpoints(self) -> dict[str, Any]:
        """Return the checkpoints of this task so far, by key. They are read from the storage once."""
        with self._lock:
            return self._load_unlocked()

    def store_checkpoint(self, key: str, value: Any) -> None:
        """Store a checkpoint."""
        with self._lock:
            kept = {**self._load_unlocked(), key: value}
            self.huey.put(CHECKPOINTS_PREFIX + self.id, kept)
            self._kept = kept

    def _load_unlocked(self) -> dict[str, Any]:
        if self._kept is None:
            self._kept = self.huey.get(CHECKPOINTS_PREFIX + self.id, peek=True) or {}
        return self._kept

    def store_partial_answer(self, text: str) -> None:
        """Store the text of an answer so far, for ``partial_answer``."""
        self._shown = True
        self.huey.put(PARTIAL_PREFIX + self.id, [self.attempt, text])

    def delete_progress(self) -> None:
        """Remove the checkpoints and the partial answer of a task that is complete."""
        if self._kept is not None or self.attempt > 1:
            self.huey.delete(CHECKPOINTS_PREFIX + self.id)
        if self._shown or self.attempt > 1:
            self.huey.delete(PARTIAL_PREFIX + self.id)


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


def delete_progress_of(task: Task) -> None:
    """Remove what the task that is executing here kept for its retry, if it is this task."""
    current = _current.get()
    if current is not None and current.task is task:
        current.delete_progress()
