"""The copies that a process with ``keep_running`` has of its tasks in hand, and its life as a consumer."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from huey.api import Task

from aquila.huey.delivery import rescuer
from aquila.huey.delivery.consumer_heartbeats import ConsumerLife
from aquila.huey.delivery.running_copies import Copy, RunningCopies
from aquila.huey.progress.storage_patience import ask_until_answered
from aquila.huey.state import state_of
from aquila.huey.tasks.task_ends import is_lost

if TYPE_CHECKING:
    from aquila.huey.delivery.tasks_in_hand import TasksInHand

logger = logging.getLogger("huey.aquila")

_PATIENCE_TO_ASK = 30.0
"""Seconds for which the storage is asked again, where it does not answer, whether a copy is still this consumer's."""

_MOST_AT_ONCE = 1000  # Copies in one request to the storage: nobody else waits for long.


class KeptCopies:
    """The copies that one process has of the tasks of one Huey. Each task carries its own copy as ``_aquila_copy``.

    Owned by the ``TasksInHand`` of the process. Worker threads, the scheduler and the thread of the heartbeat use it.
    """

    # No lock around the deques: `append` and `popleft` are atomic. Several threads may take from them.

    def __init__(self, huey: Any, copies: RunningCopies, in_hand: TasksInHand) -> None:
        self.storage = copies
        self._huey = huey
        self._in_hand = in_hand
        self._pauses = 0  # How often this process was silent for so long that others may have taken it for dead.
        self._doubtful: set[Copy] = set()
        """Copies of tasks that were in hand during such a pause: another consumer may have taken them over."""
        self._rescuer = rescuer.Rescuer(huey)
        self.life = self._begin_life()
        # fork: a child has an object of its own, see `TasksInHand`
        self._lock = threading.Lock()  # Guards `_workers`.
        self._workers = 0  # Workers of this process that have begun and not ended.
        self._finished: deque[Copy] = deque()
        """Copies of tasks that have ended. They are removed together with taking the next task, in one round trip."""
        self._dropped: deque[Copy] = deque()
        """Copies of tasks whose outcome could not be stored. The next ``look_around`` enqueues them again."""
        self._unclaimed: dict[Copy, frozenset[int]] = {}
        """Copies that no worker has, each with the numbers of the attempts to take a message that were under way when
        the copy was first seen. Only the thread of the heartbeat uses this dict, and replaces it at each look."""

    def _begin_life(self) -> ConsumerLife:
        return ConsumerLife(state_of(self._huey), self.look_around, self._huey.lost_after, self._note_pause)

    def _note_pause(self) -> None:
        self._pauses += 1
        self._doubtful.update(self._copies_of_taken())

    def _copies_of_taken(self) -> list[Copy]:
        return [copy for task in self._in_hand.snapshot()[0] if (copy := task._aquila_copy) is not None]

    # Taking, and letting go

    def take_next(self) -> Copy | None:
        """Take the next message out of the queue, or return None. Finished copies are removed in the same step."""
        self.life.ensure_beating()
        pauses = self._pauses
        copy: Copy | None = self._with_finished(lambda finished: self.storage.take(self.life.id, finished))
        if copy is not None and (pauses != self._pauses or self.life.may_be_given_up):
            # The process was suspended between the step that took the message and this one.
            if not self._is_still_here(copy):
                logger.warning("a message was taken over by another consumer before a task of this one began")
                return None
            self._doubtful.add(copy)  # The other consumer may just be taking it.
        return copy

    def take_due(self, moment: Any) -> list[Copy]:
        """Take the messages that are due at ``moment``, a ``datetime``, out of the schedule."""
        self.life.ensure_beating()
        return self.storage.take_due(self.life.id, moment)

    def is_ours(self, copy: Copy) -> bool:
        """Whether the task of a copy may end here, because no other consumer has taken it over.

        The storage is asked only where another consumer may have taken this one for dead.
        """
        if not self.may_be_taken_over(copy):
            return True
        self._doubtful.discard(copy)
        return self._is_still_here(copy)

    def may_be_taken_over(self, copy: Copy) -> bool:
        """Whether another consumer may have taken over a copy: this one was silent while it had the copy."""
        return copy in self._doubtful or self.life.may_be_given_up

    def _is_still_here(self, copy: Copy) -> bool:
        try:
            return ask_until_answered(lambda: self.storage.has(copy), patience=_PATIENCE_TO_ASK)
        except Exception:  # noqa: BLE001 -- whatever a storage raises that is away
            # The task has its outcome, which must not be thrown away because of a guess. The step that stores it
            # replaces the copy, and does nothing where another consumer has the copy.
            return True

    def let_go(self, copy: Copy) -> None:
        """Remove a copy, at once or together with taking the next message."""
        # Without workers, as in a test that executes tasks by hand, there may be no next message.
        if self._workers:
            self._finished.append(copy)
        else:
            self.storage.forget(copy)

    def drop(self, task: Task, copy: Copy) -> None:
        """Note that a task must be delivered again."""
        self._dropped.append(copy)
        logger.warning("task %s is delivered again, because its outcome could not be stored", task.id)

    def forget_finished(self) -> None:
        """Remove the finished copies now, where no next message is taken: the queue is paused, or the process ends."""
        if self._finished:
            self._with_finished(lambda finished: self.storage.forget(*finished))

    def _with_finished(self, use: Callable[[list[Copy]], Any]) -> Any:
        finished: list[Copy] = []
        with contextlib.suppress(IndexError):  # The deque is empty, or another thread has emptied it.
            while len(finished) < _MOST_AT_ONCE:
                finished.append(self._finished.popleft())
        try:
            return use(finished)
        except BaseException:
            # A copy that was neither removed nor listed here would be enqueued again, although its task has ended.
            self._finished.extend(finished)
            raise

    # The life of this consumer

    def enter_worker(self) -> None:
        """Count a worker that begins in this process."""
        with self._lock:
            self._workers += 1

    def leave_worker(self) -> None:
        """Count a worker that ends. The last one ends the life of this consumer."""
        with self._lock:
            self._workers = max(0, self._workers - 1)
            is_last = not self._workers
        if is_last:
            self.end_life()

    def end_life(self) -> None:
        """End the life of this consumer, unless a task is in hand. Another life begins when a task is taken again."""
        self.forget_finished()
        if self._in_hand.has_any:
            return
        self._deliver_dropped()
        # Messages that the storage has moved to this consumer and that no worker has received: the connection broke,
        # or the reader was interrupted.
        owner = self.life.id
        for copy in self.storage.list_copies(owner, limit=_MOST_AT_ONCE):
            self._in_hand.put_back(copy.data, copy)
        # Where a copy is left, the entry of this consumer stays: other consumers find the copy by it.
        self.life.end(forget=not self.storage.count(owner))
        self.life = self._begin_life()

    def look_around(self) -> None:
        """Enqueue lost tasks again: those of dead consumers, and those of this one. Called after each heartbeat."""
        self._look_at_doubtful()
        self._rescuer.look()
        self._deliver_dropped()
        self._requeue_unclaimed()

    def _look_at_doubtful(self) -> None:
        """Note which tasks of this process another consumer has taken over while this process was silent.

        Those that are still here stay doubtful until they end: the other consumer may just be taking them.
        """
        if not self._doubtful:
            return
        for task in self._in_hand.snapshot()[0]:
            copy = task._aquila_copy
            if copy in self._doubtful and not is_lost(task) and not self.storage.has(copy):
                self._in_hand.note_lost(task, copy)
        self._doubtful.intersection_update(self._copies_of_taken())

    def _deliver_dropped(self) -> None:
        """Enqueue dropped tasks again. Each counts as lost, so a task that can never be stored is given up in the end.

        Raises what the storage raises. In that case the copy stays for the next time.
        """
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
        """Enqueue messages again that the storage has given to this consumer and that none of its workers received."""
        # The copies are counted before they are listed. Most of the time the storage has none that is not known here,
        # and listing thousands of them at each heartbeat would be slow.
        owner = self.life.id
        taken, taking = self._in_hand.snapshot()
        copies = [task._aquila_copy for task in taken]
        known = {copy for copy in (*copies, *self._finished, *self._dropped) if copy is not None}
        if self.storage.count(owner) <= len(known):
            self._unclaimed = {}
            return
        seen_before = self._unclaimed
        found = set(self.storage.list_copies(owner, limit=_MOST_AT_ONCE)) - known
        self._unclaimed = {copy: seen_before.get(copy, taking) for copy in found}
        for copy, takers in self._unclaimed.items():
            # A message on its way to a worker looks the same. So a copy is put back only at a later look, when all
            # attempts to take that were under way at the first look are over: one of them would have received it.
            if copy in seen_before and not takers & taking:
                logger.warning("a message that the storage has given out, and that no worker has, is enqueued again")
                self._in_hand.put_back(copy.data, copy)
