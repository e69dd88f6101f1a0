"""Execute a task as a worker would, and observe it: what it returned or raised, and what Huey said about it."""

from __future__ import annotations

import contextlib
import functools
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from huey.api import PeriodicTask
from huey.constants import EmptyData
from huey.exceptions import CancelExecution, RetryTask, TaskTimeout
from huey.signals import SIGNAL_COMPLETE, SIGNAL_EXECUTING, SIGNAL_INTERRUPTED
from huey.storage import MemoryStorage

from aquila.errors import NotSerializable, TaskContractBroken
from aquila.huey.error_texts import text_of
from aquila.huey.instances import AquilaHuey
from aquila.huey.limits.rescheduling import reschedule_after
from aquila.huey.testing.attribute_patches import replace_attributes
from aquila.huey.testing.django_commits import commit_at_end, may_commit
from aquila.huey.testing.skipped_time import current_clock
from aquila.huey.testing.task_run import ScheduledRetry, State, TaskRun, task_name
from aquila.huey.testing.wire_comparison import find_difference, is_plainly_same
from aquila.recording.places import needs_boundary, outcome_boundary
from aquila.recording.time_limits import TASK, TimeLimit, time_limit

_OUTCOMES = frozenset(
    ("complete", "error", "timeout", "locked", "rate-limited", "canceled", "revoked", "expired", "interrupted")
)
_SMOOTH = [SIGNAL_EXECUTING, SIGNAL_COMPLETE]
"""The signals of most runs: nothing else happened."""
_RAISED_INLINE = "_aquila_raised_inline"  # Set on an exception of a task that ran inline: its caller gets it as it is.


@dataclass(slots=True)
class _Observation:
    """What is noticed while one task executes. It encloses the code of the task.

    What encloses the code further is made only where it does something.
    """

    huey: Any
    task: Any
    task_id: str
    signals: list[str] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)
    failures: list[tuple[str, Exception]] = field(default_factory=list)
    returned: bool = False
    value: Any = None
    exception: BaseException | None = None
    storing_failed: Exception | None = None
    duration: float = 0.0
    time_is_up: bool = False
    retry_delay: float = 0.0
    inner: contextlib.ExitStack | None = None
    started: float = 0.0

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
        left = error
        try:
            if self.inner is not None:
                left = self._leave_inner(kind, error, traceback)
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

    def _leave_inner(self, kind: Any, error: Any, traceback: Any) -> BaseException | None:
        """Return what leaves the code then: its own exception, another in its place, or none."""
        try:
            if self.inner is not None:
                self.inner.__exit__(kind, error, traceback)
        except BaseException as other:  # noqa: BLE001 -- raised by the caller
            return other
        left: BaseException | None = error
        return left


# Set by run_task for the context of one execution. None where Huey's own methods run by themselves: in a consumer.
_observation: ContextVar[_Observation | None] = ContextVar("aquila_task_observation", default=None)


class ObservedHuey(AquilaHuey):
    """What a Huey under test adds to its class: the methods that execute a task say what they do.

    A subclass and no patched attributes, so that nothing is set and put back for each task.
    """

    def _get_timestamp(self) -> Any:
        clock = current_clock.get()
        return super()._get_timestamp() if clock is None else clock.now(utc=self.utc)

    def _emit(self, signal: str, task: Any, *args: Any, **kwargs: Any) -> None:
        seen = _observation.get()
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
        for receiver in (*receivers.get(signal, ()), *receivers["any"]):
            name = getattr(receiver, "__name__", repr(receiver))
            with seen.keep_failure(f"the receiver {name!r} of the signal {signal!r}"):
                receiver(signal, task, *args, **kwargs)

    def _run_pre_execute(self, task: Any) -> None:
        seen = _observation.get()
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
        """Enclose the code of the task, and nothing else."""
        seen = _observation.get()
        return super()._timeout_context(task) if seen is None or task is not seen.task else seen

    def put_result(self, key: str, data: Any) -> Any:
        try:
            return super().put_result(key, data)
        except Exception as error:
            if (seen := _observation.get()) is not None and key == seen.task_id:
                seen.storing_failed = error
            raise

    def end_unsendable(self, task: Any, error: NotSerializable) -> None:
        if _observation.get() is not None:
            raise error
        super().end_unsendable(task, error)

    def _run_post_execute(self, task: Any, task_value: Any, exception: BaseException | None) -> None:
        seen = _observation.get()
        if seen is None:
            super()._run_post_execute(task, task_value, exception)
            return
        self.record_outcome(task, exception)
        seen.value = task_value
        if exception is not None:
            seen.exception = exception
        for name, hook in list(self._post_execute.items()):
            seen.hooks.append(name)
            with seen.keep_failure(f"the post-execute hook {name!r}"):
                hook(task, task_value, exception)

    def _requeue_task(self, task: Any, timestamp: Any, retry_eta: Any = None) -> None:
        seen = _observation.get()
        if seen is not None and task.id == seen.task_id:
            seen.retry_delay = _compute_retry_delay(seen.exception, retry_eta, timestamp, task.retry_delay)
        super()._requeue_task(task, timestamp, retry_eta)


