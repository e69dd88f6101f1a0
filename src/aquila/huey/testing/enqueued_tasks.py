"""What is enqueued: read without taking it out, asserted, refuted."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable
from typing import Any

from huey.api import Task, TaskWrapper

from aquila.errors import ConfigError, TaskError
from aquila.huey.testing.performing import list_nested_tasks
from aquila.huey.testing.queue_under_test import huey_under_test
from aquila.huey.testing.task_matching import ScheduledIn, TaskPattern, describe_not_found, list_tasks
from aquila.huey.testing.task_run import task_name

_PAUSE = 0.01  # Seconds between two looks into the queue.


def all_enqueued(
    task: TaskWrapper | None = None,
    /,
    *args: Any,
    huey: Any = None,
    scheduled_in: ScheduledIn | None = None,
    priority: float | None = None,
    where: Callable[[Task], bool] | None = None,
    nested: bool = False,
    **kwargs: Any,
) -> list[Task]:
    """Return the tasks in the queue, then those in the schedule, that match; all of them without arguments.

    ``task`` is a decorated function; ``args`` and ``kwargs`` are compared with its arguments by parameter name, however
    they were passed: dictionaries may hold more than is asked for, and ``unittest.mock.ANY`` matches anything.
    ``scheduled_in`` is the time until the task is due, in seconds or as a timedelta (within 1 second), or such a time
    and a tolerance; ``priority`` its priority; ``where`` any other condition. ``nested`` looks into pipelines, error
    handlers and chords too. ``huey`` is the one under test by default.

    Raises ``TaskError`` when a message in the queue cannot be read: Huey itself would leave it out silently.
    """
    pattern = _build_pattern(task, args, kwargs, scheduled_in=scheduled_in, priority=priority, where=where)
    huey = huey_under_test(huey if huey is not None or task is None else task.huey)
    now = huey._get_timestamp()
    return [found for found in read_enqueued(huey, nested=nested) if not pattern.find_mismatches(found, now)]


def assert_enqueued(
    task: TaskWrapper | None = None,
    /,
    *args: Any,
    huey: Any = None,
    scheduled_in: ScheduledIn | None = None,
    priority: float | None = None,
    where: Callable[[Task], bool] | None = None,
    nested: bool = False,
    timeout: float = 0,
    **kwargs: Any,
) -> Task:
    """Assert that a matching task is enqueued, and return the first. Arguments as for ``all_enqueued``.

    ``timeout`` (seconds) waits for it. Raises ``AssertionError`` with what is enqueued and how the nearest differs.
    """
    __tracebackhide__ = True
    pattern = _build_pattern(task, args, kwargs, scheduled_in=scheduled_in, priority=priority, where=where)
    huey = huey_under_test(huey if huey is not None or task is None else task.huey)
    deadline = time.monotonic() + timeout
    while True:
        tasks, now = read_enqueued(huey, nested=nested), huey._get_timestamp()
        for found in tasks:
            if not pattern.find_mismatches(found, now):
                return found
        if time.monotonic() >= deadline:
            break
        time.sleep(_PAUSE)
    message = describe_not_found(pattern, tasks, now)
    if not nested and any(not pattern.find_mismatches(found, now) for found in read_enqueued(huey, nested=True)):
        message += "\nOne that matches lies inside another, as its follower, handler or callback: nested=True finds it"
    raise AssertionError(message)


def refute_enqueued(
    task: TaskWrapper | None = None,
    /,
    *args: Any,
    huey: Any = None,
    scheduled_in: ScheduledIn | None = None,
    priority: float | None = None,
    where: Callable[[Task], bool] | None = None,
    nested: bool = False,
    timeout: float = 0,
    **kwargs: Any,
) -> None:
    """Assert that no matching task is enqueued. Arguments as for ``all_enqueued``.

    ``timeout`` (seconds) keeps looking for so long. Raises ``AssertionError`` with the tasks that match.
    """
    __tracebackhide__ = True
    pattern = _build_pattern(task, args, kwargs, scheduled_in=scheduled_in, priority=priority, where=where)
    huey = huey_under_test(huey if huey is not None or task is None else task.huey)
    deadline = time.monotonic() + timeout
    while True:
        now = huey._get_timestamp()
        matching = [found for found in read_enqueued(huey, nested=nested) if not pattern.find_mismatches(found, now)]
        if matching:
            raise AssertionError("\n".join([f"{pattern} is enqueued, and should not be:", *list_tasks(matching, now)]))
        if time.monotonic() >= deadline:
            return
        time.sleep(_PAUSE)


def read_enqueued(huey: Any, *, nested: bool = False) -> list[Task]:
    """Every task in the queue, then every one in the schedule. Raises ``TaskError`` for one that cannot be read."""
    tasks = [read_message(huey, data, "queue") for data in huey.storage.enqueued_items()]
    tasks += [read_message(huey, data, "schedule") for data in huey.storage.scheduled_items()]
    return [part for task in tasks for part in list_nested_tasks(task)] if nested else tasks


def read_message(huey: Any, data: Any, place: str) -> Task:
    """Return the task of a message. Raises ``TaskError`` for one that cannot be read."""
    try:
        task: Task = huey.deserialize_task(bytes(data))
    except Exception as error:
        raise TaskError(
            f"a message of {len(data)} bytes in the {place} of {huey.name!r} cannot be read, and a worker would lose "
            f"it: {type(error).__name__}: {error}"
        ) from error
    task._aquila_huey = huey  # So that it can be performed on its own.
    return task


def _build_pattern(
    task: TaskWrapper | None, args: Iterable[Any], kwargs: dict[str, Any], **options: Any
) -> TaskPattern:
    if task is not None and not isinstance(task, TaskWrapper):
        raise ConfigError(f"what is asked for must be a function decorated with @huey.task(), not {task!r}")
    if task is not None:
        for name in {*options, "huey", "nested", "timeout"} & set(inspect.signature(task.func).parameters):
            if name in options and options[name] is not None:
                raise ConfigError(
                    f"{task_name(task.task_class)} has a parameter {name!r}, which is an option of this function too: "
                    f"ask by where=lambda task: task.kwargs[{name!r}] == ..."
                )
    return TaskPattern(wrapper=task, args=tuple(args), kwargs=kwargs, **options)
