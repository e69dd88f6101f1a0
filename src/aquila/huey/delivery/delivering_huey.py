"""The methods of ``AquilaHuey`` that take tasks, finish them and hand them back. They override Huey's methods.

Written against Huey 3.5, where these are private: ``_emit``, ``_signal``, ``_requeue_task``, ``_check_chord``,
``_result_handle``, ``_tasks_in_flight``, ``_immediate`` and ``_get_timestamp``.
"""

from __future__ import annotations

import copy
import logging
import sys
import threading
from datetime import timedelta
from types import FunctionType, MethodType
from typing import Any

import huey as _huey
from huey.api import Task
from huey.constants import EmptyData
from huey.signals import SIGNAL_ENQUEUED, SIGNAL_INTERRUPTED, SIGNAL_SCHEDULED, Signal
from huey.utils import Error

from aquila.errors import NotSerializable
from aquila.fork_locks import renewed_in_child
from aquila.huey.delivery.burying import bury_failed, redact_safely
from aquila.huey.delivery.choosing_copies import check_can_keep
from aquila.huey.delivery.consumer import AquilaConsumer
from aquila.huey.delivery.consumer_heartbeats import LOST_AFTER
from aquila.huey.delivery.tasks_in_hand import TasksInHand
from aquila.huey.error_texts import LONGEST_ERROR, LONGEST_TRACEBACK, cut_redacted, text_of, traceback_of
from aquila.huey.serializing.sendable_values import make_text_sendable
from aquila.huey.tasks.running_task import current_task_or_none
from aquila.huey.tasks.task_ends import is_lost, iterate_pipeline

logger = logging.getLogger("huey.aquila")

_ATTRIBUTE = "_aquila_in_hand"
# Held while a storage gets its `TasksInHand`: two threads must not make one each.
_making = renewed_in_child(threading.Lock())


def find_own(kind: Any, name: str) -> Any:
    """Return the function ``name`` of a class of Huey. None where an instrumentation has replaced it already."""
    # A function belongs to its module if its globals are those of the module.
    found = kind.__dict__[name]
    is_own = type(found) is FunctionType and found.__globals__ is vars(sys.modules[kind.__module__])
    return found if is_own else None


_emit_of_huey, _send_of_huey = find_own(_huey.Huey, "_emit"), find_own(Signal, "send")
"""Huey's own functions that send signals. While they are in place and nobody listens, nothing needs to be sent."""


