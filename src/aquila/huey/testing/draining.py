"""Executes enqueued tasks in this process, until the queue is empty."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from huey.api import Task
from huey.storage import MemoryStorage
from huey.utils import normalize_time

from aquila.errors import ConfigError, TaskError
from aquila.huey.testing.enqueued_tasks import read_enqueued, read_message
from aquila.huey.testing.observation import Observation
from aquila.huey.testing.performing import raise_task_error
from aquila.huey.testing.queue_under_test import innermost_test_queue, open_queue_of
from aquila.huey.testing.skipped_time import MoveClock, SkippingClock, use_clock
from aquila.huey.testing.task_execution import observe_task, resolve_expiry
from aquila.huey.testing.task_run import TaskRun, call_text

_MOST_TASKS = 10_000
"""Tasks that `drain_queue` executes, and then at most those that are queued by then. A chain of them takes a second."""


class Drained(dict[str, int]):
    """How many task runs ended in each state, as a dictionary. A state that did not occur counts 0.

    The keys are the states of a ``TaskRun``, and ``scheduled`` for tasks in the schedule that are not due yet. ``runs``
    are the runs, in order, and ``skipped`` is how much time was skipped, as a ``timedelta``.

    Examples:
        >>> from aquila.huey import MemoryHuey
        >>> from aquila.huey.testing import drain_queue, use_test_queue
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task()
        ... def add(a, b):
        ...     return a + b
        >>> with use_test_queue(huey):
        ...     results = add(1, 2), add.schedule((3, 4), delay=3600)
        ...     drained = drain_queue()
        >>> drained, drained["error"], drained.runs[0].value
        ({'complete': 1, 'scheduled': 1}, 0, 3)
    """

    def __init__(self, runs: Sequence[Observation], scheduled: int, skipped: timedelta) -> None:
        self._observed = runs
        self._made: tuple[TaskRun[Any], ...] | None = None
        self.skipped = skipped
        for run in runs:
            state = run.state
            self[state] = self.get(state, 0) + 1
        if scheduled:
            self["scheduled"] = scheduled

    def __missing__(self, state: str) -> int:
        return 0

    @property
    def runs(self) -> tuple[TaskRun[Any], ...]:
        """The runs, in order. They are only made when somebody asks for them, because most tests do not."""
        if self._made is None:
            self._made = tuple([run.make_run() for run in self._observed])
        return self._made


def drain_queue(
    *,
    huey: Any = None,
    queue: str | None = None,
    with_scheduled: bool | datetime | timedelta = False,
    with_time_skipping: bool | datetime | timedelta = False,
    move_clock: MoveClock | None = None,
    with_recursion: bool = True,
    raise_errors: bool = True,
    with_limit: int | None = None,
) -> Drained:
    """Execute the tasks in the queue as a worker would, one after the other in this thread, and count how they end.

    - ``with_scheduled``: also execute tasks that are scheduled for later, each at its own time. True means all of them,
      a datetime those that are due by then, and a timedelta those that are due within that time from now.
    - ``with_time_skipping``: the same, but with a clock that is put forward to the time of each task. Huey asks that
      clock, so the schedules of a task, its retries with their growing delays, expiry and rate limits are counted from
      the time of the task. With ``with_scheduled`` they are counted from now.
    - ``move_clock``: a function that is called with each new moment of that clock. In a task ``datetime.now()`` returns
      the real time, unless this function moves it, as ``traveller.move_to`` of time-machine does.
    - ``with_recursion``: also execute what these tasks enqueue: followers, callbacks, retries.
    - ``raise_errors``: raise the first exception of a task that no retry follows. Otherwise exceptions are only in
      ``Drained.runs``.
    - ``with_limit``: the highest number of tasks to execute.
    - ``huey``: the Huey; by default the one under test. ``queue`` is the name of one of several.

    Raises ``TaskError`` for a message that cannot be read, and when the queue never becomes empty. Raises
    ``ConfigError`` for a Huey that is not under test, for ``with_time_skipping`` together with ``with_scheduled``, for
    another value of these, and for ``move_clock`` without ``with_time_skipping``.

    Examples:
        >>> from aquila.huey import MemoryHuey
        >>> from aquila.huey.testing import drain_queue, use_test_queue
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task()
        ... def divide(a, b):
        ...     return a / b
        >>> with use_test_queue(huey):
        ...     results = divide(6, 3), divide.schedule((1, 2), delay=3600)
        ...     drain_queue(), drain_queue(with_scheduled=True)
        ({'complete': 1, 'scheduled': 1}, {'complete': 1})
    """
    __tracebackhide__ = True
    skips, executes_scheduled = with_time_skipping not in (False, None), with_scheduled not in (False, None)
    if skips and executes_scheduled:
        raise ConfigError("with_time_skipping executes what is scheduled, too: leave out with_scheduled")
    if move_clock is not None and not skips:
        raise ConfigError("move_clock is called where time is skipped: give with_time_skipping, too")
    opened = innermost_test_queue(huey) if queue is None else None  # first, because it calls few functions
    huey = (opened or open_queue_of(huey, queue)).huey
    clock = SkippingClock(move_clock) if skips else None
    with use_clock(clock) if clock is not None else contextlib.nullcontext():
        due = with_time_skipping if skips else with_scheduled
        return _drain(huey, clock, due, with_recursion, raise_errors, with_limit)


def _drain(
    huey: Any,
    clock: SkippingClock | None,
    scheduled: bool | datetime | timedelta,
    with_recursion: bool,
    raise_errors: bool,
    with_limit: int | None,
) -> Drained:
    """Drain the queue of a Huey whose test queue is open. The parameters are those of ``drain_queue``."""
    __tracebackhide__ = True
    runs: list[Observation] = []
    aside: list[Task] = []  # Tasks that are not executed now. They are enqueued again at the end, whatever happens.
    until = _last_due_moment(huey, scheduled) if scheduled not in (False, None) else None
    etas: dict[bytes, Any] = {}
    most = _MOST_TASKS if with_limit is None and with_recursion else None
    expected = None if with_recursion else Counter(task.id for task in read_enqueued(huey))
    try:
        while (with_limit is None or len(runs) < with_limit) and (
            task := _take_next_task(huey, until, etas)
        ) is not None:
            if expected is not None:
                expected[task.id] -= 1
                if expected[task.id] < 0:
                    aside.append(task)
                    continue
            if len(runs) == _MOST_TASKS and most is not None:
                most += _count_queued(huey, until) + 1  # It may only be long.
            if len(runs) == most:
                aside.append(task)
                skip = ", or with_time_skipping=True where tasks wait for a time, as for @huey.rate_limit"
                raise TaskError(
                    f"{len(runs)} tasks were executed and the queue still fills, next with {call_text(task)}: a task "
                    "enqueues itself, or is retried for ever; pass with_limit= or with_recursion=False"
                    + (skip if clock is None else "")
                )
            if clock is not None:
                clock.skip_to(task.eta, utc=huey.utc)
            run = observe_task(huey, task)
            runs.append(run)
            if raise_errors and run.exception is not None and run.retry is None:
                raise_task_error(run.make_run())
    finally:
        for task in aside:
            huey.storage.enqueue(huey.serialize_task(task), task.priority)
    return Drained(runs, huey.storage.schedule_size(), timedelta() if clock is None else clock.skipped)


def _count_queued(huey: Any, until: Any) -> int:
    return int(huey.storage.queue_size()) + (0 if until is None else int(huey.storage.schedule_size()))


def _last_due_moment(huey: Any, scheduled: bool | datetime | timedelta) -> Any:
    """Return the moment up to which scheduled tasks are executed, in the time of the Huey."""
    if scheduled is True:
        # A century: later than any schedule, and every storage can turn it into a timestamp.
        return huey._get_timestamp() + timedelta(days=36_525)
    if isinstance(scheduled, timedelta):
        return huey._get_timestamp() + scheduled
    if isinstance(scheduled, datetime):
        return normalize_time(eta=scheduled, utc=huey.utc)
    raise ConfigError(
        "with_scheduled= and with_time_skipping= of drain_queue take True, a datetime or a timedelta, such as "
        f"datetime.timedelta(hours=1), not {scheduled!r}"
    )


def _take_next_task(huey: Any, until: Any, etas: dict[bytes, Any]) -> Task | None:
    """Take one task that is due out of the queue, or else the first of the schedule up to a moment.

    A task in the queue that is not due goes into the schedule, as a worker would move it. ``etas`` has the times of the
    messages that were read from the schedule so far.
    """
    storage = huey.storage
    # The number of tasks is asked first where taking from an empty queue is slow: a Redis storage waits for a second,
    # and one in memory raises and catches an exception.
    is_counted_first = storage.blocking or type(storage) is MemoryStorage
    while not is_counted_first or storage.queue_size():
        data = storage.dequeue()
        if data is None:
            break
        task = read_message(huey, data, "queue")
        if task.eta is None or huey.ready_to_run(task):
            return task
        huey.add_schedule(task)
    if until is None:
        return None

    def eta_of(data: bytes) -> Any:
        if data not in etas:
            etas[data] = read_message(huey, data, "schedule").eta
        return etas[data]

    for first in storage.scheduled_items(limit=1):
        # Reading the schedule takes all messages up to a moment out. So it is read up to the time of the first one, and
        # those that were added for another time than that of their task, or whose task has none, up to the end.
        soonest = min(until, eta_of(bytes(first)) or until)
        ready = [bytes(data) for data in storage.read_schedule(soonest) or storage.read_schedule(until)]
        ready.sort(key=lambda data: eta_of(data) or datetime.min)
        for data in ready[1:]:
            storage.add_to_schedule(data, eta_of(data) or until)
        if ready:
            task = read_message(huey, ready[0], "schedule")
            if task.expires:
                resolve_expiry(huey, task)
            return task
    return None