@contextlib.contextmanager
def _limit_code(seen: _Observation, timeout: float) -> Iterator[None]:
    limit = time_limit(_make_replayed_limit(seen, timeout))
    with _limit_time(seen, timeout), limit, outcome_boundary():
        yield


def put_under_observation(huey: Any) -> None:
    """Give a Huey of Aquila the class that observes its tasks. Does nothing to one that has it already."""
    if not isinstance(huey, ObservedHuey):
        kind: Any = type(huey)
        huey.__class__ = _observed_class(kind)


@functools.cache  # One class for each Huey class, for as long as the process lives.
def _observed_class(kind: Any) -> Any:
    return type(kind.__name__, (ObservedHuey, kind), {"__module__": kind.__module__})


def run_task(huey: Any, task: Any, *, timestamp: Any = None) -> TaskRun[Any]:
    """Execute a task of a Huey under test as a worker would, and return everything that came of it.

    ``timestamp`` is the moment that Huey compares with the task's ``eta`` and ``expires``; now by default.

    Raises ``TaskContractBroken`` when the task broke a rule that a worker holds it to, with its own exception as the
    cause; and what Huey lets through, an exception that is no ``Exception``.
    """
    seen, attempt = _Observation(huey, task, task.id), task.__dict__.get("_aquila_attempt", 1)
    before = _mark_messages(huey.storage)
    token = _observation.set(seen)
    try:
        huey.execute(task, timestamp)
    except Exception as error:
        if _RAISED_INLINE in vars(error):
            raise
        raise _explain_broken_end(task, seen, error) from error
    finally:
        _observation.reset(token)
    if isinstance(seen.exception, KeyboardInterrupt):  # Huey takes it for the end of the worker, and returns.
        raise seen.exception
    data = huey.storage.peek_data(task.id)
    stored = None if data is EmptyData else huey.serializer.deserialize(data)
    state: State = "complete"
    if seen.signals != _SMOOTH or seen.failures or seen.time_is_up:
        _check_contract(huey, task, seen)
        state = _final_state(seen)
    if seen.returned and _is_stored(huey, task, seen.value):
        if data is EmptyData:  # A hook has read it, and reading removes it.
            _check_result(task, seen.value, huey.serializer.deserialize(huey.serializer.serialize(seen.value)))
        elif not is_plainly_same(seen.value, stored):
            _check_result(task, seen.value, stored)
    added = _read_added(huey, before) if _mark_messages(huey.storage) != before else ()
    return TaskRun(
        task=task,
        value=seen.value,
        exception=seen.exception,
        state=state,
        attempt=attempt,
        signals=tuple(seen.signals),
        hooks=tuple(seen.hooks),
        retry=ScheduledRetry(task.eta, seen.retry_delay, task.retries) if "retrying" in seen.signals else None,
        enqueued=tuple([other for other in added if other.id != task.id]) if added else (),
        duration=seen.duration,
        stored=stored,
    )


def _read_added(huey: Any, before: _Messages) -> list[Any]:
    """Return the tasks of the messages that were not there before."""
    storage = huey.storage
    if before.enqueued is None:
        scheduled = storage.scheduled_items() if before.waiting or storage.schedule_size() else ()
        data = [
            *(each for _, number, each in sorted(storage._queue) if number > before.number),
            *(Counter(scheduled) - Counter(each for _, each in before.waiting)).elements(),
        ]
    else:
        after = _mark_messages(storage)
        data = [*(Counter(after.enqueued) - Counter(before.enqueued)).elements()]
    added = [huey.deserialize_task(bytes(each)) for each in data]
    for other in added:
        other._aquila_huey = huey  # So that it can be performed on its own.
    return added