class DeliveringHuey(_huey.Huey):  # type: ignore[misc]
    """A Huey that loses no task. See ``AquilaHuey`` for what users see of it.

    ``keep_dead_letters`` bounds the number of dead letters, and ``keep_dead_letters_for`` their age.
    """

    keep_running: bool = False
    lost_after: float = LOST_AFTER
    keep_dead_letters: int = 10_000
    keep_dead_letters_for: timedelta = timedelta(days=30)

    @property
    def tasks_in_hand(self) -> TasksInHand:
        """The tasks that this process has taken from the present storage of this Huey."""
        # The lock is taken only where nothing fits, because this is part of the time of every task.
        found: TasksInHand | None = self.storage.__dict__.get(_ATTRIBUTE)
        if found is None or not found.is_of(self):
            with _making:
                found = self._find_tasks_in_hand()
                if found is None:
                    found = self.storage.__dict__[_ATTRIBUTE] = TasksInHand(self)
        return found

    def _find_tasks_in_hand(self) -> TasksInHand | None:
        # Kept on the storage, not on the Huey: a test replaces the storage while it runs, and must not see the tasks
        # of the other one. A fork inherits the storage with the tasks of its parent; `is_of` tells them apart.
        found: TasksInHand | None = self.storage.__dict__.get(_ATTRIBUTE)
        if found is None or not found.is_of(self):
            return None
        return found

    def start_keeping(self) -> None:
        """Keep copies of tasks while they execute, from now on. Huey calls the two hooks in each worker.

        Raises ``ConfigError`` for a storage that cannot keep copies.
        """
        check_can_keep(self.storage)
        self.keep_running = True
        self.on_startup("aquila keep_running")(self._enter_worker)
        self.on_shutdown("aquila keep_running")(self._leave_worker)

    def _enter_worker(self) -> None:
        try:
            kept = self.tasks_in_hand.kept
        except Exception:
            # The storage is away. Reading the queue comes next, and logs that. While no worker of this process is
            # counted, each copy is removed at once, and not together with taking the next task.
            logger.debug("a worker could not be counted", exc_info=True)
            return
        if kept is not None:
            kept.enter_worker()

    def _leave_worker(self) -> None:
        if (kept := self.tasks_in_hand.kept) is not None:
            kept.leave_worker()

    def create_consumer(self, **options: Any) -> AquilaConsumer:
        """Return a consumer of this queue, as ``huey_consumer`` runs it."""
        return AquilaConsumer(self, **options)

    def read_schedule(self, timestamp: Any = None) -> list[Task]:
        """Take the tasks that are due out of the schedule. Their caller enqueues them."""
        return self.tasks_in_hand.take_due(self._get_timestamp() if timestamp is None else timestamp)

    def report_unreadable(self, error: Exception) -> None:
        """Called when a message has become a dead letter. Does nothing; a test replaces it, in order to fail."""

    def enqueue(self, task: Any) -> Any:
        """Enqueue a task. A task that was taken here replaces its copy in one step, and is no longer in hand."""
        # A task of a producer never was a message, so it is not looked for: this is part of every producer's time.
        taken = task if hasattr(task, "_aquila_message") else getattr(task, "_aquila_replaces", None)
        if taken is None or not self._holds(taken):
            return super().enqueue(task)
        if task.expires:
            task.resolve_expires(self.utc)
        self._emit(SIGNAL_ENQUEUED, task)
        self.tasks_in_hand.move_to_queue(taken, self.serialize_task(task), task.priority)
        # Huey returns several results for a pipeline. Whoever enqueues a task again that was taken asks for none.
        return self._result_handle(task) if self.results else None

    def let_replace(self, follower: Task, task: Task) -> None:
        """Let a follower be enqueued in the place of the copy of a task, if that has one.

        If the worker is killed after that, the task is not executed again, and its follower is not enqueued again.
        """
        if getattr(task, "_aquila_copy", None) is not None:
            follower._aquila_replaces = task

    def add_schedule(self, task: Task) -> None:
        """Schedule a task. A task that was taken here replaces its copy in one step, and is no longer in hand."""
        if task.eta is None or not self._holds(task):
            super().add_schedule(task)
            return
        self.tasks_in_hand.move_to_schedule(task, self.serialize_task(task), task.eta)
        logger.info("Added task %s to schedule, eta %s", task.id, task.eta)
        self._emit(SIGNAL_SCHEDULED, task)

    def _emit(self, signal: str, task: Task, *args: Any, **kwargs: Any) -> None:
        if signal == SIGNAL_INTERRUPTED:
            self.note_interruption(task)
        signals = self._signal
        # Usually there are no receivers. Then Huey's functions, which are a notable part of the time of a task, are not
        # called. They are called where somebody has replaced one of them, as test libraries and tracers do.
        if (
            type(signals) is not Signal
            or (receivers := signals.receivers)["any"]
            or receivers.get(signal)
            or Signal.send is not _send_of_huey
            # Looked up each time and not once for each class, because a test may replace the function for a while.
            # A wrapper of the function is no method, but may show the function as its `__func__`, too.
            or type(emit := super()._emit) is not MethodType
            or emit.__func__ is not _emit_of_huey
        ):
            super()._emit(signal, task, *args, **kwargs)

    def note_interruption(self, task: Task) -> None:
        """Note that an interrupt has broken off the execution of a task: Huey stores no result of it."""
        current = current_task_or_none()
        # Huey also sends the signal for tasks that execute in other threads and may still finish; see
        # `notify_interrupted_tasks`. Only the task of this context was broken off.
        if current is not None and current.task is task:
            task._aquila_struck = True

    def _holds(self, task: Any) -> bool:
        return hasattr(task, "_aquila_message") and not self._immediate and self.tasks_in_hand.holds(task)

    def move_to_results(self, key: str, data: Any, value: bytes) -> bool:
        """Store a result in the place of its task's copy, in one step.

        ``key`` is the id of the task, ``data`` the result, and ``value`` the result as bytes. Returns False, and
        stores nothing, where there is no copy, or where the task needs its copy until more is stored, as its retry.
        """
        current = current_task_or_none()
        if (
            current is None
            or key != current.task.id
            or getattr(current.task, "_aquila_copy", None) is None
            or not _is_last_of(current.task, data)
        ):
            return False
        self.tasks_in_hand.move_to_results(current.task, value)
        return True

    def build_error_result(self, task: Task, exception: BaseException) -> dict[str, Any]:
        """Return the error of a task as it is stored. A task that has no retry left becomes a dead letter first.

        A worker may be killed in between. Then the dead letter is made twice; in the other order it would be missing.
        """
        metadata: dict[str, Any]
        try:
            metadata = super().build_error_result(task, exception)
        except (KeyboardInterrupt, SystemExit):  # These end the worker.
            raise
        except BaseException:  # noqa: BLE001 -- the ``repr`` of a user's exception may raise anything
            texts = {"error": text_of(exception), "traceback": traceback_of(exception)}
            metadata = {**texts, "retries": task.retries, "task_id": task.id}
        if not task.retries:
            bury_failed(self, task, exception, metadata["traceback"])
        for key, longest in (("error", LONGEST_ERROR), ("traceback", LONGEST_TRACEBACK)):
            # If the serializer refused a text, for example because of a lone surrogate, the whole error would be lost.
            if isinstance(text := metadata[key], str):
                # `join` makes a plain `str` of an instance of a subclass, whose methods may do anything.
                metadata[key] = make_text_sendable(cut_redacted("".join((text,)), longest, redact_safely))
        return metadata

    def _requeue_task(self, task: Task, timestamp: Any, retry_eta: Any = None) -> None:
        try:
            super()._requeue_task(task, timestamp, retry_eta)
        except NotSerializable as error:
            task._aquila_unsent_retry = error  # `fail_for_good` recognises by it that a retry could not be sent.
            raise

    def _check_chord(self, cc: Any, value: Any) -> None:
        """Store and count the value of a member of a chord that has ended, and enqueue the callback after the last one.

        In the place of the method of Huey 3.5, with its keys. That one removes the values before it enqueues the
        callback, which is lost if the worker is killed in between, and counts a member twice that ends twice: its dead
        letter was retried, or its worker was killed at its end. A worker that is killed after the callback was enqueued
        leaves the values behind.
        """
        counter = f"chord:{cc.cid}"
        keys = [f"{counter}:{idx}" for idx in range(cc.size)]
        self.put_result(keys[cc.idx], value)
        if callable(name_of := getattr(self.storage, "result_key", None)):
            self.storage.conn.persist(name_of(keys[cc.idx]))  # Results expire here, but this is not one yet.
        if self.storage.incr(counter) < cc.size:
            return
        # The number may be too high, but a value is missing as long as its member has not ended.
        found = [self.get_raw(key, peek=True) for key in keys]
        if EmptyData in found:
            return
        # So two members may come here at the same moment. The first one to store its number ends the chord. If its
        # worker is killed meanwhile, the member is executed again, and finds its own number.
        last = f"{counter}:last"
        if not self.put_if_empty(last, cc.idx) and self.get(last, peek=True) != cc.idx:
            return
        if self.get_raw(keys[cc.idx], peek=True) is EmptyData:  # The other one came first, and has ended the chord.
            self.delete(last)
            return
        callback = copy.copy(cc.callback)
        callback.extend_data(([self.serializer.deserialize(data) for data in found],))
        current = current_task_or_none()
        if current is not None and _ends(current.task, cc):
            self.let_replace(callback, current.task)
        try:
            self.enqueue(callback)
        except NotSerializable as error:
            # All members have ended and have their results. Only the callback fails: its arguments cannot be sent.
            callback._aquila_unsendable = error
            self.end_unsendable(callback, error)
        if current is not None and is_lost(current.task):
            return  # The callback was not enqueued. Whoever has taken the task over needs the values.
        self.storage.delete_counter(counter)
        for key in (*keys, last):
            self.delete(key)

    def notify_interrupted_tasks(self) -> None:
        """Hand back the tasks that this process has taken and not finished, because its consumer ends."""
        # The order matters. First no thread takes more, then Huey sends its signals, and only then are tasks handed
        # back: a worker of this process would take them again otherwise.
        found = self._find_tasks_in_hand()
        if found is None:
            super().notify_interrupted_tasks()
            return
        found.stop_taking()
        interrupted = list(self._tasks_in_flight)
        super().notify_interrupted_tasks()
        for task in interrupted:
            found.interrupt(task)
        found.hand_back_rest()


def _ends(task: Task, config: Any) -> bool:
    """Whether the end of a task is that of a member of a chord: its own, or that of a task which is to follow it."""
    return any(each.chord_config is config for each in iterate_pipeline(task))


def _is_last_of(task: Task, data: Any) -> bool:
    """Whether nothing is stored for a task after this result."""
    if task.on_complete is not None or task.chord_config is not None:
        return False
    return not isinstance(data, Error) or not (task.retries or task.on_error)
