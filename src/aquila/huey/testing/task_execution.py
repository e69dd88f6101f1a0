"""Executes a task as a worker would, and observes it: what it returned or raised, and which signals Huey sent."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from huey.api import PeriodicTask
from huey.constants import EmptyData
from huey.exceptions import RetryTask, TaskTimeout
from huey.serializer import Serializer
from huey.signals import SIGNAL_COMPLETE, SIGNAL_EXECUTING
from huey.storage import MemoryStorage

from aquila.errors import TaskContractBroken
from aquila.huey.error_texts import text_of
from aquila.huey.serializing.serializer import MsgpackSerializer
from aquila.huey.tasks.running_task import task_name
from aquila.huey.testing.attribute_patches import replace_attributes
from aquila.huey.testing.observation import Observation, current_observation
from aquila.huey.testing.task_run import ScheduledRetry, State, TaskRun
from aquila.huey.testing.wire_comparison import UNCHANGING, find_difference, is_plain_data
from aquila.lazy_imports import lazy_modules
from aquila.recording.runtime import current_run

if TYPE_CHECKING:
    from aquila.huey.testing import left_out_waits
else:
    lazy_modules(globals(), "aquila.huey.testing: left_out_waits")

_OUTCOMES = frozenset(
    ("complete", "error", "timeout", "locked", "rate-limited", "canceled", "revoked", "expired", "interrupted")
)
_USUAL_SIGNALS = [SIGNAL_EXECUTING, SIGNAL_COMPLETE]
"""The signals of a run in which nothing unusual has happened."""
_EXACT_SERIALIZERS = (Serializer, MsgpackSerializer)
"""The classes of serializers by which plain data arrives unchanged. A subclass may change the data."""
_Messages: TypeAlias = tuple[list[Any] | None, int, tuple[Any, ...]]
"""A mark of the messages in a queue and its schedule: a list of all of them, 0 and an empty tuple; or None, the number
of the last message, and the messages in the schedule.

