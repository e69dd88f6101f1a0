"""Calls the functions that a task has registered for the commit of its transaction, where a Django test never commits.

In a worker the transaction of a task is committed, and then the functions are called that it has registered with
``transaction.on_commit``. By such a function djhuey's ``on_commit_task`` enqueues its task. Django's ``TestCase`` (and
the fixture ``db`` of pytest-django) never commits. Its ``captureOnCommitCallbacks(execute=True)`` calls the functions
that a commit would call.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from huey.api import Task, TaskWrapper

from aquila.huey.tasks.django_connections import list_connections
from aquila.lazy_imports import find_loaded

_DJHUEY = "huey.contrib.djhuey"


def find_task_wrapper(task: Any) -> Any:
    """Return the decorated function behind a function of djhuey's ``on_commit_task``. Returns any other ``task``."""
    # The decorated function is in the closure of that function, under the name that Huey 3.5 gives it there.
    if getattr(task, "__globals__", {}).get("__name__") != _DJHUEY:
        return task
    held = _read_closure(task).get("task_wrapper")
    return held if isinstance(held, TaskWrapper) else task


def may_commit() -> bool:
    """Whether ``commit_at_end`` may do anything: somebody has imported Django's databases."""
    return "django.db" in sys.modules


def commit_at_end() -> contextlib.AbstractContextManager[Any]:
    """Call what a commit would call at the end of the block, on each connection whose transaction a test keeps open.

    Within the block these connections stay open. djhuey's ``db_task`` would close them, and with them the transaction.
    """
    connections, testing = _open_connections(), find_loaded("django.test")
    if not connections or testing is None:
        return contextlib.nullcontext()
    stack = contextlib.ExitStack()
    for connection in connections:
        stack.enter_context(_commit_connection_at_end(connection, testing))
    return stack


@contextlib.contextmanager
def _commit_connection_at_end(connection: Any, testing: Any) -> Iterator[None]:
    known = len(connection.run_on_commit)
    close = connection.close_if_unusable_or_obsolete
    connection.close_if_unusable_or_obsolete = lambda: None
    try:
        with testing.TestCase.captureOnCommitCallbacks(using=connection.alias, execute=True):
            yield
    finally:
        connection.close_if_unusable_or_obsolete = close
        # A commit forgets what it calls. Django's capture leaves it, and a capture around this would call it again.
        del connection.run_on_commit[known:]


def list_tasks_before_commit() -> list[Task]:
    """Return the tasks of ``on_commit_task`` that wait for a commit."""
    waiting = [row[1] for connection in _open_connections() for row in connection.run_on_commit]
    tasks = [_read_closure(call).get("task") for call in waiting if _is_from_djhuey(call)]
    return [task for task in tasks if isinstance(task, Task)]


def _open_connections() -> list[Any]:
    """Return the connections of Django that are within a transaction."""
    return [connection for connection in list_connections() if connection.in_atomic_block]


def _is_from_djhuey(function: Any) -> bool:
    return bool(getattr(function, "__globals__", {}).get("__name__") == _DJHUEY)


def _read_closure(function: Any) -> dict[str, Any]:
    values = [cell.cell_contents for cell in function.__closure__ or ()]
    return dict(zip(function.__code__.co_freevars, values, strict=True))
