"""Enqueue again the tasks of consumers that are dead: killed, out of memory, restarted with their container."""

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
from aquila.huey.delivery.consumer_life import CONSUMERS, check_lost_after
from aquila.huey.delivery.running_copies import Copy, CopyBeingMoved, RunningCopies
from aquila.huey.limits.unique_jobs import requeue_claim
from aquila.huey.state import Entry, SharedState, state_of

logger = logging.getLogger("huey.aquila")

_MAX_LOSSES = 3
_LOOKS_ON = 1 / 3
"""For which part of the time without a heartbeat a new rescuer only looks: two heartbeats long."""
_AT_ONCE = 1000  # Copies of one consumer that are taken over before the rescuer looks elsewhere.


def requeue_lost_tasks(huey: Any, *, lost_after: float | None = None) -> list[str]:
    """Enqueue again the tasks of consumers that have shown no heartbeat for a time, and return their ids.

    ``lost_after`` is that time in seconds, by the clock of the storage, and that of the Huey if it is not given. Every
    consumer with ``keep_running`` calls this while it runs. A task that was lost three times is given up, because it
    may be what kills the workers: its result is an error then, and it is among the dead letters.

    Examples:
        >>> from aquila.huey import MemoryHuey, requeue_lost_tasks
        >>> requeue_lost_tasks(MemoryHuey("jobs", keep_running=True), lost_after=60)    # no consumer has died
        []
    """
    seconds = check_lost_after(huey.lost_after if lost_after is None else lost_after, at_least=0)
    state = state_of(huey)
    return _requeue_tasks_shown_before(huey, state, state.now() - seconds)


def _requeue_tasks_shown_before(huey: Any, state: SharedState, moment: float) -> list[str]:
    """Enqueue again the tasks of consumers whose last heartbeat was before a moment, and return their ids."""
    dead = state.entries(CONSUMERS, below=moment, limit=_AT_ONCE)
    requeued, emptied = _requeue_tasks_of(huey, dead)
    if emptied:
        # By the time of the heartbeat: one that has come back meanwhile stays.
        state.delete_below(CONSUMERS, math.nextafter(dead[emptied - 1].order, math.inf), limit=emptied)
    return requeued


def _requeue_tasks_of(huey: Any, dead: Sequence[Entry]) -> tuple[list[str], int]:
    """Return the ids of what was enqueued again, and of how many of the first consumers nothing is left."""
    copies = copies_of(huey)
    requeued: list[str] = []
    emptied, all_emptied = 0, True
    if copies is None:
        return [], 0
    for entry in dead:
        for copy in copies.list_copies(entry.key, limit=_AT_ONCE):
            task = take_over(huey, copies, copy)
            requeued += [] if task is None else [task.id]
        all_emptied = all_emptied and not copies.count(entry.key)
        emptied += all_emptied
    return requeued, emptied


def _forget_unless_back(state: SharedState, entry: Entry) -> None:
    """Remove the last heartbeat of a consumer, unless that has shown another one since, which may say the same."""
    marked = entry.value + b" "  # No heartbeat ends so: the next one is none of this value, and stays.
    if not state.replace(CONSUMERS, entry.key, entry.value, marked):
        return
    same_moment = state.entries(CONSUMERS, at_least=entry.order, below=math.nextafter(entry.order, math.inf))
    if any(each.key == entry.key for each in same_moment):
        state.remove(CONSUMERS, entry.key, marked)


class Rescuer:
    """Looks for lost tasks again and again, also where somebody sets the clock of the storage meanwhile.

    Heartbeats are shown by that clock. Where it was put forward all look old, until each consumer has shown itself
    again; where it was put back those of the dead lie in the future. The clock of this process tells of both. What
    was before its first look it cannot tell of: then it looks on, for two heartbeats of those that live.
    """

    def __init__(self, huey: Any) -> None:
        self._huey = huey
        self._ahead: float | None = None
        """By how much the clock of the storage is ahead of this process's."""
        self._waits_until: float | None = None
        self._to_come: dict[tuple[str, float], float] = {}
        """Heartbeats that are still to come by the storage's clock, with when they were first seen by this one."""

    def look(self) -> None:
        """Enqueue again what is lost."""
        lost_after, state = self._huey.lost_after, state_of(self._huey)
        begun = time.monotonic()
        now, here = state.now(), time.monotonic()
        if self._waits_until is None:
            self._waits_until = here + lost_after * _LOOKS_ON
        if here - begun < lost_after / 4:  # Else the difference says nothing.
            if self._ahead is not None and now - here - self._ahead > lost_after / 2:
                self._waits_until = here + lost_after
                logger.warning(
                    "the clock of the storage was put forward by %.0f s: no task is taken over for %.0f s",
                    *(now - here - self._ahead, lost_after),
                )
            self._ahead = now - here
        self._look_at_what_is_to_come(state, now + lost_after / 2, here)
        if here >= self._waits_until:
            _requeue_tasks_shown_before(self._huey, state, now - lost_after)

    def _look_at_what_is_to_come(self, state: SharedState, bound: float, here: float) -> None:
        found = state.entries(CONSUMERS, at_least=bound, limit=_AT_ONCE)
        known = self._to_come
        self._to_come = {(entry.key, entry.order): known.get((entry.key, entry.order), here) for entry in found}
        for entry in found:
            if here - self._to_come[entry.key, entry.order] > self._huey.lost_after:
                _, emptied = _requeue_tasks_of(self._huey, [entry])
                if emptied:
                    _forget_unless_back(state, entry)


def take_over(huey: Any, copies: RunningCopies, copy: Copy) -> Task | None:
    """Enqueue a copy again. Returns its task, or None where another was faster, or where it must not be enqueued."""
    try:
        task: Task = huey.deserialize_task(copy.data)
    except Exception as error:  # noqa: BLE001 -- whatever a serializer raises
        bury_unreadable(huey, copy.data, error)
        copies.forget(copy)
        return None
    task._aquila_deliveries = getattr(task, "_aquila_deliveries", 0) + 1
    task._aquila_losses = getattr(task, "_aquila_losses", 0) + 1
    if task._aquila_losses >= _MAX_LOSSES:
        _give_up(huey, copies, copy, task)
        return None
    requeue_claim(huey, task)
    huey._emit(SIGNAL_ENQUEUED, task)  # As Huey does, before it is.
    try:
        if not copies.move_to_queue(copy, huey.serialize_task(task), task.priority):
            return None
    except CopyBeingMoved:  # It is looked for again.
        return None
    logger.warning("task %s was lost with consumer %s and is enqueued again", task.id, copy.owner)
    return task


def _give_up(huey: Any, copies: RunningCopies, copy: Copy, task: Task) -> None:
    message = f"lost with its worker {task._aquila_losses} times and given up"
    bury_lost(huey, task, message)  # First: it may be done twice, and must not be left out.
    error = Error({"error": message, "retries": 0, "traceback": "", "task_id": task.id})
    if not (
        copies.move_to_results(copy, task.id, huey.serializer.serialize(error)) if huey.results else copies.forget(copy)
    ):
        return
    logger.error("task %s was %s", task.id, message)
    huey._emit(SIGNAL_ERROR, task, TaskError(f"task {task.id} was {message}"))
    following = task.on_complete if huey.results else None
    while following is not None:
        huey.put_result(following.id, error)
        following = following.on_complete
    huey._abort_chord_member(task, error)
