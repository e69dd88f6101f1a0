"""Executing what is enqueued, in this process, until nothing is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from huey.api import Task
from huey.utils import normalize_time

from aquila.errors import TaskError
from aquila.huey.testing.modes import current_huey, under_test
from aquila.huey.testing.performing import due, raise_own
from aquila.huey.testing.queue import enqueued, read_message
from aquila.huey.testing.task_run import TaskRun, run_task

_LIMIT = 1000  # Tasks: what `drain_queue` executes before it takes the queue for endless.


class Drained(dict[str, int]):
    """How many task runs ended in which way, as a dictionary; a way that did not occur counts 0.

    The ways are the states of a ``TaskRun``, and ``scheduled`` for a task that is not due yet and lies in the schedule.
    ``runs`` holds the runs, in order.
    """

    def __init__(self, runs: Sequence[TaskRun], scheduled: int) -> None:
        super().__init__()
        self.runs = tuple(runs)
        for run in runs:
            self[run.state] = self[run.state] + 1
        if scheduled:
            self["scheduled"] = scheduled

    def __missing__(self, state: str) -> int:
        return 0


def drain_queue(
    *,
    huey: Any = None,
    with_scheduled: bool | datetime | timedelta = False,
    with_recursion: bool = True,
    with_safety: bool = False,
    with_limit: int | None = None,
) -> Drained:
    """Execute the tasks in the queue, as a worker would, one after the other in this thread, and count how they end.

    ``with_scheduled`` takes those that are scheduled for later too, each at its own time: all of them (True), or those
    that are due by a moment, or within a time from now. ``with_recursion`` goes on with what these tasks enqueue:
    followers, callbacks, retries. ``with_safety`` keeps the exceptions of tasks in ``Drained.runs``; without it the
    first one that no retry follows is raised. ``with_limit`` executes at most so many. ``huey`` is the one under test
    by default.

    Raises ``TaskError`` for a message that cannot be read, and when the queue does not end.
    """
    __tracebackhide__ = True
    huey = current_huey(huey)
    runs: list[TaskRun] = []
    aside: list[Task] = []
    with under_test(huey):
        until = _until(huey, with_scheduled)
        expected = None if with_recursion else Counter(task.id for task in enqueued(huey))
        try:
            while (with_limit is None or len(runs) < with_limit) and (task := _next(huey, until)) is not None:
                if expected is not None:
                    expected[task.id] -= 1
                    if expected[task.id] < 0:
                        aside.append(task)
                        continue
                if with_limit is None and len(runs) >= _LIMIT:
                    aside.append(task)
                    raise TaskError(
                        f"{_LIMIT} tasks were executed and the queue still fills: a task enqueues itself, or is "
                        "retried for ever; pass with_limit= or with_recursion=False"
                    )
                run = run_task(huey, task, timestamp=due(huey, task))
                runs.append(run)
                if not with_safety and run.retry is None:
                    raise_own(run)
        finally:
            for task in aside:
                huey.storage.enqueue(huey.serialize_task(task), task.priority)
        return Drained(runs, huey.scheduled_count())


def _until(huey: Any, scheduled: bool | datetime | timedelta) -> Any:
    """The moment up to which tasks are due, in the Huey's own time."""
    if scheduled is True:
        # A century is beyond any schedule, and within what every storage can turn into a timestamp.
        return huey._get_timestamp() + timedelta(days=36_525)
    if isinstance(scheduled, timedelta):
        return huey._get_timestamp() + scheduled
    return normalize_time(eta=scheduled, utc=huey.utc) if isinstance(scheduled, datetime) else None


def _next(huey: Any, until: Any) -> Task | None:
    """Take one task that is due out of the queue, else the first of the schedule up to a moment.

    What lies in the queue for later goes into the schedule, as a worker would move it.
    """
    # The count first: a Redis storage waits for a second when there is nothing.
    while huey.pending_count():
        task = read_message(huey, huey.storage.dequeue(), "queue")
        if huey.ready_to_run(task):
            return task
        huey.add_schedule(task)
    if until is None:
        return None
    ready = [read_message(huey, data, "schedule") for data in huey.storage.read_schedule(until)]
    ready.sort(key=lambda task: task.eta or datetime.min)
    for task in ready[1:]:
        huey.storage.add_to_schedule(huey.serialize_task(task), task.eta)
    return ready[0] if ready else None
