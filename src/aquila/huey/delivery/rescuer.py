"""Enqueues the tasks of dead consumers again. A consumer may be killed, run out of memory, or lose its machine."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from typing import Any

from huey.api import Task
from huey.signals import SIGNAL_ENQUEUED, SIGNAL_ERROR
from huey.utils import Error

from aquila.errors import TaskError
from aquila.huey.delivery.burying import bury_lost, bury_unreadable
from aquila.huey.delivery.choosing_copies import copies_of
from aquila.huey.delivery.consumer_heartbeats import CONSUMERS, check_lost_after
from aquila.huey.delivery.running_copies import Copy, RunningCopies
from aquila.huey.limits.unique_jobs import requeue_claim
from aquila.huey.state import Entry, SharedState, state_of

logger = logging.getLogger("huey.aquila")

_MAX_LOSSES = 3  # How often a task may be lost with its worker before it is given up.
_LOOKS_ON = 1 / 3
"""The part of ``lost_after`` for which a new rescuer only watches: as long as two heartbeats. It also does so after the
storage was away."""
_WAS_AWAY = 1 / 2
"""The part of ``lost_after`` without a look after which the storage counts as having been away. There are six looks in
``lost_after``, so two of them have failed."""
_MOST_LATE = 5
"""How many late looks in succession only watch. Where every look is late, this process or its connection is slow, and
lost tasks must not wait for ever."""
_AT_ONCE = 1000  # Copies of one consumer that are taken over before the next consumer has its turn.


def requeue_lost_tasks(huey: Any, *, lost_after: float | None = None) -> list[str]:
    """Enqueue the tasks of dead consumers again, and return the ids of the tasks.

    A consumer is dead if it has sent no heartbeat for ``lost_after`` seconds, by the clock of the storage. By default
    that is the ``lost_after`` of the Huey. Every consumer with ``keep_running`` does the same by itself while it runs.
    A task that was lost three times is given up, because it may be what kills the workers: its result is an error then,
    and it becomes a dead letter. Raises ``ConfigError`` for a ``lost_after`` that is no number from 0.

    Examples:
        >>> from aquila.huey import MemoryHuey, requeue_lost_tasks
        >>> requeue_lost_tasks(MemoryHuey("jobs", keep_running=True), lost_after=60)    # no consumer has died
        []
    """
    seconds = check_lost_after(huey.lost_after if lost_after is None else lost_after, at_least=0)
    state = state_of(huey)
    return _requeue_tasks_shown_before(huey, state, state.now() - seconds)


def _requeue_tasks_shown_before(huey: Any, state: SharedState, moment: float) -> list[str]:
    """Enqueue the tasks of consumers again whose last heartbeat was before ``moment``, in seconds since the epoch."""
    dead = state.entries(CONSUMERS, below=moment, limit=_AT_ONCE)
    requeued, emptied = _requeue_tasks_of(huey, dead)
    if emptied:
        # Deleted by the time of the heartbeat and not by name, so that a consumer that has sent one meanwhile stays.
        # `delete_below` has an open end, and `nextafter` makes it include the last of them.
        state.delete_below(CONSUMERS, math.nextafter(dead[emptied - 1].order, math.inf), limit=emptied)
    return requeued


def _requeue_tasks_of(huey: Any, dead: Sequence[Entry]) -> tuple[list[str], int]:
    """Enqueue the tasks of dead consumers again.

    Returns the ids of the tasks, and how many consumers at the beginning of ``dead`` have no copy left. Consumers after
    the first one with a copy are not counted: the caller deletes all that are counted by one bound.
    """
    copies = copies_of(huey)
    requeued: list[str] = []
    emptied, all_emptied = 0, True
    if copies is None:
        return [], 0
    for entry in dead:
        for copy in copies.list_copies(entry.key, limit=_AT_ONCE):
            task = take_over(huey, copies, copy)
            if task is not None:
                requeued.append(task.id)
        all_emptied = all_emptied and not copies.count(entry.key)
        if all_emptied:
            emptied += 1
    return requeued, emptied


def _forget_unless_back(state: SharedState, entry: Entry) -> None:
    """Remove the entry of a consumer, unless the consumer has sent another heartbeat since.

    Two heartbeats may have the same value and differ in their time alone. The storage cannot compare the time and
    delete the entry in one step. So the value is marked first: a new heartbeat overwrites the mark.
    """
    marked = entry.value + b" "  # Still JSON, but never what a consumer writes.
    if not state.replace(CONSUMERS, entry.key, entry.value, marked):
        return
    same_moment = state.entries(CONSUMERS, at_least=entry.order, below=math.nextafter(entry.order, math.inf))
    if any(each.key == entry.key for each in same_moment):
        state.remove(CONSUMERS, entry.key, marked)


class Rescuer:
    """Looks for lost tasks again and again, even if the storage is away, or somebody sets its clock meanwhile.

    Heartbeats have the time of the storage's clock. If that clock is put forward, all heartbeats look old until each
    consumer has sent another. If it is put back, the heartbeats of dead consumers lie in the future. The monotonic
    clock of this process shows both. It cannot show what happened before the first look, so a new rescuer only watches
    for as long as two heartbeats.

    While the storage does not answer, no consumer can send a heartbeat. So after a pause between two looks nothing is
    taken over until each living consumer has had the time to send one. Of looks that are all late, only the first
    ``_MOST_LATE`` do that.

    ``KeptCopies`` owns a rescuer, and only the thread of the heartbeat uses it: no lock is needed.
    """

    def __init__(self, huey: Any) -> None:
        self._huey = huey
        self._ahead: float | None = None
        """By how many seconds the clock of the storage was ahead of the monotonic clock at the last look."""
        self._waits_until: float | None = None
        """Until when nothing is taken over, by the monotonic clock. None before the first look."""
        self._looked: float | None = None
        """When the last look ended, by the monotonic clock. A look that failed does not count."""
        self._late_looks = 0  # How many looks, up to the last, came after a pause.
        self._future_beats: dict[tuple[str, float], float] = {}
        """Heartbeats in the future of the storage's clock, by consumer and time. The value is when this process has
        first seen one, by the monotonic clock. Replaced at each look by those that are still there."""

    def look(self) -> None:
        """Enqueue lost tasks again. Raises what the storage raises."""
        lost_after, state = self._huey.lost_after, state_of(self._huey)
        begun = time.monotonic()
        now, here = state.now(), time.monotonic()  # The same moment by two clocks: the storage's, and this process's.
        if self._waits_until is None:
            self._waits_until = here + lost_after * _LOOKS_ON
        pause = 0.0 if self._looked is None else here - self._looked
        self._late_looks = self._late_looks + 1 if pause > lost_after * _WAS_AWAY else 0
        if 0 < self._late_looks <= _MOST_LATE:
            self._waits_until = max(self._waits_until, here + lost_after * _LOOKS_ON)
            logger.warning(
                "the storage could not be asked for %.0f s, because it did not answer or this process was held up: "
                "no task is taken over for %.0f s",
                *(pause, lost_after * _LOOKS_ON),
            )
        if here - begun < lost_after / 4:  # After a slow answer the difference of the clocks is not exact enough.
            if self._ahead is not None and now - here - self._ahead > lost_after / 2:
                self._waits_until = here + lost_after
                logger.warning(
                    "the clock of the storage was put forward by %.0f s: no task is taken over for %.0f s",
                    *(now - here - self._ahead, lost_after),
                )
            self._ahead = now - here
        self._look_at_future_beats(state, now + lost_after / 2, here)
        if here >= self._waits_until:
            _requeue_tasks_shown_before(self._huey, state, now - lost_after)
        self._looked = time.monotonic()

    def _look_at_future_beats(self, state: SharedState, bound: float, here: float) -> None:
        found = state.entries(CONSUMERS, at_least=bound, limit=_AT_ONCE)
        known = self._future_beats
        self._future_beats = {(entry.key, entry.order): known.get((entry.key, entry.order), here) for entry in found}
        for entry in found:
            if here - self._future_beats[entry.key, entry.order] > self._huey.lost_after:
                _, emptied = _requeue_tasks_of(self._huey, [entry])
                if emptied:
                    _forget_unless_back(state, entry)


def take_over(huey: Any, copies: RunningCopies, copy: Copy) -> Task | None:
    """Enqueue the message of a copy again, in the place of the copy, and return its task.

    Returns None where another consumer was faster, where the message cannot be read, or where the task is given up. A
    task that is given up and that others wait for is enqueued, too: a worker ends it, see ``end_given_up``.
    """
    try:
        task: Task = huey.deserialize_task(copy.data)
    except Exception as error:  # noqa: BLE001 -- whatever a serializer raises
        bury_unreadable(huey, copy.data, error)
        copies.forget(copy)
        return None
    task._aquila_deliveries = getattr(task, "_aquila_deliveries", 0) + 1
    task._aquila_losses = getattr(task, "_aquila_losses", 0) + 1
    if is_given_up(task) and task.on_complete is None and task.chord_config is None:
        _give_up(huey, copies, copy, task)
        return None
    requeue_claim(huey, task)
    huey._emit(SIGNAL_ENQUEUED, task)  # Before the task is enqueued, as Huey does: a worker may be very fast.
    if not copies.move_to_queue(copy, huey.serialize_task(task), task.priority):
        return None
    logger.warning("task %s was lost with consumer %s and is enqueued again", task.id, copy.owner)
    return task


def _give_up(huey: Any, copies: RunningCopies, copy: Copy, task: Task) -> None:
    """End a task that nothing follows: one step stores its result in the place of the copy."""
    error = _bury(huey, task)
    if huey.results:
        ended = copies.move_to_results(copy, task.id, huey.serializer.serialize(error))
    else:
        ended = bool(copies.forget(copy))
    if ended:
        _tell(huey, task, error)


def end_given_up(huey: Any, task: Task) -> None:
    """End a task that is given up, in the worker that has taken it in place of executing it.

    Other tasks follow it, or it is a member of a chord. They are told in several steps. The copy of the worker is
    there until the last one, so another worker tells them if this one is killed in between.
    """
    error = _bury(huey, task)
    following = task if huey.results else None
    while following is not None:
        huey.put_result(following.id, error)
        following = following.on_complete
    _tell(huey, task, error)


def is_given_up(task: Task) -> bool:
    """Whether a task was lost so often that it is not executed again."""
    return getattr(task, "_aquila_losses", 0) >= _MAX_LOSSES


def _bury(huey: Any, task: Task) -> Error:
    """Make a task that is given up a dead letter. Returns its result.

    First, because this process may be killed in between. A second dead letter would then replace the first.
    """
    message = _reason_of(task)
    bury_lost(huey, task, message)
    return Error({"error": message, "retries": 0, "traceback": "", "task_id": task.id})


def _tell(huey: Any, task: Task, error: Error) -> None:
    logger.error("task %s was %s", task.id, _reason_of(task))
    huey._emit(SIGNAL_ERROR, task, TaskError(f"task {task.id} was {_reason_of(task)}"))
    huey._abort_chord_member(task, error)


def _reason_of(task: Task) -> str:
    return f"lost with its worker {task._aquila_losses} times and given up"
