"""Execute a task as a worker would, and observe it: what it returned or raised, and what Huey said about it."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, TypeAlias

from huey.api import Huey, PeriodicTask, Result, Task
from huey.constants import EmptyData
from huey.exceptions import CancelExecution, RetryTask, TaskTimeout
from huey.serializer import Serializer
from huey.signals import SIGNAL_COMPLETE, SIGNAL_ENQUEUED, SIGNAL_EXECUTING, SIGNAL_INTERRUPTED, Signal
from huey.storage import MemoryStorage

from aquila.errors import NotSerializable, TaskContractBroken
from aquila.huey.clock_of_test import current_clock
from aquila.huey.delivery.delivering_huey import DeliveringHuey
from aquila.huey.error_texts import text_of
from aquila.huey.instances import AquilaHuey
from aquila.huey.progress.patient_results import find_own
from aquila.huey.serializer import MsgpackSerializer
from aquila.huey.testing.attribute_patches import replace_attributes
from aquila.huey.testing.observation import Observation
from aquila.huey.testing.task_run import ScheduledRetry, State, TaskRun, task_name
from aquila.huey.testing.wire_comparison import find_difference, is_plain_data

_OUTCOMES = frozenset(
    ("complete", "error", "timeout", "locked", "rate-limited", "canceled", "revoked", "expired", "interrupted")
)
_SMOOTH = [SIGNAL_EXECUTING, SIGNAL_COMPLETE]
"""The signals of most runs: nothing else happened."""
_EXACT_SERIALIZERS = (Serializer, MsgpackSerializer)
"""Plain data arrives as it is by these, not by what a user has made of them."""
_Messages: TypeAlias = tuple[list[Any] | None, int, tuple[Any, ...]]
"""What is in a queue and its schedule: all of it, or the number of the last message and what is in the schedule.

