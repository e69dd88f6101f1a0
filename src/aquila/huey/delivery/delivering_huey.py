"""The part of ``AquilaHuey`` that takes tasks, lets them go and hands them back, in the place of Huey's own methods."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from typing import Any

import huey as _huey
from huey.api import Task
from huey.signals import SIGNAL_ENQUEUED, SIGNAL_INTERRUPTED, SIGNAL_SCHEDULED, Signal
from huey.utils import Error

from aquila.errors import NotSerializable
from aquila.huey.delivery.burying import bury_failed, redact_safely
from aquila.huey.delivery.consumer import AquilaConsumer
from aquila.huey.delivery.consumer_life import LOST_AFTER, ConsumerLife
from aquila.huey.delivery.tasks_in_hand import TasksInHand
from aquila.huey.error_texts import LONGEST_ERROR, LONGEST_TRACEBACK, cut_redacted, text_of, traceback_of
from aquila.huey.progress.patient_results import find_own
from aquila.huey.running_task import current_task_or_none
from aquila.huey.sendable_values import make_text_sendable

logger = logging.getLogger("huey.aquila")

_ATTRIBUTE = "_aquila_in_hand"
_making = threading.Lock()  # held while a storage gets its `TasksInHand`: two threads must not make one each


_emit_of_huey, _send_of_huey = find_own(_huey.Huey, "_emit"), find_own(Signal, "send")
"""How Huey itself sends signals."""


class DeliveringHuey(_huey.Huey):  # type: ignore[misc]
    """A Huey that loses no task: ``AquilaHuey`` says what users see of it."""

    keep_running: bool = False
    lost_after: float = LOST_AFTER
    keep_dead_letters: int = 10_000
    keep_dead_letters_for: timedelta = timedelta(days=30)

    @property
    def tasks_in_hand(self) -> TasksInHand:
        """What this process has taken from the storage that this Huey has now."""
        found: TasksInHand | None = self.storage.__dict__.get(_ATTRIBUTE)
        if found is None or not found.is_of(self):  # Part of every task's time.
            with _making:
                found = self._find_tasks_in_hand()
                if found is None:
                    found = self.storage.__dict__[_ATTRIBUTE] = TasksInHand(self)
        return found

    def _find_tasks_in_hand(self) -> TasksInHand | None:
        # On the storage, which a test replaces for its own length, and a fork inherits.
        found: TasksInHand | None = self.storage.__dict__.get(_ATTRIBUTE)
        if found is None or not found.is_of(self):
            return None
        return found

    def find_life_at(self, storage: Any) -> ConsumerLife | None:
        """Return the life by which this process shows itself at a storage, where it has one: with ``keep_running``."""
        found: TasksInHand | None = storage.__dict__.get(_ATTRIBUTE)
        return None if found is None or found.kept is None or not found.is_of(self) else found.kept.life

    def start_keeping(self) -> None:
        """Keep copies of tasks while they execute, from now on."""
        self.keep_running = True
        self.on_startup("aquila keep_running")(self._enter_worker)
        self.on_shutdown("aquila keep_running")(self._leave_worker)

    def _enter_worker(self) -> None:
        if (kept := self.tasks_in_hand.kept) is not None:
            kept.enter_worker()

    def _leave_worker(self) -> None:
        if (kept := self.tasks_in_hand.kept) is not None:
            kept.leave_worker()

    def create_consumer(self, **options: Any) -> AquilaConsumer:
        """Return a consumer of this queue, as ``huey_consumer`` runs it."""
        return AquilaConsumer(self, **options)

    def dequeue(self) -> Task | None:
        """Take the next task out of the queue. Returns None where the queue is empty.

        A message that cannot be read becomes a dead letter, and the next one is taken.
        """
        return self.tasks_in_hand.take_next()

    def read_schedule(self, timestamp: Any = None) -> list[Task]:
        """Take the tasks that are due out of the schedule. Their caller enqueues them."""
        return self.tasks_in_hand.take_due(self._get_timestamp() if timestamp is None else timestamp)

    def report_unreadable(self, error: Exception) -> None:
        """Note that a message has become a dead letter. A test replaces this, to fail."""

    def enqueue(self, task: Any) -> Any:
        """Enqueue a task. One that was taken is in hand no more, and takes the place of its copy."""
        # What never was a message, as what a producer enqueues, is not looked for: that is part of every one's time.
        if not hasattr(task, "_aquila_message") or not self._holds(task):
            return super().enqueue(task)
        if task.expires:
            task.resolve_expires(self.utc)
        self._emit(SIGNAL_ENQUEUED, task)
        self.tasks_in_hand.move_to_queue(task, self.serialize_task(task))
        return self._result_handle(task) if self.results else None

    def add_schedule(self, task: Task) -> None:
        """Schedule a task. One that was taken is in hand no more, and takes the place of its copy."""
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
        # Mostly nobody listens. Then what sends signals is not gone through: that is part of every task's time.
        if (
            type(signals) is not Signal
            or (receivers := signals.receivers)["any"]
            or receivers.get(signal)
            or Signal.send is not _send_of_huey
            # Not found once for each class: a test replaces functions for a while.
            or getattr(super()._emit, "__func__", self) is not _emit_of_huey
        ):
            super()._emit(signal, task, *args, **kwargs)

    def note_interruption(self, task: Task) -> None:
        """Note that Huey breaks off the execution of a task, wherever the interrupt has struck: nothing is stored."""
        current = current_task_or_none()
        # Huey says so too of tasks that execute in other threads, and are still to end: `notify_interrupted_tasks`.
        if current is not None and current.task is task:
            task._aquila_struck = True

    def _holds(self, task: Any) -> bool:
        return hasattr(task, "_aquila_message") and not self._immediate and self.tasks_in_hand.holds(task)

    def move_to_results(self, key: str, data: Any, message: bytes) -> bool:
        """Store a result, which is ``message`` on its way, in the place of its task's copy.

        Returns False, and stores nothing, where there is no copy, and where something follows the result.
        """
        current = current_task_or_none()
        if (
            current is None
            or key != current.task.id
            or getattr(current.task, "_aquila_copy", None) is None
            or not _is_last_of(current.task, data)
        ):
            return False
        self.tasks_in_hand.move_to_results(current.task, message)
        return True

    def build_error_result(self, task: Task, exception: BaseException) -> dict[str, Any]:
        """Return how the error of a task is stored. One that has no retry left becomes a dead letter first."""
        metadata: dict[str, Any]
        try:
            metadata = super().build_error_result(task, exception)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 -- the ``repr`` of a user's exception may raise anything
            texts = {"error": text_of(exception), "traceback": traceback_of(exception)}
            metadata = {**texts, "retries": task.retries, "task_id": task.id}
        if not task.retries:
            bury_failed(self, task, exception, metadata["traceback"])
        for key, longest in (("error", LONGEST_ERROR), ("traceback", LONGEST_TRACEBACK)):
            # Of a text that cannot be stored nobody would be told.
            if isinstance(text := metadata[key], str):
                metadata[key] = make_text_sendable(cut_redacted("".join((text,)), longest, redact_safely))
        return metadata

    def _requeue_task(self, task: Task, timestamp: Any, retry_eta: Any = None) -> None:
        try:
            super()._requeue_task(task, timestamp, retry_eta)
        except NotSerializable as error:
            task._aquila_unsent_retry = error
            raise

    def _check_chord(self, cc: Any, value: Any) -> None:
        arguments = cc.callback.args
        try:
            super()._check_chord(cc, value)
        except NotSerializable as error:
            if cc.callback.args is arguments:  # It is the value of this member that cannot be stored.
                raise
            # Its members have ended, each as it has. What cannot be sent is the callback, with what they came to.
            cc.callback._aquila_unsendable = error
            self.end_unsendable(cc.callback, error)

    def notify_interrupted_tasks(self) -> None:
        """Hand back what this process has taken and not finished: its consumer ends."""
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


def _is_last_of(task: Task, data: Any) -> bool:
    """Whether nothing is stored for a task after this result."""
    if task.on_complete is not None or task.chord_config is not None:
        return False
    return not isinstance(data, Error) or not (task.retries or task.on_error)
