"""How a task ends: the marks that say which outcome counts, and the error of whoever waits for a task that failed.

Whoever sets a mark first decides: see ``TasksInHand``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from huey.api import PeriodicTask, Task
from huey.utils import Error

HAS_ENDED = object()
"""The ``_aquila_end`` of a task whose outcome counts: from then on the task is not handed back."""

IS_LOST = object()
"""The ``_aquila_end`` of a task that another consumer has taken over."""


def is_lost(task: Any) -> bool:
    """Whether another consumer is known to have taken over a task that executes here. Its outcome here is discarded."""
    return getattr(task, "_aquila_end", None) is IS_LOST


def iterate_pipeline(first: Task | None) -> Iterator[Task]:
    """Yield a task, if there is one, and the tasks that follow it, in their order."""
    while first is not None:
        yield first
        first = first.on_complete


def error_of(task_id: str, text: str) -> Error:
    """Return an error as the result of a task that is not executed, or not again."""
    return Error({"error": text, "retries": 0, "traceback": "", "task_id": task_id})


def store_error(huey: Any, first: Task | None, error: Error) -> list[Task]:
    """Store an error as the result of a task and of those that follow it, and return these tasks.

    Stores nothing where nobody can ask: the Huey stores no results, or the task is periodic.
    """
    tasks = list(iterate_pipeline(first))
    for task in tasks:
        if huey.results and not isinstance(task, PeriodicTask):
            huey.put_result(task.id, error)
    return tasks
