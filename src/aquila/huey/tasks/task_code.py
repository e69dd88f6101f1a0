"""Encloses the code of a task, and decides whether its outcome counts."""

from __future__ import annotations

from asyncio import CancelledError
from contextlib import AbstractContextManager
from typing import Any

from huey.api import Task

from aquila.errors import TaskError
from aquila.huey.error_texts import text_of
from aquila.huey.limits.rescheduling import reschedule_after

_INTERRUPTING = ("_pytest.outcomes", "greenlet")
"""The modules of ``pytest.fail`` and ``GreenletExit``. Their errors are not imported, as neither may be installed."""


def replace_error(huey: Any, task: Task, error: BaseException) -> None:
    """Raise what Huey is to get instead of ``error``, which a task has raised. Returns where that is ``error`` itself.

    Huey takes only an ``Exception`` for a failure. Anything else would end the worker, and the task would have no
    result and no retry.
    """
    if isinstance(error, SystemExit):
        raise TaskError(f"the task has left with sys.exit({'' if error.code is None else repr(error.code)})") from error
    if isinstance(error, CancelledError):
        raise TaskError(
            "the task has awaited something that was cancelled, and has not caught CancelledError"
        ) from error
    if not isinstance(error, Exception) and not _is_interrupt(error):
        raise TaskError(f"the task has raised what is no Exception: {text_of(error)}") from error
    reschedule_after(huey, task, error)


def _is_interrupt(error: BaseException) -> bool:
    """Whether an error, or one in a group, means the worker or the test, and not the task."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(_is_interrupt, error.exceptions))
    return isinstance(error, KeyboardInterrupt | GeneratorExit) or any(
        kind.__module__ in _INTERRUPTING for kind in type(error).__mro__
    )


class TaskCode:
    """Encloses the code of a task, and ``inner``, another context manager that encloses it.

    The outcome does not count if the task was handed back meanwhile, or taken over by another consumer. In that case
    ``__exit__`` raises a ``KeyboardInterrupt``: Huey takes the task for interrupted, and stores nothing.
    """

    # A class and not a generator with `contextmanager`: every task passes here, and this takes a fraction of the time.
    __slots__ = ("_huey", "_inner", "_task")

    def __init__(self, huey: Any, task: Task, inner: AbstractContextManager[Any] | None = None) -> None:
        self._huey = huey
        self._task = task
        self._inner = inner

    def __enter__(self) -> None:
        if self._inner is not None:
            self._inner.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: Any, traceback: Any) -> bool | None:
        task = self._task
        in_hand = getattr(task, "_aquila_in_hand", None) or self._huey.tasks_in_hand
        if error is None and self._inner is None:  # The usual case, without the cost of the `try` below.
            if not in_hand.may_end(task):
                raise KeyboardInterrupt
            return None
        try:
            if self._inner is not None:
                return self._inner.__exit__(kind, error, traceback)
            replace_error(self._huey, task, error)
            return None
        finally:
            # Also where the code has failed: this process must not retry a task that another consumer has.
            if kind is not KeyboardInterrupt and not in_hand.may_end(task):
                raise KeyboardInterrupt
