"""What a task keeps for its retry, and the text so far of an answer, for whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from huey.constants import EmptyData

from aquila.huey.progress.kept_progress import PARTIAL_PREFIX
from aquila.huey.progress.storage_patience import ask_until_answered
from aquila.huey.running_task import current_task

if TYPE_CHECKING:
    from aquila.huey.task_types import Result, Task

T = TypeVar("T")
_ABSENT: Any = object()

PATIENCE_TO_READ = 2.0
"""Seconds for which a reader of a text so far asks the storage. It can look again itself."""


@overload
def checkpoint(key: str, value: T, *, default: Any = None) -> T: ...
@overload
def checkpoint(key: str, *, default: Any = None) -> Any: ...
def checkpoint(key: str, value: Any = _ABSENT, *, default: Any = None) -> Any:
    """Keep a value for the retry of the task that is executing, and return it. Without a value return the kept one.

    - ``key``: the name of the checkpoint within its task.
    - ``value``: anything that can be the result of a task.
    - ``default``: is returned where nothing was kept.

    Checkpoints are removed when the task completes. Those of a task that failed for good stay until they are pruned; a
    task that is enqueued with the same ``id=`` reads them.

    A storage that does not answer is asked again. What was kept is waited for half a minute; then its exception is
    raised, because going on without it would do everything again. A value that cannot be stored for five seconds fails
    nothing, because what it keeps is done already: a warning says so, and it is stored with the next checkpoint, or
    when the attempt fails. Raises ``ConfigError`` outside of a task, and what the serializer raises.
    """
    kept = current_task().kept
    if value is _ABSENT:
        return kept.load_checkpoints().get(key, default)
    kept.store_checkpoint(key, value)
    return value


def once(key: str, function: Callable[[], T]) -> T:
    """Return the checkpoint of a key. Where there is none yet, call ``function``, keep its value and return it."""
    kept = current_task().kept.load_checkpoints()
    if key in kept:
        found: T = kept[key]
        return found
    return checkpoint(key, function())


def partial_answer(huey: Any, task: Result[Any] | Task[Any] | str) -> str | None:
    """Return the text so far of the answer that a task follows, or followed when it failed.

    ``task`` is a result handle, a task or its id. Returns None before the first text, and when the task is complete:
    the result then holds the text. After a retry has begun it is the text of the retry. A storage that does not answer
    is asked again for two seconds; then its exception is raised.

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
    return None if data is EmptyData else text_of_partial(huey.serializer.deserialize(data))


def text_of_partial(stored: Any) -> str | None:
    """Return the text in what a task stored of an answer, or None for what is none of Aquila's."""
    if isinstance(stored, list) and len(stored) >= 2 and isinstance(stored[1], str):
        return stored[1]
    return None
