"""Long answers in tasks: what a task keeps for its retry, and streams that end when their task must end.

::

    @huey.task(retries=3, timeout=300)
    def report(topic):
        outline = once("outline", lambda: aquila.ask(f"Outline a report on {topic}").text)
        with aquila.stream(f"Write it: {outline}") as stream:
            for event in follow(stream):
                ...
        return stream.response.text
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, overload

from huey.exceptions import CancelExecution, TaskTimeout

from aquila.errors import StreamClosed
from aquila.events import Chunk, Event
from aquila.huey.running_task import PARTIAL_PREFIX, CurrentTask, current_task

if TYPE_CHECKING:
    from aquila.engine.streams.sync_stream import Stream
    from aquila.huey.task_types import Result, Task

T = TypeVar("T")
_ABSENT: Any = object()


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
    task that is enqueued with the same ``id=`` reads them. Raises ``ConfigError`` outside of a task, and what the
    serializer raises.
    """
    current = current_task()
    if value is _ABSENT:
        return current.load_checkpoints().get(key, default)
    current.store_checkpoint(key, value)
    return value


def once(key: str, function: Callable[[], T]) -> T:
    """Return the checkpoint of a key. Where there is none yet, call ``function``, keep its value and return it."""
    kept = current_task().load_checkpoints()
    if key in kept:
        found: T = kept[key]
        return found
    return checkpoint(key, function())


def partial_answer(huey: Any, task: Result[Any] | Task[Any] | str) -> str | None:
    """Return the text so far of the answer that a task follows, or followed when it failed.

    ``task`` is a result handle, a task or its id. Returns None before the first text, and when the task is complete:
    the result then holds the text. After a retry has begun it is the text of the retry.
    """
    found = huey.get(PARTIAL_PREFIX + (task if isinstance(task, str) else task.id), peek=True)
    return None if found is None else str(found[1])


def follow(stream: Stream, *, every: float = 0.5) -> Iterator[Event]:
    """Yield the events of a stream, and watch the task that reads it.

    - The task's ``timeout`` ends the stream with ``TaskTimeout``, in thread workers too, where Huey only sets a flag.
    - Revoking the task ends the stream with ``CancelExecution``, without a retry.
    - The text so far is stored every ``every`` seconds and at the end. ``partial_answer`` reads it.

    A stream that is ended closes its connection to the provider. ``every`` is also how often the storage is asked
    whether the task was revoked. Raises ``ConfigError`` outside of a task, and what the stream raises.
    """
    with _StreamWatcher(current_task(), stream, every) as watch:
        try:
            for event in stream:
                if isinstance(event, Chunk):
                    watch.text.append(event.text)
                yield event
                watch.raise_if_ended()
        except StreamClosed:
            watch.raise_if_ended()
            raise


class _StreamWatcher:
    """Watches the task of a stream from a thread of its own, because the reader may be waiting for the provider."""

    def __init__(self, current: CurrentTask, stream: Stream, every: float) -> None:
        self.text: list[str] = []
        self._current = current
        self._stream = stream
        self._every = every
        self._ended = threading.Event()
        self._reason: Exception | None = None
        self._stored = 0
        self._thread = threading.Thread(target=self._watch_until_ended, name=f"aquila-follow-{current.id}", daemon=True)

    def __enter__(self) -> _StreamWatcher:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        self._thread.join()
        self._store_text()

    def raise_if_ended(self) -> None:
        """Raise the exception that ends the task, if it must end."""
        if self._reason is not None:
            raise self._reason

    def _watch_until_ended(self) -> None:
        task = self._current.task
        looked = time.monotonic()
        while not self._ended.wait(max(0.001, min(self._every, task.time_remaining))):
            if task.is_timed_out:
                self._end_stream(TaskTimeout(f"timeout {task.timeout}s"))
            elif time.monotonic() - looked >= self._every:
                looked = time.monotonic()
                self._store_text()
                if self._current.is_revoked():
                    self._end_stream(CancelExecution("revoked", retry=False))

    def _end_stream(self, reason: Exception) -> None:
        self._reason = reason
        self._ended.set()
        # Closes the connection from this thread: closing the stream would wait for the reader, who waits for data.
        self._stream._call.interrupter.interrupt()

    def _store_text(self) -> None:
        if len(self.text) != self._stored:
            self._stored = len(self.text)
            self._current.store_partial_answer("".join(self.text[: self._stored]))
