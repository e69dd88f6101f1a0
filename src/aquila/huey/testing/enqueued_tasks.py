"""Reads the enqueued tasks without taking them out, and makes assertions about them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from huey.api import Task, TaskWrapper

from aquila.errors import TaskError
from aquila.huey.testing.call_arguments import read_search
from aquila.huey.testing.django_commits import list_tasks_before_commit
from aquila.huey.testing.fixture_types import (
    AllEnqueued,
    AssertEnqueued,
    AssertUnique,
    RefuteEnqueued,
    declared_as,
)
from aquila.huey.testing.performing import list_nested_tasks
from aquila.huey.testing.task_matching import TaskPattern, are_equal, describe_not_found, identity_of, list_tasks
from aquila.huey.testing.task_run import call_text
from aquila.recording.storing.machine_clock import machine_seconds

_PAUSE = 0.01  # Seconds between two looks into the queue.
_OPTIONS = ("huey", "queue", "scheduled_in", "priority", "where", "nested")


@declared_as(AllEnqueued)  # type: ignore[type-abstract]
def all_enqueued(task: TaskWrapper | None = None, /, *args: Any, **keywords: Any) -> list[Task]:
    """Return the matching tasks in the queue, and then those in the schedule. Without arguments all of them match.

    ``task`` is a decorated function. ``args`` and the keyword arguments are compared with its arguments by parameter
    name, however they were passed. A dictionary of a task may hold more than the expected one, and
    ``unittest.mock.ANY`` matches anything. These keywords are options:

    - ``scheduled_in``: the time until the task is due, in seconds or as a timedelta, with a tolerance of 1 second. With
      a tuple of two times the second one is the tolerance.
    - ``priority``: the priority of the task.
    - ``where``: a function that takes the task and returns whether it matches.
    - ``nested``: whether to look into pipelines, error handlers and chords, too.
    - ``huey``: the Huey to look at; by default that of ``task``, or the one under test.
    - ``queue``: the name of the Huey to look at, where several are under test.
    - ``args=`` (a sequence) and ``kwargs=`` (a dictionary): all arguments to compare. Use them where a parameter of the
      task has the name of an option. Every other keyword is then an option.

    Raises ``TaskError`` when a message in the queue cannot be read, which ``huey.pending()`` would only log and leave
    out. Raises ``ConfigError`` for a keyword that may be a parameter of the task or an option, and for one that is
    neither.

    Examples:
        >>> from aquila.huey import MemoryHuey
        >>> from aquila.huey.testing import all_enqueued, use_test_queue
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task()
        ... def divide(a, b):
        ...     return a / b
        >>> with use_test_queue(huey):
        ...     results = divide(6, 3), divide(1, 2)
        ...     len(all_enqueued()), len(all_enqueued(divide, a=1))
        (2, 1)
    """
    return list(_parse_search("all_enqueued", task, args, keywords, _OPTIONS).look().matching)


@declared_as(AssertEnqueued)  # type: ignore[type-abstract]
def assert_enqueued(task: TaskWrapper | None = None, /, *args: Any, **keywords: Any) -> Task:
    """Assert that a matching task is enqueued, and return the first one. The arguments are those of ``all_enqueued``.

    ``timeout`` is how long to wait for the task, in seconds. Raises ``AssertionError`` that lists the enqueued tasks
    and says how the nearest one differs.

    Examples:
        >>> from aquila.huey import MemoryHuey
        >>> from aquila.huey.testing import assert_enqueued, use_test_queue
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task()
        ... def divide(a, b):
        ...     return a / b
        >>> with use_test_queue(huey):
        ...     result = divide.schedule((6, 3), delay=3600)
        ...     task = assert_enqueued(divide, a=6, scheduled_in=3600)
    """
    __tracebackhide__ = True
    search = _parse_search("assert_enqueued", task, args, keywords, (*_OPTIONS, "timeout"))
    for seen in search.look_until_time_is_up():
        for found in seen.matching:
            return found
    message = describe_not_found(search.pattern, seen.tasks, seen.now)
    if not search.nested and any(search.choose(read_enqueued(search.huey, nested=True), seen.now)):
        message += "\nA matching task lies inside another, as its follower, handler or callback: nested=True finds it"
    if any(search.choose(list_tasks_before_commit(), seen.now)):
        message += (
            "\nA matching task waits for a commit, and a test case of Django keeps the transaction open. Enqueue the "
            "task within `with self.captureOnCommitCallbacks(execute=True):`, or in a task that you perform or drain"
        )
    raise AssertionError(message)


@declared_as(RefuteEnqueued)  # type: ignore[type-abstract]
def refute_enqueued(task: TaskWrapper | None = None, /, *args: Any, **keywords: Any) -> None:
    """Assert that no matching task is enqueued. The arguments are those of ``all_enqueued``.

    ``timeout`` is how long to look for one, in seconds. Raises ``AssertionError`` that lists the matching tasks.

    Examples:
        >>> from aquila.huey import MemoryHuey
        >>> from aquila.huey.testing import refute_enqueued, use_test_queue
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task()
        ... def divide(a, b):
        ...     return a / b
        >>> with use_test_queue(huey):
        ...     result = divide(6, 3)
        ...     refute_enqueued(divide, b=0)
    """
    __tracebackhide__ = True
    search = _parse_search("refute_enqueued", task, args, keywords, (*_OPTIONS, "timeout"))
    for seen in search.look_until_time_is_up():
        if matching := list(seen.matching):
            text = f"{search.pattern} is enqueued, and should not be:"
            raise AssertionError("\n".join([text, *list_tasks(matching, seen.now)]))


@declared_as(AssertUnique)  # type: ignore[type-abstract]
def assert_unique(task: TaskWrapper | None = None, /, *args: Any, **keywords: Any) -> Task:
    """Assert that a matching task is enqueued and that no two of them are identical. Return the first one.

    The arguments are those of ``assert_enqueued``. Two tasks are identical if they have the same function and the same
    arguments, however these were passed. If the task is unique by some of its arguments, only those are compared.
    Raises ``AssertionError`` that lists the identical tasks.

    Examples:
        >>> from aquila.huey import MemoryHuey
        >>> from aquila.huey.testing import assert_unique, use_test_queue
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task(unique=True)
        ... def index(page):
        ...     return page
        >>> with use_test_queue(huey):
        ...     first, second = index(7), index(page=7)
        ...     task = assert_unique(index, page=7)
    """
    __tracebackhide__ = True
    search = _parse_search("assert_unique", task, args, keywords, (*_OPTIONS, "timeout"))
    for seen in search.look_until_time_is_up():
        if matching := list(seen.matching):
            break
    else:
        raise AssertionError(describe_not_found(search.pattern, seen.tasks, seen.now))
    pairs = [(one, identity_of(one)) for one in matching]  # Once for each: it takes longer than to compare them.
    for first, identity in pairs:
        about = f"{call_text(first)} and another task", "Compare what all_enqueued() returns"
        same = [one for one, other in pairs if are_equal(other, identity, *about)]
        if len(same) > 1:
            text = f"{call_text(same[0])} is enqueued {len(same)} times, and should be once:"
            raise AssertionError("\n".join([text, *list_tasks(same, seen.now)]))
    return matching[0]


class _Seen(NamedTuple):
    """What a look has found: the tasks that match, all tasks, and the present of the Huey."""

    matching: Iterator[Task]
    tasks: list[Task]
    now: Any


@dataclass(frozen=True, slots=True)
class _Search:
    """A search for tasks in the queue of a Huey. ``timeout`` is how long to look, in seconds."""

    huey: Any
    pattern: TaskPattern
    nested: bool
    timeout: float

    def choose(self, tasks: list[Task], now: Any) -> Iterator[Task]:
        """Yield the tasks that match. ``now`` is the present of the Huey."""
        return (task for task in tasks if not self.pattern.find_mismatches(task, now))

    def look_until_time_is_up(self) -> Iterator[_Seen]:
        """Look once and, until ``timeout`` seconds have passed, again and again."""
        deadline = machine_seconds() + self.timeout
        yield self.look()
        while machine_seconds() < deadline:
            time.sleep(_PAUSE)
            yield self.look()

    def look(self) -> _Seen:
        """Look at the tasks."""
        tasks = read_enqueued(self.huey, nested=self.nested)
        now = self.huey._get_timestamp()
        return _Seen(self.choose(tasks, now), tasks, now)


def _parse_search(
    function: str, task: TaskWrapper | None, args: Sequence[Any], keywords: Mapping[str, Any], options: tuple[str, ...]
) -> _Search:
    task, call, huey = read_search(function, task, args, keywords, options)
    given = call.options
    pattern = TaskPattern(
        wrapper=task,
        args=call.args,
        kwargs=call.kwargs,
        scheduled_in=given.get("scheduled_in"),
        priority=given.get("priority"),
        where=given.get("where"),
    )
    return _Search(huey, pattern, given.get("nested", False), given.get("timeout", 0))


def read_enqueued(huey: Any, *, nested: bool = False) -> list[Task]:
    """Return all tasks in the queue, and then those in the schedule. Raises ``TaskError`` for an unreadable message."""
    tasks = [read_message(huey, data, "queue") for data in huey.storage.enqueued_items()]
    tasks += [read_message(huey, data, "schedule") for data in huey.storage.scheduled_items()]
    return [part for task in tasks for part in list_nested_tasks(task)] if nested else tasks


def read_message(huey: Any, data: Any, place: str) -> Task:
    """Return the task of a message. Raises ``TaskError``, which names the ``place``, for an unreadable message."""
    try:
        task: Task = huey.deserialize_task(bytes(data))
    except Exception as error:
        raise TaskError(
            f"a message of {len(data)} bytes in the {place} of {huey.name!r} cannot be read, so no worker could "
            f"execute it: {type(error).__name__}: {error}"
        ) from error
    task._aquila_huey = huey  # `perform_job` gets a bare task from here, and finds its Huey by it.
    return task