A plain tuple: two are made for each task.
"""
_RAISED_INLINE = "_aquila_raised_inline"  # Set on an exception of a task that ran inline: its caller gets it as it is.


# Set by run_task for the context of one execution. None where Huey's own methods run by themselves: in a consumer.
_observation: ContextVar[Observation | None] = ContextVar("aquila_task_observation", default=None)


class ObservedHuey(AquilaHuey):
    """What a Huey under test adds to its class: the methods that execute a task say what they do.

    A subclass and no patched attributes, so that nothing is set and put back for each task.
    """

    def _get_timestamp(self) -> Any:
        clock = current_clock.get()
        return super()._get_timestamp() if clock is None else clock.now(utc=self.utc)

    def enqueue(self, task: Any) -> Any:
        """Enqueue a task. What few tasks need is gone through only for them: a test may enqueue thousands."""
        receivers = self._signal.receivers
        if (
            not isinstance(task, Task)
            or "_aquila_message" in task.__dict__
            or not self._enqueues_as_huey()
            or self._immediate
            or hasattr(task, "_aquila_parameters")
            or hasattr(task, "_aquila_unique")
            or task.expires
            or task.on_complete is not None
            or receivers["any"]
            or receivers.get(SIGNAL_ENQUEUED)
            or self.publisher is not None
            or _observation.get() is not None
        ):
            return super().enqueue(task)
        self.storage.enqueue(self.serialize_task(task), task.priority)
        return Result(self, task) if self.results else None

    def _enqueues_as_huey(self) -> bool:
        """Whether nobody has put another function in the place of one that would enqueue a task and tell of it.

        Asked for each task: a test replaces functions for a while, of any class of the Huey.
        """
        kind: Any = type(self)
        return (
            kind._of_user.enqueue is _ENQUEUE_OF_AQUILA
            and _function_of(super(AquilaHuey, self).enqueue) is _ENQUEUE_OF_DELIVERING
            and _function_of(super(DeliveringHuey, self).enqueue) is _ENQUEUE_OF_HUEY
            and kind._emit is _EMIT_OF_OBSERVED
            and kind._of_user._emit is _EMIT_OF_DELIVERING
            and _function_of(super(DeliveringHuey, self)._emit) is _EMIT_OF_HUEY
            and kind._pipeline_results is _RESULTS_OF_HUEY
            and self.__dict__.keys().isdisjoint(_SKIPPED)
            and type(self._signal) is Signal
            and Signal.send is _SEND_OF_HUEY
        )

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
        seen.was_told = True
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


# Others that instrument Huey may have put another in the place of each: then it is None, and no function is the same.
_ENQUEUE_OF_AQUILA, _ENQUEUE_OF_DELIVERING, _ENQUEUE_OF_HUEY = (
    find_own(kind, "enqueue") for kind in (AquilaHuey, DeliveringHuey, Huey)
)
_EMIT_OF_OBSERVED, _EMIT_OF_DELIVERING, _EMIT_OF_HUEY = (
    find_own(kind, "_emit") for kind in (ObservedHuey, DeliveringHuey, Huey)
)
_RESULTS_OF_HUEY, _SEND_OF_HUEY = find_own(Huey, "_pipeline_results"), find_own(Signal, "send")
_SKIPPED = ("_emit", "_pipeline_results")
"""What Huey calls of itself to enqueue a task, beside what is always called."""


def _function_of(method: Any) -> Any:
    """Return the function of a method; what is no method, as what a test has put there, has none."""
    return getattr(method, "__func__", _function_of)


def put_under_observation(huey: Any) -> None:
    """Give a Huey of Aquila the class that observes its tasks. Does nothing to one that has it already."""
    if not isinstance(huey, ObservedHuey):
        kind: Any = type(huey)
        huey.__class__ = _observed_class(kind)


@functools.cache  # One class for each Huey class, for as long as the process lives.
def _observed_class(kind: Any) -> Any:
    return type(kind.__name__, (ObservedHuey, kind), {"__module__": kind.__module__, "_of_user": kind})


def run_task(huey: Any, task: Any, *, timestamp: Any = None) -> TaskRun[Any]:
    """Execute a task of a Huey under test as a worker would, and return everything that came of it.

    ``timestamp`` is the moment that Huey compares with the task's ``eta`` and ``expires``; now by default.

    Raises ``TaskContractBroken`` when the task broke a rule that a worker holds it to, with its own exception as the
    cause; and what Huey lets through, an exception that is no ``Exception``.
    """
    return observe_task(huey, task, timestamp).make_run()


def observe_task(huey: Any, task: Any, timestamp: Any = None) -> Observation:
    """Do what ``run_task`` does, and return what was noticed: its ``TaskRun`` is made when it is needed."""
    seen = Observation(huey, task)
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
    seen.message = huey.storage.peek_data(task.id)
    if seen.signals != _SMOOTH or seen.failures or seen.time_is_up:
        _check_contract(huey, task, seen)
        seen.state = _final_state(seen)
        if "retrying" in seen.signals:
            seen.retry = ScheduledRetry(task.eta, seen.retry_delay, task.retries)
    if not _arrives_as_it_is(huey, task, seen):
        _check_stored(huey, task, seen)
    if _mark_messages(huey.storage) != before:
        seen.enqueued = [other for other in _read_added(huey, before) if other.id != task.id]
    return seen


def _arrives_as_it_is(huey: Any, task: Any, seen: Observation) -> bool:
    """Whether the stored result is what the task has returned, which needs no look at what is stored: most are."""
    return (
        seen.returned
        and not (seen.hooks or seen.was_told)
        and seen.message is not EmptyData
        and type(huey.serializer) in _EXACT_SERIALIZERS
        and _is_stored(huey, task, seen.value)
        and is_plain_data(seen.value)
    )


def _check_stored(huey: Any, task: Any, seen: Observation) -> None:
    stored = seen.read_stored()
    if seen.returned and _is_stored(huey, task, seen.value):
        if seen.message is EmptyData:  # A hook has read it, and reading removes it.
            stored = huey.serializer.deserialize(huey.serializer.serialize(seen.value))
        _check_result(task, seen.value, stored)


def _read_added(huey: Any, before: _Messages) -> list[Any]:
    """Return the tasks of the messages that were not there before."""
    storage, (enqueued, last, waiting) = huey.storage, before
    if enqueued is None:
        scheduled = storage.scheduled_items() if waiting or storage.schedule_size() else ()
        data = [
            *(each for _, number, each in sorted(storage._queue) if number > last),
            *(Counter(scheduled) - Counter(each for _, each in waiting)).elements(),
        ]
    else:
        after, _, _ = _mark_messages(storage)
        data = [*(Counter(after or ()) - Counter(enqueued)).elements()]
    added = [huey.deserialize_task(bytes(each)) for each in data]
    for other in added:
        other._aquila_huey = huey  # So that it can be performed on its own.
    return added


def _mark_messages(storage: Any) -> _Messages:
    """Return what tells later which messages were added. It is asked twice for each task, whatever else is queued."""
    about = storage.__dict__
    if type(storage) is MemoryStorage and "_c" in about:  # It counts what is enqueued.
        return None, about["_c"], tuple(about["_schedule"])
    return [bytes(each) for each in (*storage.enqueued_items(), *storage.scheduled_items())], 0, ()


def _compute_retry_delay(error: BaseException | None, eta: Any, now: Any, retry_delay: float) -> float:
    if eta is None:
        return float(retry_delay or 0)
    asked = error.delay if isinstance(error, RetryTask) else None
    if asked is not None:
        return float(asked.total_seconds() if hasattr(asked, "total_seconds") else asked)
    return max(0.0, round(float((eta - now).total_seconds()), 3))


def _final_state(seen: Observation) -> State:
    outcome: Any = "retry"
    for name in seen.signals:
        if name in _OUTCOMES:
            outcome = name
            break
    state: State = outcome
    return state


def _check_contract(huey: Any, task: Any, seen: Observation) -> None:
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


def _explain_broken_end(task: Any, seen: Observation, error: Exception) -> TaskContractBroken:
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
