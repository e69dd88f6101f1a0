"""What is noticed while one task executes, and what is made of it when somebody looks."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from huey.constants import EmptyData
from huey.exceptions import TaskTimeout

from aquila.huey.limits.rescheduling import reschedule_after
from aquila.huey.testing.django_commits import commit_at_end, may_commit
from aquila.huey.testing.task_run import ScheduledRetry, State, TaskRun
from aquila.recording.places import needs_boundary, outcome_boundary
from aquila.recording.time_limits import TASK, TimeLimit, time_limit


class Observation:
    """What is noticed while one task executes. It encloses the code of the task.

    What encloses the code further is made only where it does something, and the ``TaskRun`` when somebody wants it: a
    drained queue may have thousands.
    """

    # Of the class where almost no execution says otherwise.
    returned = False
    value: Any = None
    exception: BaseException | None = None
    storing_failed: Exception | None = None
    duration = 0.0
    time_is_up = False
    was_told = False
    """Whether a receiver of a signal was called: like a hook, it may have changed what is stored."""
    retry_delay = 0.0
    inner: contextlib.ExitStack | None = None
    state: State = "complete"
    retry: ScheduledRetry | None = None
    enqueued: Sequence[Any] = ()
    stored: Any = EmptyData
    """What is in the result store, once it was read."""
    message: Any = EmptyData
    """The same as it is stored."""

    def __init__(self, huey: Any, task: Any) -> None:
        self.huey = huey
        self.task = task
        self.task_id = task.id
        self.attempt: int = task.__dict__.get("_aquila_attempt", 1)
        self.signals: list[str] = []
        self.hooks: list[str] = []
        self.failures: list[tuple[str, Exception]] = []

    def read_stored(self) -> Any:
        """Return what was in the result store when the execution was over: None for nothing."""
        if self.stored is EmptyData:
            self.stored = None if self.message is EmptyData else self.huey.serializer.deserialize(self.message)
        return self.stored

    def make_run(self) -> TaskRun[Any]:
        """Return everything that came of the execution."""
        return TaskRun(
            task=self.task,
            value=self.value,
            exception=self.exception,
            state=self.state,
            attempt=self.attempt,
            signals=tuple(self.signals),
            hooks=tuple(self.hooks),
            retry=self.retry,
            enqueued=tuple(self.enqueued),
            duration=self.duration,
            stored=self.read_stored(),
        )

    @contextlib.contextmanager
    def keep_failure(self, what: str) -> Iterator[None]:
        """Keep an exception of a hook or a receiver. Huey would log it and go on; it is raised when the run is over."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 -- any hook of a user
            self.failures.append((what, error))

    def __enter__(self) -> None:
        self.started = time.perf_counter()
        # In most runs none of this does anything, and then it is not asked for one by one.
        if self.task.timeout or needs_boundary() or may_commit():
            try:
                self.inner = self._enclose_code()
            except BaseException as error:
                self.exception = error
                raise

    def _enclose_code(self) -> contextlib.ExitStack | None:
        """Keep the code within its time limit, let a miss leave it as an exception, and commit what it leaves to it."""
        timeout = self.task.timeout
        with contextlib.ExitStack() as stack:
            stack.enter_context(_limit_code(self, timeout) if timeout else outcome_boundary())
            if may_commit():
                stack.enter_context(commit_at_end())
            return stack.pop_all()

    def __exit__(self, kind: type[BaseException] | None, error: Any, traceback: Any) -> None:
        try:
            left = error if self.inner is None else _leave(self.inner, kind, error, traceback)
            if left is not None:
                reschedule_after(self.huey, self.task, left)
                if left is not error:
                    raise left
        except BaseException as other:
            self.exception = other
            raise
        else:
            self.exception, self.returned = error, error is None
        finally:
            self.duration = time.perf_counter() - self.started


def _leave(inner: contextlib.ExitStack, kind: Any, error: BaseException | None, traceback: Any) -> BaseException | None:
    """Leave what encloses the code. Return what leaves it then: its own exception, another in its place, or none."""
    try:
        inner.__exit__(kind, error, traceback)
    except BaseException as other:  # noqa: BLE001 -- raised by the caller
        return other
    return error


@contextlib.contextmanager
def _limit_code(seen: Observation, timeout: float) -> Iterator[None]:
    limit = time_limit(_make_replayed_limit(seen, timeout))
    with _limit_time(seen, timeout), limit, outcome_boundary():
        yield


@contextlib.contextmanager
def _limit_time(seen: Observation, seconds: float) -> Iterator[None]:
    """End the code of a task with ``TaskTimeout`` after a time, by an alarm signal."""
    on_main_thread = threading.current_thread() is threading.main_thread()
    # Off the main thread no alarm can be set, and a task would fail with ValueError: there it must look by itself.
    if not on_main_thread or not hasattr(signal, "setitimer"):
        yield
        return

    has_ended = False

    def raise_timeout(signum: int, frame: Any) -> None:
        if not has_ended:
            seen.time_is_up = True
            raise TaskTimeout(f"timeout ({seconds}s)")

    started = time.monotonic()
    handler = signal.signal(signal.SIGALRM, raise_timeout)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        try:
            yield
        finally:
            has_ended = True
    finally:  # also where the alarm has struck in the line above
        signal.setitimer(signal.ITIMER_REAL, 0)  # first: struck with the handler from before, it may end the process
        signal.signal(signal.SIGALRM, handler)
        # Somebody else's alarm, pytest-timeout's for one, is set again for what is left of it.
        signal.setitimer(signal.ITIMER_REAL, left and max(left - (time.monotonic() - started), 1e-3), interval)


def _make_replayed_limit(seen: Observation, seconds: float) -> TimeLimit:
    """The time limit of a task as a replay sees it: what ended the recording ends the replay, without the wait."""

    def make_error() -> TaskTimeout:
        seen.time_is_up = True
        return TaskTimeout(f"timeout ({seconds}s)")

    return TimeLimit(TASK, seconds, make_error)
