"""Executes the periodic tasks that are due at a moment, or between two moments."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from huey.utils import normalize_time

from aquila.errors import ConfigError
from aquila.huey.tasks.running_task import task_name
from aquila.huey.testing.performing import check_signature, raise_task_error, send_over_wire
from aquila.huey.testing.queue_under_test import ensure_test_queue, huey_under_test
from aquila.huey.testing.task_execution import run_task
from aquila.huey.testing.task_run import TaskRun

_MINUTE = timedelta(minutes=1)
_LONGEST_SEARCH = 31 * 24 * 60
_MOST_SHOWN = 10


def run_periodic(
    at: datetime | None = None, *, until: datetime | None = None, huey: Any = None, queue: str | None = None
) -> list[TaskRun[Any]]:
    """Execute the periodic tasks that are due at a moment, or in each minute between two moments.

    - ``at``: the moment; by default now. A datetime without a zone is in the time of the Huey, with which ``crontab``
      is compared: UTC, unless the Huey was made with ``utc=False``.
    - ``until``: the last moment. Both moments are included.
    - ``huey``: the Huey; by default the one under test. ``queue`` is the name of one of several.

    Returns the runs in order. Their results are in ``value``; Huey never stores the result of a periodic task. The
    exception of a task that no retry follows is raised. Raises ``TaskContractBroken`` for a broken rule of workers, as
    ``perform_job`` does, and ``ConfigError`` where ``until`` is before ``at``.

    Examples:
        >>> import datetime
        >>> from huey import crontab
        >>> from aquila.huey import MemoryHuey
        >>> from aquila.huey.testing import run_periodic
        >>> huey = MemoryHuey("jobs")
        >>> @huey.periodic_task(crontab(hour="2", minute="30"))
        ... def nightly():
        ...     return "done"
        >>> [run.value for run in run_periodic(datetime.datetime(2026, 1, 1, 2, 30), huey=huey)]
        ['done']
    """
    __tracebackhide__ = True
    huey = huey_under_test(huey, queue)
    runs: list[TaskRun[Any]] = []
    with ensure_test_queue(huey) as opened:
        for moment in _iterate_minutes(huey, at, until):
            for task in huey.read_periodic(moment):
                check_signature(task)
                run = run_task(huey, send_over_wire(huey, task, opened.production))
                runs.append(run)
                if run.retry is None:
                    raise_task_error(run)
    return runs


def note_nothing_due(
    at: datetime | None = None, *, until: datetime | None = None, huey: Any = None, queue: str | None = None
) -> Callable[[], str]:
    """Return a function that says when each periodic task is due next, after ``run_periodic`` has found none due.

    The parameters are those of ``run_periodic``. The function takes a while. It may be called when the test has closed
    its queues, and has put its clock back.
    """
    huey = huey_under_test(huey, queue)
    *_, last = _iterate_minutes(huey, at, until)
    return functools.partial(_describe_next_due, huey, last)


def _describe_next_due(huey: Any, last: datetime) -> str:
    time = "UTC" if huey.utc else "local time"
    tasks = sorted((_find_next_due(task, last), task_name(task)) for task in huey._registry.periodic_tasks)
    lines = [f"\n  {moment}  {name}" for moment, name in tasks[:_MOST_SHOWN]]
    what = "".join(["Due next:", *lines]) if lines else "It has no periodic task."
    return f"nothing of {huey.name!r} was due at {_to_minute(last)} {time}. {what}"


def _find_next_due(task: Any, after: datetime) -> str:
    """Return the next minute at which a periodic task is due, or say that there is none soon."""
    with contextlib.suppress(Exception):  # A function of the user, which may only know the present.
        for minutes in range(1, _LONGEST_SEARCH):
            if task.validate_datetime(moment := after + minutes * _MINUTE):
                return _to_minute(moment)
    return "not within 31 days"


def _to_minute(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="minutes")


def _iterate_minutes(huey: Any, at: datetime | None, until: datetime | None) -> Iterator[datetime]:
    first = _to_huey_time(huey, at) if at is not None else huey._get_timestamp()
    last = _to_huey_time(huey, until) if until is not None else first
    if last < first:
        raise ConfigError(f"run_periodic(at={at}, until={until}) ends before it begins")
    while first <= last:
        yield first
        first = first.replace(second=0, microsecond=0) + _MINUTE  # a worker looks in each minute of the clock


def _to_huey_time(huey: Any, moment: datetime) -> datetime:
    """Return a moment in the time of the Huey, as a datetime without a zone."""
    # Not by Huey's function where there is no zone: it would take the moment for local time.
    if moment.tzinfo is None:
        return moment
    converted: datetime = normalize_time(eta=moment, utc=huey.utc)
    return converted
