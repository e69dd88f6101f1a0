"""Ends a task whose result, retry or following task cannot be serialized: the task has failed for good."""

from __future__ import annotations

import copy
import logging
from typing import Any

from huey.api import Task
from huey.exceptions import RETRYING_EXCEPTIONS
from huey.signals import SIGNAL_ERROR
from huey.utils import Error

from aquila.errors import NotSerializable
from aquila.huey.tasks.running_task import current_task_or_none
from aquila.huey.tasks.task_ends import store_error

logger = logging.getLogger("huey.aquila")


def fail_for_good(huey: Any, task: Task, error: NotSerializable, *, is_result: bool) -> None:
    """Store an error as the result of a task and of those that follow it, and keep the task as a dead letter.

    Executing the task again would cost the same and end in the same way.

    ``error`` says what cannot be serialized. With ``is_result`` that is the value that the task has returned. Without
    it, the task that follows, the retry or the handler of errors cannot be enqueued.
    """
    # The order is that of Huey's `_execute` for a failure: signal, result, hooks, the handler of errors, the chord.
    logger.error("task %s has failed for good, because this cannot be stored: %s", task.id, error)
    task.retries = 0
    failure = None if is_result else task.__dict__.get("_aquila_error")
    is_retry = task.__dict__.get("_aquila_unsent_retry") is error
    if is_retry:
        task._aquila_retrying = False
        task._aquila_error, error.__cause__ = error, failure  # The traceback then shows why there was to be a retry.
    if is_result or is_retry:
        huey._emit(SIGNAL_ERROR, task, error)
    stored = Error(huey.build_error_result(task, error))
    # The code has ended well, and its value is stored: only what follows has failed.
    has_value = not is_result and failure is None
    store_error(huey, task.on_complete if has_value else task, stored)
    if is_result:
        if _executes_here(task):
            huey._run_post_execute(task, None, error)
        _enqueue_handler(huey, task, error)
    elif is_retry and not (huey.store_intermediate_errors and not isinstance(failure, RETRYING_EXCEPTIONS)):
        # Huey enqueues the handler only after the last attempt, unless it stores intermediate errors. This attempt is
        # the last one now.
        _enqueue_handler(huey, task, error)
    huey._abort_chord_member(task, stored)


def _executes_here(task: Task) -> bool:
    """Whether a task is executing in this context. The callback of a chord that cannot be sent is not."""
    current = current_task_or_none()
    return current is not None and current.task is task


def _enqueue_handler(huey: Any, task: Task, error: NotSerializable) -> None:
    if task.on_error:
        # A copy, as Huey makes one: `on_error` is shared by all attempts.
        handler = copy.copy(task.on_error)
        handler.extend_data(error)
        try:
            huey.enqueue(handler)
        except NotSerializable as refusal:
            logger.error("task %s has failed, and its on_error cannot be enqueued: %s", task.id, refusal)