It is a plain tuple, because two are made for each task.
"""
# Set on the exception of a task that ran inline, within the execution of another: it reaches its caller as it is.
_RAISED_INLINE = "_aquila_raised_inline"


def run_task(huey: Any, task: Any) -> TaskRun[Any]:
    """Execute a task of a Huey under test as a worker would, now or as if it were due, and return the run.

    Raises ``TaskContractBroken`` when the task broke a rule of workers, with the exception of the task as its cause.
    A ``BaseException`` that is not an ``Exception`` is raised, too, because Huey does not catch it.
    """
    return observe_task(huey, task).make_run()


def observe_task(huey: Any, task: Any) -> Observation:
    """Execute a task as ``run_task`` does, and return the observation, from which a ``TaskRun`` can be made later."""
    before = _mark_messages(huey.storage)
    seen = Observation(huey, task)
    token = current_observation.set(seen)
    try:
        # The moment at which to execute the task, in the time of its Huey: now, or when it is due. It is never later
        # than that, because the task might have expired. It is never None: a consumer gives `execute` a moment, and a
        # subclass may use it.
        now, due = huey._get_timestamp(), task.eta
        huey.execute(task, now if due is None else max(now, due))
    except Exception as error:
        if _RAISED_INLINE in vars(error):
            raise
        raise _explain_broken_end(task, seen, error) from error
    finally:
        current_observation.reset(token)
    # Huey takes a `KeyboardInterrupt` for the end of the worker, and returns. Here it is the user's Ctrl-C.
    if isinstance(seen.exception, KeyboardInterrupt):
        raise seen.exception
    seen.message = huey.storage.peek_data(task.id)
    if seen.signals != _USUAL_SIGNALS or seen.failures or seen.time_is_up:
        _check_contract(task, seen)
        seen.state = _final_state(seen)
        if "retrying" in seen.signals:
            seen.retry = ScheduledRetry(task.eta, seen.retry_delay, task.retries)
    value = seen.value
    # The condition is true of most runs: the stored result is certainly equal to what the task has returned.
    # Deserializing and comparing every result would be a notable part of the time of a drain.
    if not (
        seen.returned
        and not (seen.hooks or seen.had_receiver)
        and seen.message is not EmptyData
        and type(huey.serializer) in _EXACT_SERIALIZERS
        and _is_stored(huey, task, value)
        and is_plain_data(value)
    ):
        _check_stored(huey, task, seen)
    elif type(value) in UNCHANGING:
        seen.stored = value
    if _mark_messages(huey.storage) != before:
        seen.enqueued = [other for other in _read_added(huey, before) if other.id != task.id]
    run = getattr(task, "_aquila_run", None) or current_run()  # the one in which `Observation` has begun
    if run.wire_watch is not None:
        left_out_waits.note_wait_start(run, task, seen.enqueued, huey._get_timestamp())
    return seen


def resolve_expiry(huey: Any, task: Any) -> None:
    """Resolve when a task expires, as Huey does where a scheduler enqueues the task when it is due."""
    task.resolve_expires(huey.utc)
    if task.eta is not None and not isinstance(task.expires, datetime):
        task.expires_resolved += max(timedelta(), task.eta - huey._get_timestamp())


def _check_stored(huey: Any, task: Any, seen: Observation) -> None:
    stored = seen.read_stored()
    if seen.returned and _is_stored(huey, task, seen.value):
        if seen.message is EmptyData:  # A hook has read the result, and reading removes it.
            stored = huey.serializer.deserialize(huey.serializer.serialize(seen.value))
        _check_result(task, seen.value, stored)


def _read_added(huey: Any, before: _Messages) -> list[Any]:
    """Return the tasks of the messages that were not there before."""
    storage, (enqueued, last, waiting) = huey.storage, before
    if enqueued is None:
        scheduled = storage.scheduled_items() if waiting or storage.schedule_size() else ()
        data = [
            *(each for _, _, each in sorted(row for row in storage._queue if row[1] > last)),
            *(Counter(scheduled) - Counter(each for _, each in waiting)).elements(),
        ]
    else:
        after, _, _ = _mark_messages(storage)
        data = [*(Counter(after or ()) - Counter(enqueued)).elements()]
    added = [huey.deserialize_task(bytes(each)) for each in data]
    for other in added:
        other._aquila_huey = huey  # `perform_job` may get one of these, and finds its Huey by it.
    return added


def _mark_messages(storage: Any) -> _Messages:
    """Return a mark by which ``_read_added`` finds the messages that were added since."""
    # Called twice for each task, so it must not take longer when the queue is longer. The memory storage of Huey 3.5
    # numbers its messages with `_c`.
    about = storage.__dict__
    if type(storage) is MemoryStorage and "_c" in about:  # It counts what is enqueued.
        return None, about["_c"], tuple(about["_schedule"])
    return [bytes(each) for each in (*storage.enqueued_items(), *storage.scheduled_items())], 0, ()


def _final_state(seen: Observation) -> State:
    outcome: Any = "retry"
    for name in seen.signals:
        if name in _OUTCOMES:
            outcome = name
            break
    state: State = outcome
    return state


def _check_contract(task: Any, seen: Observation) -> None:
    for what, error in seen.failures:
        raise TaskContractBroken(
            f"{what} raised {text_of(error)}. Huey only logs that and goes on, so a check in it protects nothing"
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
    """Return the error for a task whose outcome Huey could not store: it has run, and no signal says how it ended."""
    name = task_name(task)
    if seen.returned and not seen.was_stored:
        return TaskContractBroken(
            f"the result of {name} cannot be stored: {error}. A worker would have run the task, and "
            "stored this error in the place of its result"
        )
    if seen.exception is not None:
        return TaskContractBroken(
            f"{name} failed with {text_of(seen.exception)}; then its error handler or its "
            f"retry could not be enqueued, and is lost: {text_of(error)}"
        )
    return TaskContractBroken(f"the task that follows {name} could not be enqueued, and is lost: {text_of(error)}")


@contextlib.contextmanager
def run_inline(huey: Any) -> Iterator[None]:
    """Execute each task of a Huey under test when it is enqueued, after a round trip over the wire.

    See ``use_test_queue``. The ``enqueue`` of the storage is replaced until the block ends.
    """

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
