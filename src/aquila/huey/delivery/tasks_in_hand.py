"""What this process has taken out of a queue and not finished: it takes, it lets go, and it hands back."""

from __future__ import annotations

import contextlib
import itertools
import logging
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from huey.api import Task
from huey.signals import SIGNAL_ENQUEUED
from huey.storage import BaseSqlStorage, MemoryStorage

from aquila.errors import NotSerializable
from aquila.huey.delivery import rescuer
from aquila.huey.delivery.burying import bury_unreadable
from aquila.huey.delivery.choosing_copies import copies_of
from aquila.huey.delivery.consumer_life import ConsumerLife
from aquila.huey.delivery.running_copies import Copy, RunningCopies
from aquila.huey.limits.unique_jobs import requeue_claim
from aquila.huey.progress.storage_patience import ask_until_answered
from aquila.huey.state import state_of

logger = logging.getLogger("huey.aquila")

stop_flag: ContextVar[Any] = ContextVar("aquila_stop_flag", default=None)
"""The flag that stops the worker of this thread, greenlet or process. Set where the worker begins."""

_takers = itertools.count()
"""A number for each time that somebody takes."""

_PATIENCE = 5.0
"""Seconds that a process which ends waits for its threads: to stop taking, and to store what they have finished."""

_PATIENCE_TO_STORE = 30.0
"""Seconds for which the storage is asked again to take what became of a task."""


