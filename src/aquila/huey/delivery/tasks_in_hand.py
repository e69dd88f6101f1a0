"""What this process has taken out of a queue and not finished: it takes, it lets go, and it hands back."""

from __future__ import annotations

import contextlib
import itertools
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from huey.api import Task
from huey.signals import SIGNAL_ENQUEUED
from huey.storage import BaseSqlStorage

from aquila.errors import NotSerializable
from aquila.huey.delivery.burying import bury_unreadable
from aquila.huey.delivery.choosing_copies import copies_of
from aquila.huey.delivery.kept_copies import KeptCopies
from aquila.huey.delivery.running_copies import Copy, CopyBeingMoved
from aquila.huey.limits.unique_jobs import requeue_claim
from aquila.huey.progress.storage_patience import ask_until_answered

logger = logging.getLogger("huey.aquila")

stop_flag: ContextVar[Any] = ContextVar("aquila_stop_flag", default=None)
"""The flag that stops the worker of this thread, greenlet or process. Set where the worker begins."""

_takers = itertools.count()
"""A number for each time that somebody takes."""

_processes = itertools.count()
_process = [next(_processes)]
"""A number for this process, which a fork of it does not have: told more quickly than its id."""
if hasattr(os, "register_at_fork"):  # Windows has none, and forks nothing.
    os.register_at_fork(after_in_child=lambda: _process.__setitem__(0, next(_processes)))

_HAS_ENDED = object()
"""The ``_aquila_end`` of a task whose outcome counts: it is not handed back any more."""

_IS_LOST = object()
"""The ``_aquila_end`` of a task that another consumer has taken over."""

_PATIENCE = 5.0
"""Seconds that a process which ends waits for its threads: to stop taking, and to store what they have finished."""

_PATIENCE_TO_STORE = 30.0
"""Seconds for which storing the outcome of a task is tried again."""


