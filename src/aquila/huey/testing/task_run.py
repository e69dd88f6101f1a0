"""One execution of a task, watched: what it returned or raised, what Huey said about it, and what came of it."""

from __future__ import annotations

import contextlib
import contextvars
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from huey.api import PeriodicTask
from huey.constants import EmptyData
from huey.exceptions import CancelExecution, RetryTask, TaskTimeout
from huey.signals import Signal

from aquila.errors import TaskContractBroken
from aquila.huey.running_task import attempt_of
from aquila.huey.testing.attribute_patches import replace_attributes
from aquila.huey.testing.wire_comparison import find_difference

State: TypeAlias = Literal[
    "complete", "error", "timeout", "locked", "rate-limited", "retry", "canceled", "revoked", "expired"
]
_OUTCOMES = frozenset(
    ("complete", "error", "timeout", "locked", "rate-limited", "canceled", "revoked", "expired", "interrupted")
)
_INLINE = "_aquila_raised_inline"  # On an exception: a task that ran inline raised it, and the caller shall have it.
_VALUE_LENGTH = 400  # Characters of a value in the text of a run.


@dataclass(frozen=True, slots=True)
class ScheduledRetry:
    """The retry that follows a run.

    ``eta`` is when it is due, in the Huey's own time (UTC by default), or None for at once; ``delay`` the seconds until
    then; ``left`` how many retries are left after it.
    """

    eta: Any
    delay: float
    left: int


@dataclass(frozen=True, slots=True, repr=False)
class TaskRun:
    """One execution of a task.

    ``task`` is the task as the worker saw it, after its way over the wire; ``value`` what it returned; ``exception``
    what it raised, or None; ``state`` how it ended (``retry`` when it raised ``RetryTask``); ``attempt`` counts from 1;
    ``signals`` are Huey's, in order; ``hooks`` the names of the pre- and post-execute hooks that ran; ``retry`` the
    retry that follows, or None; ``enqueued`` the other tasks that it put into the queue or schedule; ``duration`` in
    seconds; ``stored`` what lies in the result store now: the value, a ``huey.utils.Error``, or None.
    """

    task: Any
    value: Any = None
    exception: BaseException | None = None
    state: State = "complete"
    attempt: int = 1
    signals: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()
    retry: ScheduledRetry | None = None
    enqueued: tuple[Any, ...] = ()
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
        """The run in a line, with what came of it as ``outcome`` says."""
        parts = [f"{self.name} {self.state} on attempt {self.attempt} in {self.duration * 1000:.1f} ms", *outcome]
        if self.retry:
            when = f"in {self.retry.delay:g} s" if self.retry.delay else "at once"
            parts.append(f"retry {when}, {self.retry.left} left after it")
        if self.enqueued:
            parts.append("enqueued: " + ", ".join(call_text(task) for task in self.enqueued))
        parts.append("signals: " + (", ".join(self.signals) or "none"))
        return f"<TaskRun {'; '.join(parts)}>"


def task_name(task: Any) -> str:
    """The full name of a task or a task class, as it stands on the wire."""
    kind = task if isinstance(task, type) else type(task)
    return f"{kind.__module__}.{kind.__name__}"


def call_text(task: Any) -> str:
    """A task as the call that it is, shortened."""
    arguments = [shortened_repr(argument, 60) for argument in task.args or ()]
    arguments += [f"{key}={shortened_repr(argument, 60)}" for key, argument in (task.kwargs or {}).items()]
    return f"{task_name(task)}({', '.join(arguments)})"