class TasksInHand:
    """The tasks that this process has of one Huey and its storage.

    A task that was taken carries ``_aquila_message``, its message, and with ``keep_running`` its ``_aquila_copy``.
    """

    def __init__(self, huey: Any) -> None:
        self.storage = huey.storage
        self._huey = huey
        self._process = os.getpid()
        self._keeps = huey.keep_running
        self.copies: RunningCopies | None = None
        self._life: ConsumerLife | None = None
        if self._keeps and not isinstance(self.storage, MemoryStorage):
            self.copies = copies_of(huey)
            self._life = ConsumerLife(state_of(huey), self._look_around, huey.lost_after)
        # Guards what follows. Its lock is taken by itself where nobody waits: that is part of every task's time.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._taken: dict[int, Task] = {}
        """By identity: for Huey two are equal that are the same job, and a retry may be taken before its first ends."""
        self._taking: set[int] = set()
        self._is_closed = False
        self._workers = 0
        self._finished: deque[Copy] = deque()
        """Copies of tasks that have ended, to be forgotten when the next task is taken: it saves a round trip."""
        self._dropped: deque[Copy] = deque()
        """Copies of tasks of which could not be stored what became of them: they are delivered again."""
        self._refused: list[Task] = []
        """Tasks without a copy that the storage did not take back: they are due again."""
        self._unclaimed: dict[Copy, frozenset[int]] = {}
        """Copies that no worker has, as seen last, and who was about to take one then."""

    def is_of(self, huey: Any) -> bool:
        """Whether this belongs to a Huey as it is now, and to this process."""
        return huey is self._huey and huey.keep_running is self._keeps and os.getpid() == self._process

    # Taking

    def take_next(self) -> Task | None:
        """Take the next task out of the queue. What cannot be read becomes a dead letter, and the next is taken."""
        while True:
            with self._open_hand() as hand:
                if hand is None:
                    return None
                data, copy = self._take_message()
                if data is None:
                    return None
                if self._must_stop():  # While this waited for a message, the worker was told to stop.
                    self._put_back(data, copy)
                    return None
                task = self._read(data, copy)
                if task is not None:
                    hand.append(task)
                    return task

    def take_due(self, moment: Any) -> list[Task]:
        """Take the tasks that are due out of the schedule."""
        with self._open_hand() as hand:
            if hand is None:
                return []
            copies: Sequence[Copy | None]
            if self._life is not None and self.copies is not None:
                self._life.ensure_beating()
                copies = self.copies.take_due(self._life.id, moment)
                messages = [copy.data for copy in copies if copy is not None]
            else:
                messages = [bytes(data) for data in self.storage.read_schedule(moment)]
                copies = [None] * len(messages)
            found = [self._read(data, copy) for data, copy in zip(messages, copies, strict=True)]
            with self._lock:
                again, self._refused = self._refused, []
            hand += [*again, *(task for task in found if task is not None)]
            return list(hand)

    def _open_hand(self) -> _OpenHand:
        """Return what yields a list for what is taken, or None where nothing may be taken any more."""
        return _OpenHand(self)

    def _must_stop(self) -> bool:
        flag = stop_flag.get()
        return self._is_closed or (flag is not None and flag.is_set())

    def _take_message(self) -> tuple[bytes | None, Copy | None]:
        if self._life is None or self.copies is None:
            data = self.storage.dequeue()
            return (None if data is None else bytes(data)), None
        self._life.ensure_beating()
        finished = self._pop_finished()
        try:
            copy = self.copies.take(self._life.id, finished)
        except BaseException:
            self._finished.extend(finished)
            raise
        return (None, None) if copy is None else (copy.data, copy)

    def _read(self, data: bytes, copy: Copy | None) -> Task | None:
        try:
            task: Task = self._huey.deserialize_task(data)
        except Exception as error:  # noqa: BLE001 -- whatever a serializer raises
            bury_unreadable(self._huey, data, error)
            if copy is not None and self.copies is not None:
                self.copies.forget(copy)
            self._huey.report_unreadable(error)
            return None
        task._aquila_copy = copy
        return task

    def _put_back(self, data: bytes, copy: Copy | None, priority: float | None = None) -> bool:
        """Enqueue a message that was taken. Returns False where another consumer has taken it over."""
        if priority is None and self.storage.priority:
            with contextlib.suppress(Exception):  # A message that nobody can read has no priority.
                priority = self._huey.deserialize_task(data).priority
        if copy is not None and self.copies is not None:
            return self.copies.move_to_queue(copy, data, priority)
        self.storage.enqueue(data, priority)
        return True

    # Letting go

    def may_end(self, task: Task) -> bool:
        """Say whether what the code of a task has returned or raised counts.

        It does not where the task was handed back meanwhile, or another consumer has taken it over. From now on it is
        not handed back.
        """
        with self._lock:
            if getattr(task, "_aquila_handed_back", False):
                return False
            task._aquila_has_ended = True
        copy = getattr(task, "_aquila_copy", None)
        if copy is None or self._life is None or self.copies is None or not self._life.may_be_given_up:
            return True
        copies = self.copies
        try:
            return ask_until_answered(lambda: copies.has(copy), patience=_PATIENCE_TO_STORE)
        except Exception:  # noqa: BLE001 -- whatever a storage raises that is away
            return True  # An answer has arrived. Whether it counts is decided in the step that stores it.

    def let_go(self, task: Task) -> None:
        """Forget a task whose execution is over, in whatever way, unless it waits to be handed back."""
        with self._lock:
            if getattr(task, "_aquila_interrupted", False):
                return
            self._discard(task)
        copy = _take_copy(task)
        if copy is None or self.copies is None:
            return
        if self._workers:
            self._finished.append(copy)
        else:
            self.copies.forget(copy)

    def drop(self, task: Task, error: BaseException) -> None:
        """Let go of a task of which could not be stored what became of it. With a copy it is delivered again."""
        if isinstance(error, NotSerializable):  # To execute it again would not help.
            return
        with self._lock:
            if getattr(task, "_aquila_interrupted", False):
                return
            self._discard(task)
        copy = _take_copy(task)
        if copy is not None:
            self._dropped.append(copy)
            logger.warning("task %s is delivered again, because what it came to could not be stored", task.id)

    def holds(self, task: Task) -> bool:
        """Whether a task was taken here and has not been let go."""
        return getattr(task, "_aquila_copy", None) is not None or id(task) in self._taken

    def move_to_queue(self, task: Task, data: bytes) -> None:
        """Enqueue the message of a task, a retry say, in the place of its copy."""
        copies, copy = self.copies, task._aquila_copy

        def move() -> bool:
            if copy is None or copies is None:
                self.storage.enqueue(data, task.priority)
                return True
            return copies.move_to_queue(copy, data, task.priority)

        self._move(task, move)

    def move_to_schedule(self, task: Task, data: bytes, eta: Any) -> None:
        """Schedule the message of a task in the place of its copy."""
        copies, copy = self.copies, task._aquila_copy

        def move() -> bool:
            if copy is None or copies is None:
                self.storage.add_to_schedule(data, eta)
                return True
            return copies.move_to_schedule(copy, data, eta)

        self._move(task, move)

    def _move(self, task: Task, move: Callable[[], bool]) -> None:
        try:
            was_ours = ask_until_answered(move, patience=_PATIENCE_TO_STORE)
        except BaseException:
            with self._lock:
                if task._aquila_copy is None:
                    self._refused.append(task)
                else:  # Nobody has it any more: `_requeue_unclaimed` finds its copy.
                    self._discard(task)
            raise
        self._say_if_lost(task, was_ours)
        task._aquila_copy = None
        with self._lock:
            self._discard(task)

    def move_to_results(self, task: Task, value: bytes) -> None:
        """Store the result of a task in the place of its copy."""
        copy = task._aquila_copy
        if self.copies is not None:
            self._say_if_lost(task, self.copies.move_to_results(copy, task.id, value))
        task._aquila_copy = None

    def _discard(self, task: Task) -> None:
        """Have a task in hand no more. The caller holds the lock."""
        self._taken.pop(id(task), None)
        if self._is_closed:  # Otherwise nobody waits.
            self._changed.notify_all()

    def _say_if_lost(self, task: Task, was_ours: bool) -> None:
        if not was_ours:
            logger.warning(
                "task %s was taken over by another consumer while it executed here: what it came to here is not stored",
                task.id,
            )

    # Handing back

    def interrupt(self, task: Task) -> None:
        """Hand back a task whose worker must end: at once, or when the process has stopped taking tasks."""
        flag = stop_flag.get()
        is_fork = multiprocessing.parent_process() is not None
        if flag is not None and flag.is_set() and not is_fork and id(task) in self._taken:
            task._aquila_interrupted = True  # Other workers of this process may still take tasks. See `close`.
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
        with self._changed:
            left = [task for task in self._taken.values() if not getattr(task, "_aquila_has_ended", False)]
        for task in left:
            task._aquila_interrupted = False
            self._hand_back(task)
        with self._changed:
            self._wait_until(lambda: not self._taken)
        self._end_life()
        with self._changed:
            self._is_closed = False

    def _wait_until(self, condition: Any) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not condition() and (left := deadline - time.monotonic()) > 0:
            self._changed.wait(left)

    def _hand_back(self, task: Task) -> None:
        data = getattr(task, "_aquila_message", None)
        with self._changed:
            if data is None or getattr(task, "_aquila_has_ended", False) or getattr(task, "_aquila_handed_back", False):
                return
            task._aquila_handed_back = True
            self._taken.pop(id(task), None)
        copy = _take_copy(task)
        try:
            again = self._huey.deserialize_task(data)  # Its arguments are as they were sent.
            again._aquila_deliveries = getattr(again, "_aquila_deliveries", 0) + 1
            requeue_claim(self._huey, again)
            self._huey._emit(SIGNAL_ENQUEUED, again)  # As Huey does, before it is.
            if self._put_back(self._huey.serialize_task(again), copy, task.priority):
                logger.warning("task %s was interrupted and is enqueued again", task.id)
        except Exception:
            logger.exception("task %s was interrupted and could not be enqueued again", task.id)

    # With keep_running: the life of this consumer

    def enter_worker(self) -> None:
        """Count a worker that begins in this process."""
        with self._changed:
            self._workers += 1

    def leave_worker(self) -> None:
        """Count a worker that ends. The last one forgets what is finished."""
        with self._changed:
            self._workers = max(0, self._workers - 1)
            is_last = not self._workers
        if is_last:
            self._end_life()

    def _end_life(self) -> None:
        if self._life is None or self.copies is None:
            return
        self.forget_finished()
        with self._changed:
            if self._taken or self._taking:
                return
        self._deliver_dropped()
        # What the storage has given and nobody got: the connection broke, or its reader was interrupted.
        for copy in self.copies.list_copies(self._life.id):
            self._put_back(copy.data, copy)
        self._life.end(forget=True)
        self._life = ConsumerLife(state_of(self._huey), self._look_around, self._huey.lost_after)

    def _look_around(self) -> None:
        rescuer.requeue_lost_tasks(self._huey)
        self._deliver_dropped()
        self._requeue_unclaimed()

    def _deliver_dropped(self) -> None:
        """Enqueue again what was dropped. Each counts as lost, so one that can never be stored is given up."""
        while self.copies is not None and self._dropped:
            try:
                copy = self._dropped.popleft()
            except IndexError:  # Another thread was faster.
                return
            try:
                rescuer.take_over(self._huey, self.copies, copy)
            except BaseException:
                self._dropped.append(copy)
                raise

    def _requeue_unclaimed(self) -> None:
        """Enqueue again what the storage has given to this consumer and none of its workers has got."""
        if self._life is None or self.copies is None:
            return
        owner = self._life.id
        with self._changed:
            copies = [task._aquila_copy for task in self._taken.values()]
            known = {copy for copy in (*copies, *self._finished, *self._dropped) if copy is not None}
            taking = frozenset(self._taking)
        if self.copies.count(owner) <= len(known):
            self._unclaimed = {}
            return
        seen_before = self._unclaimed
        found = set(self.copies.list_copies(owner, limit=1000)) - known
        self._unclaimed = {copy: seen_before.get(copy, taking) for copy in found}
        for copy, takers in self._unclaimed.items():
            # Whoever was taking when it was first seen would have it by now.
            if copy in seen_before and not takers & taking:
                logger.warning("a message that the storage gave, and no worker has got, is enqueued again")
                self._put_back(copy.data, copy)

    def forget_finished(self) -> None:
        """Remove the copies of what is finished, where no next task is taken with which they would go."""
        if self.copies is None or not self._finished:
            return
        finished = self._pop_finished()
        try:
            self.copies.forget(*finished)
        except BaseException:
            self._finished.extend(finished)
            raise

    def _pop_finished(self) -> list[Copy]:
        finished: list[Copy] = []
        with contextlib.suppress(IndexError):
            while len(finished) < 1000:
                finished.append(self._finished.popleft())
        return finished


class _OpenHand:
    """What is taken in the block is in hand at its end. A class, because a generator takes several times as long."""

    __slots__ = ("_hand", "_owner", "_taker")

    def __init__(self, owner: TasksInHand) -> None:
        self._owner = owner
        self._hand: list[Task] = []
        self._taker: int | None = None

    def __enter__(self) -> list[Task] | None:
        owner, taker = self._owner, next(_takers)
        with owner._lock:
            if owner._must_stop():
                return None
            owner._taking.add(taker)
            self._taker = taker
        return self._hand

    def __exit__(self, *exc_info: object) -> None:
        owner, taker = self._owner, self._taker
        if taker is not None:
            with owner._lock:
                owner._taken.update((id(task), task) for task in self._hand)
                owner._taking.discard(taker)
                if owner._is_closed:  # Otherwise nobody waits.
                    owner._changed.notify_all()


def _take_copy(task: Task) -> Copy | None:
    copy: Copy | None = getattr(task, "_aquila_copy", None)
    task._aquila_copy = None
    return copy
