"""Notes the executions of tasks for the report of a run: the run of this process, or the run whose tests it serves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from huey.exceptions import CancelExecution, RateLimitExceeded, RetryTask, TaskLockedException, TaskTimeout

from aquila.huey.error_texts import UNCUT, redact_long_text, text_of
from aquila.huey.live.redacting import describe_arguments, redact_arguments
from aquila.huey.tasks.running_task import attempt_of, task_name
from aquila.recording import runtime
from aquila.recording.reporting.exchange_watch import current_job
from aquila.recording.scope import bound_scope
from aquila.recording.secrets.outgoing import redact_outgoing

_OUTCOMES: tuple[tuple[type[BaseException], str], ...] = (
    (RetryTask, "retry"),
    (CancelExecution, "canceled"),
    (TaskLockedException, "locked"),
    (RateLimitExceeded, "rate-limited"),
    (TaskTimeout, "timeout"),
)
_LONGEST = 20_000
_NOT_EXECUTED = object()


def execute_noted(execute: Callable[[Any, Any], Any], huey: Any, task: Any, timestamp: Any) -> Any:
    """Execute a task by calling ``execute(task, timestamp)``, and note how it ended. Raises what that raises."""
    # The same object may have been executed before. Its earlier outcome is removed, so that it is not noted again for a
    # task that is revoked or has expired this time. It is put back if there is no new one.
    before = vars(task).pop("_aquila_error", _NOT_EXECUTED)
    number, began = attempt_of(task), time.perf_counter()
    token = current_job.set(str(task.id))
    try:
        return execute(task, timestamp)
    finally:
        current_job.reset(token)
        _note_execution(huey, task, number, began, getattr(task, "_aquila_error", _NOT_EXECUTED))
        if before is not _NOT_EXECUTED:
            vars(task).setdefault("_aquila_error", before)


def _note_execution(huey: Any, task: Any, number: int, began: float, error: Any) -> None:
    job: dict[str, Any] = {
        "id": str(task.id),
        "name": task_name(task),
        "queue": huey.name,
        "arguments": str(redact_arguments(describe_arguments(task)))[:_LONGEST],
        "number": number,
        "began": began,
        "took": round((time.perf_counter() - began) * 1000),
        "outcome": _outcome_of(error),
    }
    if isinstance(error, BaseException):
        # Redacted here, because the process that writes the report may not know the secrets of this one.
        job["error"] = redact_long_text(text_of(error, UNCUT), redact_outgoing)[:_LONGEST]
    if attempt_of(task) > number:
        job["delay"] = task._aquila_retry_delay
    run, scope = runtime.current_run(), bound_scope.get()
    if run.exchange_watch is not None and run.is_here:
        run.exchange_watch.take_job(job)
    elif scope is not None:
        scope.child_messages.tell_job(scope.id, job)


def _outcome_of(error: Any) -> str:
    if error is _NOT_EXECUTED:
        return "not executed"
    if error is None:
        return "complete"
    return next((name for kind, name in _OUTCOMES if isinstance(error, kind)), "error")
