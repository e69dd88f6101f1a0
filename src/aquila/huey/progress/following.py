"""Streams that end when their task must end, and whose text so far can be read elsewhere.

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

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from aquila.errors import ConfigError, StreamClosed
from aquila.events import Chunk, Done, Event
from aquila.huey.progress.watching import TaskWatch
from aquila.huey.running_task import CurrentTask, current_task

if TYPE_CHECKING:
    from aquila.engine.streams.async_stream import AsyncStream
    from aquila.engine.streams.sync_stream import Stream


def follow(stream: Stream, *, every: float = 0.5) -> Iterator[Event]:
    """Yield the events of a stream, and watch the task that reads it.

    - The task's ``timeout`` ends the stream with ``TaskTimeout``, in thread workers too, where Huey only sets a flag.
    - Revoking the task ends the stream with ``CancelExecution``, without a retry.
    - The text so far is stored every ``every`` seconds and at the end. ``partial_answer`` reads it.

    A stream that is ended closes its connection to the provider. ``every`` is also how often the storage is asked
    whether the task was revoked. A storage that does not answer ends nothing: it is asked again, and a warning says so
    once. Raises ``ConfigError`` outside of a task, and what the stream raises.
    """
    current = current_task()
    # Closes the connection from another thread: closing the stream would wait for the reader, who waits for data.
    followed = _Followed(current, every, stream._call.interrupter.interrupt)
    followed.watch.start()
    try:
        for event in stream:
            followed.note(event)
            yield event
            followed.watch.raise_if_ended()
    except StreamClosed:
        followed.watch.raise_if_ended()
        raise
    finally:
        followed.watch.finish(is_complete=followed.is_complete)


async def afollow(stream: AsyncStream, *, every: float = 0.5) -> AsyncIterator[Event]:
    """``follow`` for ``async`` tasks: ``async for event in afollow(stream)``, for a stream of ``aquila.astream``."""
    current = current_task()
    followed = _Followed(current, every, _closer_of(stream))
    followed.watch.start()
    try:
        async for event in stream:
            followed.note(event)
            yield event
            followed.watch.raise_if_ended()
    except StreamClosed:
        followed.watch.raise_if_ended()
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(lambda: followed.watch.finish(is_complete=followed.is_complete))


def _closer_of(stream: AsyncStream) -> Any:
    """Return a function that closes a stream from another thread."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigError("afollow() needs asyncio, which runs async tasks") from None
    closing: list[asyncio.Task[None]] = []  # the event loop itself holds its tasks weakly

    def close() -> None:
        closing.append(loop.create_task(stream.aclose()))

    def close_from_thread() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and the stream with it
            loop.call_soon_threadsafe(close)

    return close_from_thread


class _Followed:
    """A stream that is followed: its text so far, and the watch over its task."""

    def __init__(self, current: CurrentTask, every: float, end_stream: Any) -> None:
        self.is_complete = False
        self._current = current
        self._pieces: list[str] = []
        self._stored = 0
        self.watch = TaskWatch(current, every, store=self._store_text, end_stream=end_stream)

    def note(self, event: Event) -> None:
        if isinstance(event, Chunk):
            self._pieces.append(event.text)
        elif isinstance(event, Done):
            self.is_complete = True

    def _store_text(self) -> None:
        count = len(self._pieces)
        if count != self._stored:
            self._current.kept.store_partial([self._current.attempt, "".join(self._pieces[:count])])
            self._stored = count
