"""What becomes of a task whose result, or what is to follow it, cannot be made a message: it has failed for good."""

from __future__ import annotations

import copy
import logging
from typing import Any

from huey.api import PeriodicTask, Task
from huey.exceptions import RETRYING_EXCEPTIONS
from huey.signals import SIGNAL_ERROR
from huey.utils import Error

from aquila.errors import NotSerializable
from aquila.huey.running_task import current_task_or_none

logger = logging.getLogger("huey.aquila")


def fail_for_good(huey: Any, task: Task, error: NotSerializable, *, is_result: bool) -> None:
    """Say of a task that it failed, to whoever waits for it or for what follows it, and keep it as a dead letter.

    To execute it again would pay again, for the same. ``is_result``: what could not be stored is the value that the
    task has returned. Else that is told already, and the task that follows, or the retry, cannot be enqueued.
    """
    logger.error("task %s has failed for good, because this cannot be stored: %s", task.id, error)
    task.retries = 0
    failure = None if is_result else task.__dict__.get("_aquila_error")
    is_retry = task.__dict__.get("_aquila_unsent_retry") is error
    if is_retry:
        task._aquila_retrying = False
        task._aquila_error, error.__cause__ = error, failure  # Why it was to be retried is told with it.
    if is_result or is_retry:
        huey._emit(SIGNAL_ERROR, task, error)
    told = Error(huey.build_error_result(task, error))
    has_value = not is_result and failure is None
    waited_for = task.on_complete if has_value else task
    while waited_for is not None and huey.results and not isinstance(task, PeriodicTask):
        huey.put_result(waited_for.id, told)
        waited_for = waited_for.on_complete
    if is_result:
        if _executes_here(task):
            huey._run_post_execute(task, None, error)
        _enqueue_handler(huey, task, error)
    elif is_retry and not (huey.store_intermediate_errors and not isinstance(failure, RETRYING_EXCEPTIONS)):
        _enqueue_handler(huey, task, error)  # Huey has left it to the last attempt.
    huey._abort_chord_member(task, told)


def _executes_here(task: Task) -> bool:
    """Whether a task has executed: the callback of a chord that cannot be sent has not."""
    current = current_task_or_none()
    return current is not None and current.task is task


def _enqueue_handler(huey: Any, task: Task, error: NotSerializable) -> None:
    if task.on_error:
        handler = copy.copy(task.on_error)
        handler.extend_data(error)
        try:
            huey.enqueue(handler)
        except NotSerializable as refusal:
            logger.error("task %s has failed, and its on_error cannot be enqueued: %s", task.id, refusal)
