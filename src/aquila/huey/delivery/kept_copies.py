"""The copies that a process with ``keep_running`` has of the tasks in its hand, and its life as a consumer."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from huey.api import Task

from aquila.huey.delivery import rescuer
from aquila.huey.delivery.consumer_life import ConsumerLife
from aquila.huey.delivery.running_copies import Copy, RunningCopies
from aquila.huey.progress.storage_patience import ask_until_answered
from aquila.huey.state import state_of

if TYPE_CHECKING:
    from aquila.huey.delivery.tasks_in_hand import TasksInHand

logger = logging.getLogger("huey.aquila")

_PATIENCE_TO_ASK = 30.0
"""Seconds for which the storage is asked again whether a copy is still this consumer's."""

_MOST_AT_ONCE = 1000


class KeptCopies:
    """The copies that one process has of the tasks of one Huey. A task carries its own as ``_aquila_copy``."""

    def __init__(self, huey: Any, copies: RunningCopies, in_hand: TasksInHand) -> None:
        self.storage = copies
        self._huey = huey
        self._in_hand = in_hand
        self._rescuer = rescuer.Rescuer(huey)
        self.life = self._begin_life()
        self._lock = threading.Lock()
        self._workers = 0
        self._finished: deque[Copy] = deque()
        """Copies of tasks that have ended, to be forgotten when the next task is taken: it saves a round trip."""
        self._dropped: deque[Copy] = deque()
        """Copies of tasks whose outcome could not be stored: they are delivered again."""
        self._unclaimed: dict[Copy, frozenset[int]] = {}
        """Copies that no worker has, as seen last, and who was about to take one then."""

    def _begin_life(self) -> ConsumerLife:
        return ConsumerLife(state_of(self._huey), self.look_around, self._huey.lost_after, self._describe_worker)

    def _describe_worker(self) -> dict[str, Any]:
        publisher = self._huey.publisher
        return {} if publisher is None else publisher.store.describe_consumer(self._in_hand.storage)

    # Taking, and letting go

    def take_next(self) -> Copy | None:
        """Take the next message out of the queue. What is finished is forgotten in the same step."""
        self.life.ensure_beating()
        copy: Copy | None = self._with_finished(lambda finished: self.storage.take(self.life.id, finished))
        return copy

    def take_due(self, moment: Any) -> list[Copy]:
        """Take the messages that are due out of the schedule."""
        self.life.ensure_beating()
        return self.storage.take_due(self.life.id, moment)

    def is_ours(self, copy: Copy) -> bool:
        """Whether a task may end here: no other consumer has taken it over. Asks only where one may have."""
        if not self.life.may_be_given_up:
            return True
        try:
            return ask_until_answered(lambda: self.storage.has(copy), patience=_PATIENCE_TO_ASK)
        except Exception:  # noqa: BLE001 -- whatever a storage raises that is away
            return True  # An answer has arrived. Whether it counts is decided in the step that stores it.

    def let_go(self, copy: Copy) -> None:
        """Forget a copy, at once or with the next message that is taken."""
        if self._workers:
            self._finished.append(copy)
        else:
            self.storage.forget(copy)

    def drop(self, task: Task, copy: Copy) -> None:
        """Have a task delivered again."""
        self._dropped.append(copy)
        logger.warning("task %s is delivered again, because its outcome could not be stored", task.id)

    def forget_finished(self) -> None:
        """Remove the copies of what is finished, where no next task is taken with which they would go."""
        if self._finished:
            self._with_finished(lambda finished: self.storage.forget(*finished))

    def _with_finished(self, use: Callable[[list[Copy]], Any]) -> Any:
        finished: list[Copy] = []
        with contextlib.suppress(IndexError):
            while len(finished) < _MOST_AT_ONCE:
                finished.append(self._finished.popleft())
        try:
            return use(finished)
        except BaseException:
            self._finished.extend(finished)
            raise

    # The life of this consumer

    def enter_worker(self) -> None:
        """Count a worker that begins in this process."""
        with self._lock:
            self._workers += 1

    def leave_worker(self) -> None:
        """Count a worker that ends. The last one forgets what is finished."""
        with self._lock:
            self._workers = max(0, self._workers - 1)
            is_last = not self._workers
        if is_last:
            self.end_life()

    def end_life(self) -> None:
        """End the life of this consumer where nothing is in hand. Another begins if a task is taken again."""
        self.forget_finished()
        if self._in_hand.has_any:
            return
        self._deliver_dropped()
        # What the storage has given and nobody got: the connection broke, or its reader was interrupted.
        for copy in self.storage.list_copies(self.life.id):
            self._in_hand.put_back(copy.data, copy)
        self.life.end(forget=True)
        self.life = self._begin_life()

    def look_around(self) -> None:
        """Rescue what is lost, between two heartbeats."""
        self._rescuer.look()
        self._deliver_dropped()
        self._requeue_unclaimed()

    def _deliver_dropped(self) -> None:
        """Enqueue again what was dropped. Each counts as lost, so one that can never be stored is given up."""
        while self._dropped:
            try:
                copy = self._dropped.popleft()
            except IndexError:  # Another thread was faster.
                return
            try:
                rescuer.take_over(self._huey, self.storage, copy)
            except BaseException:
                self._dropped.append(copy)
                raise

    def _requeue_unclaimed(self) -> None:
        """Enqueue again what the storage has given to this consumer and none of its workers has got."""
        owner = self.life.id
        taken, taking = self._in_hand.look()
        copies = [task._aquila_copy for task in taken]
        known = {copy for copy in (*copies, *self._finished, *self._dropped) if copy is not None}
        if self.storage.count(owner) <= len(known):
            self._unclaimed = {}
            return
        seen_before = self._unclaimed
        found = set(self.storage.list_copies(owner, limit=_MOST_AT_ONCE)) - known
        self._unclaimed = {copy: seen_before.get(copy, taking) for copy in found}
        for copy, takers in self._unclaimed.items():
            # Whoever was taking when it was first seen would have it by now.
            if copy in seen_before and not takers & taking:
                logger.warning("a message that the storage gave, and no worker has got, is enqueued again")
                self._in_hand.put_back(copy.data, copy)