def shortened_repr(value: Any, length: int = _VALUE_LENGTH) -> str:
    text = repr(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."


@dataclass(slots=True)
class _ExecutionRecord:
    """What is noticed while one task executes."""

    task_id: str
    signals: list[str] = field(default_factory=list)
    hooks: list[str] = field(default_factory=list)
    failures: list[tuple[str, Exception]] = field(default_factory=list)
    returned: bool = False
    value: Any = None
    exception: BaseException | None = None
    duration: float = 0.0
    time_is_up: bool = False
    retry_delay: float = 0.0


class _WatchedSignal(Signal):  # type: ignore[misc]
    """Sends as Huey's own does, to the same receivers, and keeps what was sent and what a receiver raised."""

    def __init__(self, original: Any, record: _ExecutionRecord) -> None:
        self.receivers = original.receivers
        self.record = record

    def send(self, signal: str, task: Any, *args: Any, **kwargs: Any) -> None:
        if task.id == self.record.task_id:
            self.record.signals.append(signal)
        for receiver in [*self.receivers.get(signal, ()), *self.receivers["any"]]:
            name = getattr(receiver, "__name__", repr(receiver))
            with self.record_failure(f"the receiver {name!r} of the signal {signal!r}"):
                receiver(signal, task, *args, **kwargs)

    @contextlib.contextmanager
    def record_failure(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 -- Huey would log it and go on; it is raised when the run is over
            self.record.failures.append((what, error))


def run_task(huey: Any, task: Any, *, timestamp: Any = None) -> TaskRun:
    """Execute a task as a worker would, in a context of its own, and say everything that came of it.

    Raises what Huey lets through: an exception that is no ``Exception``, and ``TaskContractBroken`` when the task broke
    a rule that a worker holds it to, after its own exception as the cause.
    """
    record, attempt = _ExecutionRecord(task.id), attempt_of(task)
    before = Counter(_raw_items(huey))
    with _watch_execution(huey, task, record):
        try:
            contextvars.copy_context().run(huey.execute, task, timestamp)
        except Exception as error:
            if _INLINE in vars(error):
                raise
            raise _explain_broken_end(huey, task, record, error) from error
    if isinstance(record.exception, KeyboardInterrupt):  # Huey takes it for the end of the worker, and returns.
        raise record.exception
    _check_contract(huey, task, record)
    added = [huey.deserialize_task(data) for data in (Counter(_raw_items(huey)) - before).elements()]
    for other in added:
        other._aquila_huey = huey  # So that it can be performed on its own.
    stored = huey.storage.peek_data(task.id)
    return TaskRun(
        task=task,
        value=record.value,
        exception=record.exception,
        state=_final_state(record),
        attempt=attempt,
        signals=tuple(record.signals),
        hooks=tuple(record.hooks),
        retry=ScheduledRetry(task.eta, record.retry_delay, task.retries) if "retrying" in record.signals else None,
        enqueued=tuple(other for other in added if other.id != task.id),
        duration=record.duration,
        stored=None if stored is EmptyData else huey.serializer.deserialize(stored),
    )


def _raw_items(huey: Any) -> list[bytes]:
    return [bytes(data) for data in (*huey.storage.enqueued_items(), *huey.storage.scheduled_items())]


@contextlib.contextmanager
def _watch_execution(huey: Any, task: Any, record: _ExecutionRecord) -> Iterator[None]:
    signals = _WatchedSignal(huey._signal, record)
    execute, requeue = task.execute, huey._requeue_task

    def watched_execute() -> Any:
        started = time.perf_counter()
        try:
            record.value = execute()
            record.returned = True
        except BaseException as error:
            record.exception = error
            raise
        finally:
            record.duration = time.perf_counter() - started
        return record.value

    def watched_requeue(retried: Any, now: Any, eta: Any = None) -> None:
        if retried is task:
            record.retry_delay = _compute_retry_delay(record.exception, eta, now, task.retry_delay)
        requeue(retried, now, eta)

    def pre_execute(ran: Any) -> None:
        for name, hook in list(huey._pre_execute.items()):
            record.hooks.append(name)
            try:
                hook(ran)
            except CancelExecution:
                raise
            except Exception as error:  # noqa: BLE001 -- as above
                record.failures.append((f"the pre-execute hook {name!r}", error))

    def post_execute(ran: Any, value: Any, error: Any) -> None:
        huey.record_outcome(ran, error)
        record.exception = error if error is not None else record.exception
        for name, hook in list(huey._post_execute.items()):
            record.hooks.append(name)
            with signals.record_failure(f"the post-execute hook {name!r}"):
                hook(ran, value, error)

    on_main_thread = threading.current_thread() is threading.main_thread()
    # Off the main thread no alarm can be set, and a task would fail with ValueError: there it must look by itself.
    alarm = _timeout_by_alarm(record) if on_main_thread and hasattr(signal, "setitimer") else None
    with (
        replace_attributes(
            huey,
            _signal=signals,
            _run_pre_execute=pre_execute,
            _run_post_execute=post_execute,
            _requeue_task=watched_requeue,
            _timeout_handler=alarm,
        ),
        replace_attributes(task, execute=watched_execute),
    ):
        yield


def _timeout_by_alarm(record: _ExecutionRecord) -> Callable[[float], contextlib.AbstractContextManager[None]]:
    @contextlib.contextmanager
    def limit(seconds: float) -> Iterator[None]:
        def strike(signum: int, frame: Any) -> None:
            record.time_is_up = True
            raise TaskTimeout(f"timeout ({seconds}s)")

        started = time.monotonic()
        handler = signal.signal(signal.SIGALRM, strike)
        left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            # Somebody else's alarm, pytest-timeout's for one, is set again for what is left of it.
            signal.signal(signal.SIGALRM, handler)
            signal.setitimer(signal.ITIMER_REAL, left and max(left - (time.monotonic() - started), 1e-3), interval)

    return limit


def _compute_retry_delay(error: BaseException | None, eta: Any, now: Any, retry_delay: float) -> float:
    if eta is None:
        return float(retry_delay or 0)
    asked = error.delay if isinstance(error, RetryTask) else None
    if asked is not None:
        return float(asked.total_seconds() if hasattr(asked, "total_seconds") else asked)
    return max(0.0, round(float((eta - now).total_seconds()), 3))


def _final_state(record: _ExecutionRecord) -> Any:
    return next((name for name in record.signals if name in _OUTCOMES), "retry")


def _check_contract(huey: Any, task: Any, record: _ExecutionRecord) -> None:
    for what, error in record.failures:
        raise TaskContractBroken(
            f"{what} raised {type(error).__name__}: {error}. Huey only logs that, so whatever it guards is not guarded"
        ) from error
    if record.time_is_up and not isinstance(record.exception, TaskTimeout):
        raise TaskContractBroken(
            f"the time limit of {task_name(task)} ({task.timeout} s) struck, and the task swallowed it with an "
            "`except` of its own: let TaskTimeout pass, or catch narrower exceptions"
        )
    outcomes = [name for name in record.signals if name in _OUTCOMES]
    retried_only = not outcomes and isinstance(record.exception, RetryTask)
    if len(outcomes) != 1 and not retried_only:
        raise TaskContractBroken(
            f"{task_name(task)} should end in one way, and Huey reported {outcomes or 'none'} among {record.signals}"
        )
    if record.returned and _is_stored(huey, task, record.value) and (found := _result_difference(huey, record.value)):
        raise TaskContractBroken(f"the result of {task_name(task)} changes on its way to the result store: {found}")


def _is_stored(huey: Any, task: Any, value: Any) -> bool:
    return huey.results and not isinstance(task, PeriodicTask) and (value is not None or huey.store_none)


def _result_difference(huey: Any, value: Any) -> str | None:
    return find_difference(value, huey.serializer.deserialize(huey.serializer.serialize(value)), "the result")


def _explain_broken_end(huey: Any, task: Any, record: _ExecutionRecord, error: Exception) -> TaskContractBroken:
    """What to say when Huey itself raised: the task has run, and no signal will ever tell how it ended."""
    name = task_name(task)
    if record.returned and _is_stored(huey, task, record.value):
        try:
            huey.serializer.serialize(record.value)
        except Exception as problem:  # noqa: BLE001 -- any serializer
            return TaskContractBroken(
                f"the result of {name} cannot be stored: {problem}. A worker would have run the task, lost the "
                "result, and sent no signal of its end"
            )
    if record.exception is not None:
        return TaskContractBroken(
            f"{name} failed with {type(record.exception).__name__}: {record.exception}; then its error handler or its "
            f"retry could not be enqueued, and is lost: {type(error).__name__}: {error}"
        )
    return TaskContractBroken(
        f"what follows {name} could not be enqueued, and is lost: {type(error).__name__}: {error}"
    )


@contextlib.contextmanager
def run_inline(huey: Any) -> Iterator[None]:
    """Run each task when it is enqueued, after its way over the wire. See ``use_test_queue``."""

    def enqueue(data: bytes, priority: Any = None) -> None:
        task = huey.deserialize_task(data)
        if not huey.ready_to_run(task):
            huey.add_schedule(task)
            return
        run = run_task(huey, task)
        if run.exception is not None and run.retry is None and run.state in ("error", "timeout"):
            vars(run.exception)[_INLINE] = True
            raise run.exception

    with replace_attributes(huey.storage, enqueue=enqueue):
        yield
