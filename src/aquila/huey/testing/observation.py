"""Collects what happens while one task executes: by an object around its code, and by the methods of the Huey."""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from huey.constants import EmptyData
from huey.exceptions import CancelExecution, TaskTimeout
from huey.signals import SIGNAL_INTERRUPTED

from aquila.errors import NotSerializable
from aquila.huey.instances import AquilaHuey
from aquila.huey.instrumenting import give_class
from aquila.huey.scopes.clock_of_test import current_clock
from aquila.huey.tasks.running_task import delay_of_retry
from aquila.huey.tasks.task_code import replace_error
from aquila.huey.testing.django_commits import commit_at_end, may_commit
from aquila.huey.testing.task_run import ScheduledRetry, State, TaskRun
from aquila.lazy_imports import lazy_modules
from aquila.recording.miss_outcomes import outcome_boundary
from aquila.recording.replayed_time_limits import TASK, TimeLimit, time_limit
from aquila.recording.runtime import current_run

if TYPE_CHECKING:
    from aquila.huey.testing import left_out_waits
else:
    lazy_modules(globals(), "aquila.huey.testing: left_out_waits")


class Observation:
    """What happens while one task executes. As a context manager it encloses the code of the task.

    Draining a queue may make thousands of these. So further context managers around the code are made only if they do
    something, and the ``TaskRun`` only if somebody asks for it. ``observe_task`` owns one for a single execution.
    """

    def __init__(self, huey: Any, task: Any) -> None:
        self.huey = huey
        self.task = task
        self.task_id = task.id
        self.attempt: int = getattr(task, "_aquila_attempt", 1)
        self.signals: list[str] = []
        self.hooks: list[str] = []
        self.failures: list[tuple[str, Exception]] = []
        self.returned = self.time_is_up = False
        self.was_stored = False
        """Whether Huey has stored the result, or has nothing to store: it calls its post-execute hooks after that."""
        self.had_receiver = False
        """Whether a signal receiver was called. Like a hook, it may have changed the result store."""
        self.value: Any = None
        self.exception: BaseException | None = None
        self.inner: contextlib.ExitStack | None = None
        self.retry: ScheduledRetry | None = None
        self.duration = self.retry_delay = 0.0
        self.state: State = "complete"
        self.enqueued: Sequence[Any] = ()
        self.stored: Any = EmptyData
        """The value in the result store, once it was read."""
        self.message: Any = EmptyData
        """The bytes in the result store."""

    def read_stored(self) -> Any:
        """Return the value that was in the result store when the execution was over, or None."""
        if self.stored is EmptyData:
            self.stored = None if self.message is EmptyData else self.huey.serializer.deserialize(self.message)
        return self.stored

    def make_run(self) -> TaskRun[Any]:
        """Return the execution as a ``TaskRun``."""
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
        """Keep an exception of a hook or a receiver, which ``what`` names, to raise it when the execution is over.

        Huey would only log it and go on.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 -- any hook of a user
            self.failures.append((what, error))

    def __enter__(self) -> None:
        self.started = time.perf_counter()
        # A subclass may execute a task without `AquilaHuey.execute`, which notes the run.
        run = getattr(self.task, "_aquila_run", None) or current_run()
        if run.wire_watch is not None:
            left_out_waits.add_wait_before(run, self.task)
        # Mostly none of these does anything, and then no stack of context managers is made.
        if self.task.timeout or run.make_outcome is not None or may_commit():
            try:
                self.inner = self._enclose_code()
            except BaseException as error:
                self.exception = error
                raise

    def _enclose_code(self) -> contextlib.ExitStack | None:
        """Enter the time limit of the task, the boundary at which a miss becomes an exception, and Django's commit."""
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
                replace_error(self.huey, self.task, left)
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
    """Leave the context managers around the code. Return its exception, one that has replaced it, or None."""
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
    """End the code of a task with ``TaskTimeout`` after ``seconds``, by an alarm, as Huey's worker processes do.

    The handler and the alarm of the process belong to this block until it ends; then those from before are restored.
    """
    on_main_thread = threading.current_thread() is threading.main_thread()
    # Python sets handlers of signals only on the main thread. On another one, and on Windows, which has no alarm, the
    # task must look at the time itself.
    if sys.platform == "win32" or not on_main_thread:
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
    finally:  # The outer one, because the alarm may strike within the inner one.
        # In this order: an alarm that strikes with the handler from before may end the process.
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        # The alarm of somebody else, for example of pytest-timeout, is set again for the time that it has left.
        signal.setitimer(signal.ITIMER_REAL, left and max(left - (time.monotonic() - started), 1e-3), interval)