class _Messages(NamedTuple):
    """What is in a queue and its schedule: all of it, or the number of the last message and what is in the schedule."""

    enqueued: list[Any] | None
    number: int = 0
    waiting: tuple[Any, ...] = ()


def _mark_messages(storage: Any) -> _Messages:
    """Return what tells later which messages were added. It is asked twice for each task, whatever else is queued."""
    about = storage.__dict__
    if type(storage) is MemoryStorage and "_c" in about:  # It counts what is enqueued.
        return _Messages(None, about["_c"], tuple(about["_schedule"]))
    return _Messages([bytes(each) for each in (*storage.enqueued_items(), *storage.scheduled_items())])


@contextlib.contextmanager
def _limit_time(seen: _Observation, seconds: float) -> Iterator[None]:
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


def _make_replayed_limit(seen: _Observation, seconds: float) -> TimeLimit:
    """The time limit of a task as a replay sees it: what ended the recording ends the replay, without the wait."""

    def make_error() -> TaskTimeout:
        seen.time_is_up = True
        return TaskTimeout(f"timeout ({seconds}s)")

    return TimeLimit(TASK, seconds, make_error)


def _compute_retry_delay(error: BaseException | None, eta: Any, now: Any, retry_delay: float) -> float:
    if eta is None:
        return float(retry_delay or 0)
    asked = error.delay if isinstance(error, RetryTask) else None
    if asked is not None:
        return float(asked.total_seconds() if hasattr(asked, "total_seconds") else asked)
    return max(0.0, round(float((eta - now).total_seconds()), 3))


def _final_state(seen: _Observation) -> State:
    outcome: Any = "retry"
    for name in seen.signals:
        if name in _OUTCOMES:
            outcome = name
            break
    state: State = outcome
    return state


def _check_contract(huey: Any, task: Any, seen: _Observation) -> None:
    for what, error in seen.failures:
        raise TaskContractBroken(
            f"{what} raised {text_of(error)}. Huey only logs that, so whatever it guards is not guarded"
        ) from error
    if seen.time_is_up and not isinstance(seen.exception, TaskTimeout):
        raise TaskContractBroken(
            f"the time limit of {task_name(task)} ({task.timeout} s) was reached, and the task caught the TaskTimeout "
            "with an `except` of its own: let TaskTimeout pass, or catch narrower exceptions"
        )
    outcomes = [name for name in seen.signals if name in _OUTCOMES]
    retried_only = not outcomes and isinstance(seen.exception, RetryTask)
    if len(outcomes) != 1 and not retried_only:
        raise TaskContractBroken(
            f"{task_name(task)} should end in one way, and Huey reported {outcomes or 'none'} among {seen.signals}"
        )


def _is_stored(huey: Any, task: Any, value: Any) -> bool:
    return huey.results and not isinstance(task, PeriodicTask) and (value is not None or huey.store_none)


def _check_result(task: Any, value: Any, stored: Any) -> None:
    if found := find_difference(value, stored, "the result"):
        raise TaskContractBroken(f"the result of {task_name(task)} changes on its way to the result store: {found}")


def _explain_broken_end(task: Any, seen: _Observation, error: Exception) -> TaskContractBroken:
    """Return what to raise when Huey itself raised: the task has run, and no signal will ever tell how it ended."""
    name = task_name(task)
    if seen.returned and seen.storing_failed is not None:
        return TaskContractBroken(
            f"the result of {name} cannot be stored: {seen.storing_failed}. A worker would have run the task, and "
            "stored this error in the place of its result"
        )
    if seen.exception is not None:
        return TaskContractBroken(
            f"{name} failed with {text_of(seen.exception)}; then its error handler or its "
            f"retry could not be enqueued, and is lost: {text_of(error)}"
        )
    return TaskContractBroken(f"what follows {name} could not be enqueued, and is lost: {text_of(error)}")


@contextlib.contextmanager
def run_inline(huey: Any) -> Iterator[None]:
    """Run each task of a Huey under test when it is enqueued, after its way over the wire. See ``use_test_queue``."""

    def enqueue(data: bytes, priority: Any = None) -> None:
        task = huey.deserialize_task(data)
        if not huey.ready_to_run(task):
            huey.add_schedule(task)
            return
        run = run_task(huey, task)
        if run.exception is not None and run.retry is None and run.state in ("error", "timeout"):
            vars(run.exception)[_RAISED_INLINE] = True
            raise run.exception

    with replace_attributes(huey.storage, enqueue=enqueue):
        yield