class TasksInHand:
    """The tasks that this process has of one Huey and its storage.

    A task that was taken carries ``_aquila_message``, its message, and with ``keep_running`` its ``_aquila_copy``.
    ``kept`` has these copies; it is None without.
    """

    # Every task passes here, so no lock is taken where only one thread changes a value. It sets the value first, and
    # looks then whether another thread waits for it, so that none waits in vain.

    def __init__(self, huey: Any) -> None:
        self.storage = huey.storage
        self._huey = huey
        self._process = _process[0]
        self._keeps = huey.keep_running
        # Guards how a task ends, and is held by whoever waits.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._taken: dict[int, Task] = {}
        """By identity: for Huey two are equal that are the same job, and a retry may be taken before its first ends."""
        self._taking: set[int] = set()
        self._is_closed = False
        self._refused: list[Task] = []
        """Tasks without a copy that the storage did not take back: they are due again."""
        copies = copies_of(huey) if self._keeps else None
        self.kept = None if copies is None else KeptCopies(huey, copies, self)

    def is_of(self, huey: Any) -> bool:
        """Whether this belongs to a Huey as it is now, and to this process."""
        return huey is self._huey and huey.keep_running is self._keeps and self._process == _process[0]

    @property
    def has_any(self) -> bool:
        """Whether anything is in hand, or about to be."""
        return bool(self._taken or self._taking)

    def look(self) -> tuple[list[Task], frozenset[int]]:
        """Return the tasks that are in hand, and a number for each who takes one now."""
        with self._lock:
            return list(self._taken.values()), frozenset(self._taking)

    # Taking

    def take_next(self) -> Task | None:
        """Take the next task out of the queue. What cannot be read becomes a dead letter, and the next is taken."""
        if self._refused and multiprocessing.parent_process() is not None:
            self._store_refused(again=True)  # Who reads the schedule is another process, and knows nothing of them.
        while True:
            taker, flag = next(_takers), stop_flag.get()
            task = copy = None
            self._taking.add(taker)
            try:
                if self._is_closed or (flag is not None and flag.is_set()):
                    return None
                if self.kept is None:
                    data = self.storage.dequeue()
                else:
                    copy = self.kept.take_next()
                    data = None if copy is None else copy.data
                if data is None:
                    return None
                if type(data) is not bytes:
                    data = bytes(data)
                if self._is_closed or (
                    flag is not None and flag.is_set()
                ):  # While this waited for a message, the worker was told to stop.
                    self.put_back(data, copy)
                    return None
                task = self._read(data, copy)
                if task is not None:
                    return task
            finally:
                if task is not None:
                    self._taken[id(task)] = task
                self._taking.discard(taker)
                if self._is_closed:
                    self._say_changed()

    def take_due(self, moment: Any) -> list[Task]:
        """Take the tasks that are due out of the schedule."""
        taker, flag = next(_takers), stop_flag.get()
        self._taking.add(taker)
        try:
            if self._is_closed or (flag is not None and flag.is_set()):
                return []
            copies: Sequence[Copy | None]
            if self.kept is not None:
                copies = self.kept.take_due(moment)
                messages = [copy.data for copy in copies if copy is not None]
            else:
                messages = [bytes(data) for data in self.storage.read_schedule(moment)]
                copies = [None] * len(messages)
            found = [self._read_or_leave(data, copy) for data, copy in zip(messages, copies, strict=True)]
            with self._lock:
                again, self._refused = self._refused, []
            due = [*again, *(task for task in found if task is not None)]
            self._taken.update({id(task): task for task in due})
            return due
        finally:
            self._taking.discard(taker)
            if self._is_closed:
                self._say_changed()

    def _say_changed(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _read_or_leave(self, data: bytes, copy: Copy | None) -> Task | None:
        """Read one message of several: the others are out of the schedule too, and must not be lost with it."""
        with contextlib.suppress(Exception):  # It was said.
            return self._read(data, copy)
        return None

    def _read(self, data: bytes, copy: Copy | None) -> Task | None:
        try:
            task: Task = self._huey.deserialize_task(data)
        except Exception as error:  # noqa: BLE001 -- whatever a serializer raises
            bury_unreadable(self._huey, data, error, lambda priority: self.put_back(data, copy, priority))
            if copy is not None and self.kept is not None:
                self.kept.storage.forget(copy)
            self._huey.report_unreadable(error)
            return None
        task._aquila_copy, task._aquila_in_hand = copy, self
        return task

    def put_back(self, data: bytes, copy: Copy | None, priority: float | None = None) -> bool:
        """Enqueue a message that was taken. Returns False where another consumer has taken it over."""
        if priority is None and self.storage.priority:
            with contextlib.suppress(Exception):  # A message that nobody can read has no priority.
                priority = self._huey.deserialize_task(data).priority
        if copy is not None and self.kept is not None:
            try:
                return self.kept.storage.move_to_queue(copy, data, priority)
            except CopyBeingMoved:
                return False
        self.storage.enqueue(data, priority)
        return True

    # Letting go

    def may_end(self, task: Task) -> bool:
        """Say whether the outcome of a task's code counts. It does not where the task was handed back meanwhile, or
        another consumer has taken it over. From now on it is not handed back.
        """
        # In one step: of two threads one is the first.
        if task.__dict__.setdefault("_aquila_end", _HAS_ENDED) is not _HAS_ENDED:
            return False
        if self.kept is None:
            return True
        copy = getattr(task, "_aquila_copy", None)
        if copy is None or self.kept.is_ours(copy):
            return True
        task._aquila_end = _IS_LOST
        return False

    def let_go(self, task: Task) -> None:
        """Forget a task whose execution is over, in whatever way, unless it waits to be handed back."""
        if task.__dict__.get("_aquila_interrupted"):
            return
        self._taken.pop(id(task), None)
        if self._is_closed:
            self._say_changed()
        if self.kept is not None and (copy := _take_copy(task)) is not None:
            self.kept.let_go(copy)

    def drop(self, task: Task, error: BaseException) -> None:
        """Let go of a task whose outcome could not be stored. With a copy it is delivered again."""
        if isinstance(error, NotSerializable):  # To execute it again would not help.
            return
        if getattr(task, "_aquila_interrupted", False):
            return
        if isinstance(error, KeyboardInterrupt) and id(task) in self._taken and "_aquila_end" not in task.__dict__:
            self.interrupt(task)  # Its code has not begun, or did not end.
            return
        self._discard(task)
        if self.kept is not None and (copy := _take_copy(task)) is not None:
            self.kept.drop(task, copy)

    def holds(self, task: Task) -> bool:
        """Whether a task was taken here and has not been let go."""
        return getattr(task, "_aquila_copy", None) is not None or id(task) in self._taken

    def move_to_queue(self, task: Task, data: bytes) -> None:
        """Enqueue the message of a task, a retry say, in the place of its copy."""
        kept, copy = self.kept, task._aquila_copy

        def move() -> bool:
            if copy is None or kept is None:
                self.storage.enqueue(data, task.priority)
                return True
            return kept.storage.move_to_queue(copy, data, task.priority)

        self._move(task, move)

    def move_to_schedule(self, task: Task, data: bytes, eta: Any) -> None:
        """Schedule the message of a task in the place of its copy."""
        kept, copy = self.kept, task._aquila_copy

        def move() -> bool:
            if copy is None or kept is None:
                self.storage.add_to_schedule(data, eta)
                return True
            return kept.storage.move_to_schedule(copy, data, eta)

        self._move(task, move)

    def _move(self, task: Task, move: Callable[[], bool]) -> None:
        try:
            was_ours = ask_until_answered(move, patience=_PATIENCE_TO_STORE)
        except BaseException:
            if task._aquila_copy is None:
                with self._lock:
                    self._refused.append(task)
            else:  # Nobody has it any more: `KeptCopies` finds its copy.
                self._discard(task)
            raise
        self._say_if_lost(task, was_ours)
        task._aquila_copy = None
        self._discard(task)

    def move_to_results(self, task: Task, value: bytes) -> None:
        """Store the result of a task in the place of its copy."""
        copy = task._aquila_copy
        if self.kept is not None:
            self._say_if_lost(task, self.kept.storage.move_to_results(copy, task.id, value))
        task._aquila_copy = None

    def _discard(self, task: Task) -> None:
        """Have a task in hand no more."""
        self._taken.pop(id(task), None)
        if self._is_closed:
            self._say_changed()

    def _say_if_lost(self, task: Task, was_ours: bool) -> None:
        if not was_ours:
            logger.warning(
                "task %s was taken over by another consumer while it executed here: its outcome here is not stored",
                task.id,
            )

    # Handing back

    def hand_back_struck(self, task: Task) -> None:
        """Hand back a task whose execution Huey has broken off: nothing of it is stored, though its code has ended."""
        about = task.__dict__
        del about["_aquila_struck"]
        end = about.get("_aquila_end")
        if end is _HAS_ENDED:
            del about["_aquila_end"]
        if end is not _IS_LOST:
            self.interrupt(task)

    def interrupt(self, task: Task) -> None:
        """Hand back a task whose worker must end: at once, or when the process has stopped taking tasks."""
        flag = stop_flag.get()
        is_fork = multiprocessing.parent_process() is not None
        if flag is not None and flag.is_set() and not is_fork and id(task) in self._taken:
            task._aquila_interrupted = True  # Other workers of this process may still take tasks. See `stop_taking`.
            return
        if is_fork and isinstance(self.storage, BaseSqlStorage):
            self.storage.close()  # The interrupt may have struck within a transaction.
        self._hand_back(task)

    def stop_taking(self) -> None:
        """Take no more, because the process ends. Waits for the threads that wait for a message."""
        with self._changed:
            self._is_closed = True
            self._wait_until(lambda: not self._taking)

    def hand_back_rest(self) -> None:
        """Hand back what is left after ``stop_taking``, and wait until what has ended is stored."""
        self._store_refused()
        left = [task for task in self.look()[0] if getattr(task, "_aquila_end", None) is not _HAS_ENDED]
        for task in left:
            task._aquila_interrupted = False
            self._hand_back(task)
        with self._changed:
            self._wait_until(lambda: not self._taken)
        self._store_refused()  # What has ended may have been refused meanwhile.
        if self.kept is not None:
            self.kept.end_life()
        with self._changed:
            self._is_closed = False

    def leave_fork(self, *, with_life: bool = False) -> None:
        """Hand back what the storage has refused, where a forked worker or scheduler ends: its consumer cannot.

        ``with_life``: it has no hook that ends its life as a consumer, as workers have.
        """
        if multiprocessing.parent_process() is not None:
            self._store_refused()
            if with_life and self.kept is not None:
                with contextlib.suppress(Exception):  # The storage is away: others find what is left.
                    self.kept.end_life()

    def _store_refused(self, *, again: bool = False) -> None:
        """Ask the storage once more to take what it has refused: nobody reads the schedule here any more.

        ``again``: what it refuses still is kept for the next time. Otherwise it is lost, and that is said.
        """
        with self._lock:
            refused, self._refused = self._refused, []
        for task in refused:
            self._taken.pop(id(task), None)
            try:
                data = self._huey.serialize_task(task)
                if self._huey.ready_to_run(task):
                    self.storage.enqueue(data, task.priority)
                else:
                    self.storage.add_to_schedule(data, task.eta)
            except Exception:
                if again:
                    with self._lock:
                        self._refused.append(task)
                else:
                    logger.exception("task %s is due again and could not be enqueued", task.id)

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not condition() and (left := deadline - time.monotonic()) > 0:
            self._changed.wait(left)

    def _hand_back(self, task: Task) -> None:
        data = getattr(task, "_aquila_message", None)
        handing_back = object()
        if data is None or task.__dict__.setdefault("_aquila_end", handing_back) is not handing_back:
            return
        self._taken.pop(id(task), None)
        copy = _take_copy(task)
        try:
            again = self._huey.deserialize_task(data)  # Its arguments are as they were sent.
            again._aquila_deliveries = getattr(again, "_aquila_deliveries", 0) + 1
            requeue_claim(self._huey, again)
            self._huey._emit(SIGNAL_ENQUEUED, again)  # As Huey does, before it is.
            if self.put_back(self._huey.serialize_task(again), copy, task.priority):
                logger.warning("task %s was interrupted and is enqueued again", task.id)
        except Exception:
            logger.exception("task %s was interrupted and could not be enqueued again", task.id)


def _take_copy(task: Task) -> Copy | None:
    copy: Copy | None = getattr(task, "_aquila_copy", None)
    task._aquila_copy = None
    return copy
