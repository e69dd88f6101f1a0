"""The outcome of one execution of a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

from aquila.huey.tasks.running_task import task_name

if TYPE_CHECKING:
    from aquila.huey.tasks.task_types import Task

T = TypeVar("T")

State: TypeAlias = Literal[
    "complete", "error", "timeout", "locked", "rate-limited", "retry", "canceled", "revoked", "expired"
]
_VALUE_LENGTH = 400  # Characters of a value in the text of a run.


@dataclass(frozen=True, slots=True)
class ScheduledRetry:
    """The retry that follows a run.

    - ``eta``: when it is due, in the time of the Huey (UTC by default); None for at once.
    - ``delay``: the time until then, in seconds.
    - ``left``: the number of retries that are left after it.

    Examples:
        >>> from aquila.huey import MemoryHuey
        >>> from aquila.huey.testing import perform_job
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task(retries=2, retry_delay=10)
        ... def divide(a, b):
        ...     return a / b
        >>> retry = perform_job(divide, 1, 0, raises=ZeroDivisionError).retry
        >>> retry.delay, retry.left
        (10.0, 1)
    """

    eta: Any
    delay: float
    left: int


@dataclass(frozen=True, slots=True, repr=False)
class TaskRun(Generic[T]):
    """One execution of a task.

    - ``task``: the task as the worker saw it, after its round trip over the wire.
    - ``value``: what it returned; None if it raised. ``exception``: what it raised, or None.
    - ``state``: how it ended. It is ``retry`` if the task raised ``RetryTask``.
    - ``attempt``: the number of the execution, from 1.
    - ``signals``: Huey's signals, in order. ``hooks``: the names of the pre- and post-execute hooks that were called.
    - ``retry``: the retry that follows, or None.
    - ``enqueued``: the other tasks that it put into the queue or the schedule.
    - ``duration``: how long its code took, in seconds.
    - ``stored``: what was in the result store afterwards: the value, a ``huey.utils.Error``, or None.

    Examples:
        >>> from aquila.huey import MemoryHuey
        >>> from aquila.huey.testing import perform_job
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task()
        ... def add(a, b):
        ...     return a + b
        >>> run = perform_job(add, 1, b=2)
        >>> run.value, run.state, run.attempt, run.signals
        (3, 'complete', 1, ('executing', 'complete'))
    """

    task: Task[T]
    value: T
    exception: BaseException | None = None
    state: State = "complete"
    attempt: int = 1
    signals: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    retry: ScheduledRetry | None = None
    enqueued: tuple[Task[Any], ...] = ()
    duration: float = 0.0
    stored: Any = None

    @property
    def name(self) -> str:
        """The full name of the task."""
        return task_name(self.task)

    def __repr__(self) -> str:
        if self.exception is None:
            return self.describe_with(f"value={shortened_repr(self.value)}")
        return self.describe_with(f"exception={shortened_repr(self.exception)}")

    def describe_with(self, *outcome: str) -> str:
        """Return the run as one line, with ``outcome`` in it."""
        parts = [f"{self.name} {self.state} on attempt {self.attempt} in {self.duration * 1000:.1f} ms", *outcome]
        if self.retry:
            when = f"in {self.retry.delay:g} s" if self.retry.delay else "at once"
            parts.append(f"retry {when}, {self.retry.left} left after it")
        elif self.state in ("error", "timeout"):
            parts.append("no retry")
        if self.enqueued:
            parts.append("enqueued: " + ", ".join(call_text(task) for task in self.enqueued))
        parts.append("signals: " + (", ".join(self.signals) or "none"))
        return f"<TaskRun {'; '.join(parts)}>"


def call_text(task: Any) -> str:
    """Return a task as the text of its call, with long arguments cut."""
    arguments = [shortened_repr(argument, 60) for argument in task.args or ()]
    arguments += [f"{key}={shortened_repr(argument, 60)}" for key, argument in (task.kwargs or {}).items()]
    return f"{task_name(task)}({', '.join(arguments)})"


def shortened_repr(value: Any, length: int = _VALUE_LENGTH) -> str:
    """Return ``repr(value)``, cut to ``length`` characters."""
    text = repr(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."
