"""The values that a task keeps for its retry, and the text so far of an answer, which other processes can read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from huey.constants import EmptyData

from aquila.huey.progress.kept_progress import PARTIAL_PREFIX
from aquila.huey.progress.storage_patience import ask_until_answered
from aquila.huey.tasks.running_task import current_task

if TYPE_CHECKING:
    from aquila.huey.tasks.task_types import Result, Task

T = TypeVar("T")
_ABSENT: Any = object()

PATIENCE_TO_READ = 2.0
"""Seconds for which ``partial_answer`` asks a storage that does not answer. Its caller can look again later."""


@overload
def checkpoint(key: str, value: T, *, default: Any = None) -> T: ...
@overload
def checkpoint(key: str, *, default: Any = None) -> Any: ...
def checkpoint(key: str, value: Any = _ABSENT, *, default: Any = None) -> Any:
    """Keep a value for the retry of the task that is executing, and return it. Without a value, return the kept one.

    - ``key``: the name of the checkpoint within its task.
    - ``value``: anything that can be the result of a task.
    - ``default``: is returned where there is no value to return.

    Checkpoints are removed when the task completes. Those of a task that failed for good stay until they are pruned; a
    task that is enqueued with the same ``id=`` reads them.

    A storage that does not answer is asked again. If the kept values cannot be read for half a minute, the exception of
    the storage is raised, because going on without them would do all work again. If a value cannot be stored for five
    seconds, nothing fails, because its work is done already. Then a warning is logged, and the value is stored with the
    next checkpoint, or when the attempt fails. Raises ``ConfigError`` outside of a task, and what the serializer
    raises.
    """
    kept = current_task().kept
    if value is _ABSENT:
        return kept.load_checkpoints().get(key, default)
    kept.store_checkpoint(key, value)
    return value


def once(key: str, function: Callable[[], T]) -> T:
    """Return the checkpoint with a key. If there is none yet, call ``function``, keep its value and return it.

    Raises what ``function`` and ``checkpoint`` raise.
    """
    kept = current_task().kept.load_checkpoints()
    if key in kept:
        found: T = kept[key]
        return found
    return checkpoint(key, function())


def partial_answer(huey: Any, task: Result[Any] | Task[Any] | str) -> str | None:
    """Return the text so far of the answer that a task follows, or that it followed when it failed.

    ``huey`` is the Huey of the task, and ``task`` is a result handle, a task or the id of one. Returns None before the
    first text, and after the task is complete: then its result has the text. After a retry has begun this is the text
    of the retry. A storage that does not answer is asked again for two seconds; then its exception is raised.

    Examples:
        >>> from aquila.huey import MemoryHuey, follow, partial_answer
        >>> from aquila.huey.testing import perform_job, use_test_queue
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task()
        ... def answer(question):
        ...     with aquila.stream(question) as stream:
        ...         for event in follow(stream):
        ...             if isinstance(event, aquila.Chunk) and event.text == "rising ":
        ...                 raise ValueError("what may happen in the middle of an answer")
        >>> with use_test_queue(huey):
        ...     run = perform_job(answer, "How do eagles fly so far?", raises=ValueError)
        ...     partial_answer(huey, run.task)
        'Eagles circle in rising '
    """
    key = PARTIAL_PREFIX + (task if isinstance(task, str) else task.id)
    data = ask_until_answered(lambda: huey.get_raw(key, peek=True), patience=PATIENCE_TO_READ)
    return None if data is EmptyData else huey.serializer.deserialize(data)[1]