def _make_replayed_limit(seen: Observation, seconds: float) -> TimeLimit:
    """Return the time limit of a task for a replay: what ended the recording ends the replay, without the wait."""

    def make_error() -> TaskTimeout:
        seen.time_is_up = True
        return TaskTimeout(f"timeout ({seconds}s)")

    return TimeLimit(TASK, seconds, make_error)


current_observation: ContextVar[Observation | None] = ContextVar("aquila_task_observation", default=None)
"""Set by `observe_task` for the context of one execution. None where Huey runs by itself, as in a consumer."""


class ObservedHuey(AquilaHuey):
    """Adds observation to the class of a Huey under test: the methods that execute a task note what they do.

    It is a subclass, so that no attribute is patched and restored for each task.
    """

    def _get_timestamp(self) -> Any:
        clock = current_clock.get()
        return super()._get_timestamp() if clock is None else clock.now(utc=self.utc)

    def _emit(self, signal: str, task: Any, *args: Any, **kwargs: Any) -> None:
        seen = current_observation.get()
        if seen is None:
            super()._emit(signal, task, *args, **kwargs)
            return
        if signal == SIGNAL_INTERRUPTED:
            self.note_interruption(task)
        if task.id == seen.task_id:
            seen.signals.append(signal)
        receivers = self._signal.receivers
        if not receivers["any"] and not receivers.get(signal):
            return
        seen.had_receiver = True
        for receiver in (*receivers.get(signal, ()), *receivers["any"]):
            name = getattr(receiver, "__name__", repr(receiver))
            with seen.keep_failure(f"the receiver {name!r} of the signal {signal!r}"):
                receiver(signal, task, *args, **kwargs)

    def _run_pre_execute(self, task: Any) -> None:
        seen = current_observation.get()
        if seen is None:
            super()._run_pre_execute(task)
            return
        for name, hook in list(self._pre_execute.items()):
            seen.hooks.append(name)
            try:
                hook(task)
            except CancelExecution:
                raise
            except Exception as error:  # noqa: BLE001 -- any hook of a user
                seen.failures.append((f"the pre-execute hook {name!r}", error))

    def _timeout_context(self, task: Any) -> contextlib.AbstractContextManager[Any]:
        """Return the context manager around the code of a task: for the observed task its ``Observation``."""
        # By identity: an observed task may execute other tasks, which Huey's own context manager encloses.
        seen = current_observation.get()
        return super()._timeout_context(task) if seen is None or task is not seen.task else seen

    def end_unsendable(self, task: Any, error: NotSerializable) -> None:
        if current_observation.get() is not None:
            raise error
        super().end_unsendable(task, error)

    def _run_post_execute(self, task: Any, task_value: Any, exception: BaseException | None) -> None:
        seen = current_observation.get()
        if seen is None:
            super()._run_post_execute(task, task_value, exception)
            return
        seen.was_stored = True
        self.record_outcome(task, exception)
        seen.value = task_value
        if exception is not None:
            seen.exception = exception
        for name, hook in list(self._post_execute.items()):
            seen.hooks.append(name)
            with seen.keep_failure(f"the post-execute hook {name!r}"):
                hook(task, task_value, exception)

    def _requeue_task(self, task: Any, timestamp: Any, retry_eta: Any = None) -> None:
        seen = current_observation.get()
        if seen is not None and task.id == seen.task_id:
            seen.retry_delay = delay_of_retry(task, timestamp, retry_eta)
        super()._requeue_task(task, timestamp, retry_eta)


def put_under_observation(huey: Any) -> None:
    """Give a Huey of Aquila a class that observes its tasks. Does nothing if it has one already."""
    if not isinstance(huey, ObservedHuey):
        kind: Any = type(huey)
        give_class(huey, _observed_class(kind))


# One class for each class of Huey, kept for as long as the process lives: making one for each test would be slow.
@functools.cache
def _observed_class(kind: Any) -> Any:
    return type(kind.__name__, (ObservedHuey, kind), {"__module__": kind.__module__})
