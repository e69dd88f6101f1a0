"""The tasks that this process has taken out of a queue and not finished. It takes them and hands them back."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from huey.api import Task
from huey.storage import BaseSqlStorage

from aquila.errors import NotSerializable
from aquila.huey.delivery.burying import bury_unreadable
from aquila.huey.delivery.choosing_copies import copies_of
from aquila.huey.delivery.handing_back import RefusedTasks, enqueue_interrupted
from aquila.huey.delivery.kept_copies import KeptCopies
from aquila.huey.delivery.running_copies import Copy, RunningCopies
from aquila.huey.progress.storage_patience import ask_until_answered
from aquila.huey.tasks.task_ends import HAS_ENDED, IS_LOST, is_lost

logger = logging.getLogger("huey.aquila")

stop_flag: ContextVar[Any] = ContextVar("aquila_stop_flag", default=None)
"""The flag that stops the worker of this thread, greenlet or process. A worker sets it when it begins, and its context
ends with it."""

_takers = itertools.count()
"""Gives each attempt to take a message a number. `next` on it is atomic."""

# A number for this process, kept in a list so that the hook can change it. A fork gets another one. Reading it is
# faster than `os.getpid()`, which is a system call, and it is read for every task.
_processes = itertools.count()
_process = [next(_processes)]
if hasattr(os, "register_at_fork"):  # Windows has none, and never forks.
    os.register_at_fork(after_in_child=lambda: _process.__setitem__(0, next(_processes)))

_PATIENCE = 5.0
"""Seconds for which a process that ends waits until its threads have stopped taking and have stored their outcomes."""

_PATIENCE_TO_STORE = 30.0
"""Seconds for which storing the outcome of a task is tried again and again."""


class TasksInHand:
    """The tasks that this process has taken from one storage of one Huey and not finished.

    A task that was taken carries its message as ``_aquila_message`` and, with ``keep_running``, its copy as
    ``_aquila_copy``. ``kept`` manages these copies; it is None without ``keep_running``.

    The storage owns this object as an attribute; ``DeliveringHuey.tasks_in_hand`` makes a new one after a fork.
    """

    # Every task passes here, so no lock is taken where only one thread changes a value; adding to a dict or a set and
    # removing from it are atomic. The thread changes the value first and looks at `_is_closed` second. The thread that
    # closes does it the other way round. So whichever is later sees the other, and nobody waits in vain.

    def __init__(self, huey: Any) -> None:
        self.storage = huey.storage
        self._huey = huey
        self._process = _process[0]
        self._keeps = huey.keep_running
        # The lock of the condition. A process that ends waits on the condition for its threads.
        # fork: a child has an object of its own, see `is_of`
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._taken: dict[int, Task] = {}
        """The tasks in hand, by identity. Huey's tasks are equal if they are the same job, and a retry may be taken
        before the first attempt has left."""
        self._taking: set[int] = set()
        """The numbers of the attempts to take a message that are under way."""
        self._is_closed = False
        """True from ``stop_taking`` to the end of ``hand_back_rest``: nobody takes then."""
        self._refused = RefusedTasks(huey)
        copies = copies_of(huey) if self._keeps else None
        self.kept = None if copies is None else KeptCopies(huey, copies, self)

    def is_of(self, huey: Any) -> bool:
        """Whether this object still fits: the same Huey and process, and ``keep_running`` as it was."""
        return huey is self._huey and huey.keep_running is self._keeps and self._process == _process[0]

    @property
    def has_any(self) -> bool:
        """Whether a task is in hand, or a message is being taken."""
        return bool(self._taken or self._taking)

    def snapshot(self) -> tuple[list[Task], frozenset[int]]:
        """Return the tasks in hand, and the numbers of the attempts to take a message that are under way."""
        with self._lock:
            return list(self._taken.values()), frozenset(self._taking)

    # Taking

    def take_next(self) -> Task | None:
        """Take the next task out of the queue. Returns None where the queue is empty, or where the worker must stop.

        A message that cannot be read becomes a dead letter, and the next message is taken.
        """
        if self._refused.tasks and multiprocessing.parent_process() is not None:
            # Where workers are processes, the scheduler is another process and knows nothing of these tasks.
            self._store_refused(again=True)
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
                if type(data) is not bytes:  # Some storages give a `memoryview`.
                    data = bytes(data)
                if self._is_closed or (flag is not None and flag.is_set()):
                    # The worker was told to stop while it waited for a message. Another consumer can execute the task
                    # at once. In this one the task would delay the end, or be interrupted.
                    self.put_back(data, copy)
                    return None
                task = self._read(data, copy)
                if task is not None:
                    return task
            finally:
                # The task enters `_taken` before its number leaves `_taking`. In the other order there would be a
                # moment at which a process that ends sees the task in neither, and loses it.
                if task is not None:
                    self._taken[id(task)] = task
                self._taking.discard(taker)
                if self._is_closed:
                    self._say_changed()

    def take_due(self, moment: Any) -> list[Task]:
        """Take the tasks that are due at ``moment``, a ``datetime``, out of the schedule.

        Tasks that the storage has refused before are among them.
        """
        taker = next(_takers)
        self._taking.add(taker)
        try:
            if self._is_closed:
                return []
            messages: list[tuple[bytes, Copy | None]]
            if self.kept is not None:
                messages = [(copy.data, copy) for copy in self.kept.take_due(moment)]
            else:
                messages = [(bytes(data), None) for data in self.storage.read_schedule(moment)]
            found = [self._read_or_leave(data, copy) for data, copy in messages]
            due = [*self._refused.take_all(), *(task for task in found if task is not None)]
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
        """Read one of several messages. An error must not stop the caller, which would lose the other messages."""
        with contextlib.suppress(Exception):  # `bury_unreadable` has logged it.
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
        """Enqueue a message that was taken. Returns False where another consumer has taken it over.

        ``priority`` is that of the message; where it is None, it is read from the message.
        """
        if priority is None and self.storage.priority:
            with contextlib.suppress(Exception):  # A message that nobody can read has no priority.
                priority = self._huey.deserialize_task(data).priority
        if copy is not None and self.kept is not None:
            return self.kept.storage.move_to_queue(copy, data, priority)
        self.storage.enqueue(data, priority)
        return True

    # Letting go

    def may_end(self, task: Task) -> bool:
        """Say whether the outcome of a task's code counts. After True the task is not handed back any more.

        It does not count where the task was handed back meanwhile, or another consumer has taken it over.
        """
        # `setdefault` is atomic. Of the worker that ends the task and a thread that hands it back, the first one wins.
        if task.__dict__.setdefault("_aquila_end", HAS_ENDED) is not HAS_ENDED:
            return False
        if self.kept is None:
            return True
        copy = getattr(task, "_aquila_copy", None)
        if copy is None or self.kept.is_ours(copy):
            return True
        self._set_lost(task)
        return False

    def note_lost(self, task: Task, copy: Copy) -> None:
        """Note that another consumer has taken over a task while its code executes here, unless it has ended.

        ``copy`` is its copy, which is gone. Nothing is noted where this process has removed it, or may have.
        """
        if task._aquila_copy is not copy or "_aquila_moving" in task.__dict__:
            return
        if task.__dict__.setdefault("_aquila_end", IS_LOST) is IS_LOST:
            self._set_lost(task)

    def let_go(self, task: Task) -> None:
        """Remove a task from those in hand, and remove its copy: its execution is over, in whatever way.

        Does nothing for a task that waits to be handed back.
        """
        if getattr(task, "_aquila_interrupted", False):
            return
        # As `_discard`, without one more call for every task.
        self._taken.pop(id(task), None)
        if self._is_closed:
            self._say_changed()
        if self.kept is not None and (copy := _take_copy(task)) is not None:
            self.kept.let_go(copy)

    def handle_execution_error(self, task: Task, error: BaseException) -> None:
        """Do what is needed where ``error`` has left the execution of a task: nobody may have stored its outcome.

        A task that an interrupt from outside has broken off is handed back. Any other task is no longer in hand, and is
        delivered again if it has a copy. One whose outcome cannot be serialized is left to ``let_go``.
        """
        if isinstance(error, NotSerializable):  # Executing it again would end in the same way.
            return
        if getattr(task, "_aquila_interrupted", False):
            return
        if isinstance(error, KeyboardInterrupt) and id(task) in self._taken and "_aquila_end" not in task.__dict__:
            # The interrupt came from outside, before the code of the task had ended: it is handed back.
            self.interrupt(task)
            return
        self._discard(task)
        if self.kept is not None and (copy := _take_copy(task)) is not None:
            self.kept.drop(task, copy)

    def holds(self, task: Task) -> bool:
        """Whether a task was taken here and is still in hand."""
        return getattr(task, "_aquila_copy", None) is not None or id(task) in self._taken

    def move_to_queue(self, task: Task, data: bytes, priority: float | None) -> None:
        """Enqueue a message, for example that of a task's retry, in the place of the task's copy."""
        enqueue = functools.partial(self.storage.enqueue, data, priority)
        self._move(task, enqueue, lambda copies, copy: copies.move_to_queue(copy, data, priority))

    def move_to_schedule(self, task: Task, data: bytes, eta: Any) -> None:
        """Schedule the message of a task for ``eta``, a ``datetime``, in the place of its copy."""
        schedule = functools.partial(self.storage.add_to_schedule, data, eta)
        self._move(task, schedule, lambda copies, copy: copies.move_to_schedule(copy, data, eta))

    def _move(self, task: Task, put: Callable[[], object], replace: Callable[[RunningCopies, Copy], bool]) -> None:
        """Call ``replace`` for a task that has a copy, and ``put`` for another one; then it is not in hand any more."""
        kept, copy = self.kept, task._aquila_copy

        def move() -> bool:
            if copy is None or kept is None:
                put()
                return True
            return self._replace(task, lambda: replace(kept.storage, copy))

        task._aquila_moving = True  # Its copy is removed before this process knows: see `note_lost`.
        try:
            was_ours = ask_until_answered(move, patience=_PATIENCE_TO_STORE)
        except BaseException:
            if task._aquila_copy is None:
                self._refused.add(task)
            else:
                self._discard(task)  # `KeptCopies` finds that no worker has the copy, and enqueues the copy.
            raise
        if not was_ours:
            self._set_lost(task)
        task._aquila_copy = None
        self._discard(task)

    def move_to_results(self, task: Task, value: bytes) -> None:
        """Store the result of a task in the place of its copy."""
        kept, copy = self.kept, task._aquila_copy
        if kept is not None and not self._replace(task, lambda: kept.storage.move_to_results(copy, task.id, value)):
            self._set_lost(task)
        task._aquila_copy = None

    def _replace(self, task: Task, move: Callable[[], bool]) -> bool:
        """Call ``move``, which stores the outcome of a task in the place of its copy, and say whether it is stored.

        If the connection broke at an earlier call, the storage may have done it all the same. So where the copy is gone
        now, and nobody else can have taken it, the outcome is stored.
        """
        try:
            if move():
                return True
        except Exception:
            task._aquila_unanswered = True
            raise
        kept = self.kept
        return (
            kept is not None
            and getattr(task, "_aquila_unanswered", False)
            and not kept.may_be_taken_over(task._aquila_copy)
        )

    def _discard(self, task: Task) -> None:
        """Remove a task from those in hand."""
        self._taken.pop(id(task), None)
        if self._is_closed:
            self._say_changed()

    def _set_lost(self, task: Task) -> None:
        task._aquila_end = IS_LOST
        logger.warning(
            "task %s was taken over by another consumer while it executed here: its outcome here is not stored", task.id
        )

    # Handing back

    def hand_back_struck(self, task: Task) -> None:
        """Hand back a task that an interrupt struck after the code of the task had ended.

        Huey has stored no result of it, so ``may_end`` must not keep it from being handed back.
        """
        about = task.__dict__
        del about["_aquila_struck"]
        end = about.get("_aquila_end")
        if end is HAS_ENDED:
            del about["_aquila_end"]
        if end is not IS_LOST:
            self.interrupt(task)

    def interrupt(self, task: Task) -> None:
        """Hand back a task whose worker must end: at once, or when the process has stopped taking tasks."""
        flag = stop_flag.get()
        is_fork = multiprocessing.parent_process() is not None
        must_wait = flag is not None and flag.is_set() and not is_fork and id(task) in self._taken
        if (is_fork or must_wait) and isinstance(self.storage, BaseSqlStorage):
            # The interrupt may have struck within a transaction, of which the next statements would become a part.
            self.storage.close()
        if must_wait:
            # Not now: another worker of this process might take the task again. `hand_back_rest` clears the mark.
            task._aquila_interrupted = True
            return
        self._hand_back(task)

    def stop_taking(self) -> None:
        """Take no more messages: the process ends. Waits up to ``_PATIENCE`` seconds for threads that take one."""
        with self._changed:
            self._is_closed = True
            self._wait_until(lambda: not self._taking)

    def hand_back_rest(self) -> None:
        """Hand back the tasks that are left after ``stop_taking``. Waits until the outcomes of others are stored."""
        try:
            self._store_refused()
            left = [task for task in self.snapshot()[0] if getattr(task, "_aquila_end", None) is not HAS_ENDED]
            for task in left:
                task._aquila_interrupted = False
                if is_lost(task):
                    self._discard(task)  # Nobody waits for its code, whose outcome does not count.
                else:
                    self._hand_back(task)
            with self._changed:
                self._wait_until(lambda: not self._taken)
            self._store_refused()  # Once more: the storage may have refused the retry of a task that has just ended.
            if self.kept is not None:
                self.kept.end_life()
        finally:
            # Open again: a program may run another consumer in the same process.
            with self._changed:
                self._is_closed = False

    def leave_fork(self, *, with_life: bool = False) -> None:
        """Enqueue the tasks that the storage has refused, where a forked worker or scheduler ends.

        The process of the consumer does not know these tasks. ``with_life`` also ends the fork's life as a consumer. A
        worker has a hook of Huey for that, a scheduler has none.
        """
        if multiprocessing.parent_process() is not None:
            self._store_refused()
            if with_life and self.kept is not None:
                with contextlib.suppress(Exception):  # The storage is away: other consumers take over what is left.
                    self.kept.end_life()

    def _store_refused(self, *, again: bool = False) -> None:
        self._refused.store(lambda task: self._taken.pop(id(task), None), again=again)

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not condition() and (left := deadline - time.monotonic()) > 0:
            self._changed.wait(left)

    def _hand_back(self, task: Task) -> None:
        data = getattr(task, "_aquila_message", None)
        # A new object for each call: `setdefault` gives it back only to the call that was the first.
        handing_back = object()
        if data is None or task.__dict__.setdefault("_aquila_end", handing_back) is not handing_back:
            return
        self._taken.pop(id(task), None)
        copy = _take_copy(task)
        enqueue_interrupted(self._huey, task, data, lambda message: self.put_back(message, copy, task.priority))


def _take_copy(task: Task) -> Copy | None:
    copy: Copy | None = getattr(task, "_aquila_copy", None)
    task._aquila_copy = None
    return copy
