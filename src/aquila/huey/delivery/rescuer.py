"""Enqueues the tasks of dead consumers again. A consumer may be killed, run out of memory, or lose its machine."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any

from huey.api import Task
from huey.signals import SIGNAL_ENQUEUED, SIGNAL_ERROR

from aquila.errors import TaskError
from aquila.huey.delivery.burying import bury_lost, bury_unreadable
from aquila.huey.delivery.choosing_copies import copies_of
from aquila.huey.delivery.consumer_heartbeats import BEATS, CONSUMERS, check_lost_after
from aquila.huey.delivery.running_copies import Copy, RunningCopies
from aquila.huey.limits.unique_jobs import requeue_claim
from aquila.huey.state import Entry, SharedState, state_of
from aquila.huey.tasks.task_ends import error_of, store_error

logger = logging.getLogger("huey.aquila")

_MAX_LOSSES = 3  # How often a task may be lost with its worker before it is given up.
_LOOKS, _LAST = "looks", "last"
"""The table with what the last look at the heartbeats has found, and the key of its only entry."""
_AT_ONCE = 1000  # Consumers that one look reads, and copies of each that it takes over before those of the next one.


def requeue_lost_tasks(huey: Any, *, lost_after: float | None = None) -> list[str]:
    """Enqueue the tasks of dead consumers again, and return the ids of the tasks.

    A consumer is dead if it has sent no heartbeat for ``lost_after`` seconds, by the clock of the storage. By default
    that is the ``lost_after`` of the Huey. Every consumer with ``keep_running`` does the same by itself while it runs.
    A task that was lost three times is enqueued to be given up, because it may be what kills the workers: the next free
    worker stores an error as its result, and makes it a dead letter.

    Raises ``ConfigError`` for a ``lost_after`` that is no number from 0.

    Examples:
        >>> from aquila.huey import MemoryHuey, requeue_lost_tasks
        >>> requeue_lost_tasks(MemoryHuey("jobs", keep_running=True), lost_after=60)    # no consumer has died
        []
    """
    seconds = check_lost_after(huey.lost_after if lost_after is None else lost_after, at_least=0)
    state = state_of(huey)
    dead = state.entries(CONSUMERS, below=state.now() - seconds, limit=_AT_ONCE)
    return [id for entry in dead for id in _requeue_tasks_of(huey, state, entry)]


def _requeue_tasks_of(huey: Any, state: SharedState, entry: Entry) -> list[str]:
    """Enqueue the tasks of a dead consumer again, and return their ids. Removes the consumer if no copy is left."""
    copies = copies_of(huey)
    if copies is None:
        return []
    taken = [take_over(huey, copies, copy) for copy in copies.list_copies(entry.key, limit=_AT_ONCE)]
    if not copies.count(entry.key):
        state.remove(CONSUMERS, entry.key, entry.value)  # Unless it has sent another heartbeat meanwhile.
    return [task.id for task in taken if task is not None]


class Rescuer:
    """Looks for lost tasks again and again. A consumer is dead if ``BEATS`` looks in succession find no new heartbeat.

    The consumers of a queue look in turn, about as often as each sends a heartbeat, so that takes ``lost_after``
    seconds. What they have found is in the storage: consumers that live only for seconds find the dead ones, too. While
    the storage does not answer nobody can send a heartbeat, and nobody can look. Its clock only keeps looks apart. If
    it is set, one look comes too early.

    ``KeptCopies`` owns a rescuer, and only the thread of the heartbeat uses it: no lock is needed.
    """

    def __init__(self, huey: Any) -> None:
        self._huey = huey

    def look(self) -> None:
        """Enqueue lost tasks again, unless a consumer has just looked. Raises what the storage raises."""
        state = state_of(self._huey)
        now, last = state.now(), next(iter(state.entries(_LOOKS, limit=1)), None)
        # A little less than the time between two heartbeats, or a lone consumer would pass over some of its turns.
        if last is not None and 0 <= now - last.order < 0.9 * self._huey.lost_after / BEATS:
            return
        known, entries = _read_looks(last), state.entries(CONSUMERS, limit=_AT_ONCE)
        found: dict[str, tuple[str, int]] = {}
        for entry in entries:
            beat = hashlib.sha256(entry.value).hexdigest()[:16]
            before, looks = known.get(entry.key, ("", 0))
            found[entry.key] = beat, looks + 1 if before == beat else 0
        value = json.dumps(found).encode()
        if last is None:
            is_first = state.add(_LOOKS, _LAST, value, order=now)
        else:
            is_first = state.replace(_LOOKS, _LAST, last.value, value, order=now)
        if not is_first:
            return
        for entry in entries:
            if found[entry.key][1] >= BEATS:
                _requeue_tasks_of(self._huey, state, entry)


def _read_looks(entry: Entry | None) -> dict[str, tuple[str, int]]:
    """Return what the looks so far have found: for each consumer its last heartbeat, and how many have found it since.

    Whoever can write to the storage may have written anything.
    """
    try:
        found = {} if entry is None else json.loads(entry.value)
        return {key: (str(beat), int(looks)) for key, (beat, looks) in found.items()}
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return {}


def take_over(huey: Any, copies: RunningCopies, copy: Copy) -> Task | None:
    """Enqueue the message of a copy again, in the place of the copy, and return its task.

    Returns None where another consumer was faster, or where the message cannot be read. A task that is given up is
    enqueued, too: a worker ends it, see ``end_given_up``.
    """
    try:
        task: Task = huey.deserialize_task(copy.data)
    except Exception as error:  # noqa: BLE001 -- whatever a serializer raises
        bury_unreadable(huey, copy.data, error)
        copies.forget(copy)
        return None
    task._aquila_deliveries = getattr(task, "_aquila_deliveries", 0) + 1
    task._aquila_losses = getattr(task, "_aquila_losses", 0) + 1
    requeue_claim(huey, task)
    huey._emit(SIGNAL_ENQUEUED, task)  # Before the task is enqueued, as Huey does: a worker may be very fast.
    if not copies.move_to_queue(copy, huey.serialize_task(task), task.priority):
        return None
    logger.warning("task %s of consumer %s was not finished and is enqueued again", task.id, copy.owner)
    return task


def end_given_up(huey: Any, task: Task) -> None:
    """End a task that is given up, in the worker that has taken it in place of executing it.

    Whoever waits for it is told in several steps. The copy of the worker is there until the last one, so another worker
    tells them if this one is killed in between. The task is then buried again, and the new dead letter replaces this
    one.
    """
    # Its copy does not tell which of the two it was.
    reason = (
        f"not finished {task._aquila_losses} times, because its worker was lost or its outcome could not be stored, "
        "and given up"
    )
    bury_lost(huey, task, reason)
    error = error_of(task.id, reason)
    store_error(huey, task, error)
    logger.error("task %s was %s", task.id, reason)
    huey._emit(SIGNAL_ERROR, task, TaskError(f"task {task.id} was {reason}"))
    huey._abort_chord_member(task, error)


def is_given_up(huey: Any, task: Task) -> bool:
    """Whether a task was lost so often that it is not executed again. One that was revoked is left to a worker."""
    return getattr(task, "_aquila_losses", 0) >= _MAX_LOSSES and not huey.is_revoked(task)
