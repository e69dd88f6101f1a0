"""Streams that end when their task must end, and whose text so far other processes can read.

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
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import TYPE_CHECKING

import anyio

from aquila.errors import ConfigError, StreamClosed
from aquila.events import Done, Event
from aquila.huey.progress.resuming import FollowedAnswer, Resume
from aquila.huey.progress.task_watch import TaskWatch
from aquila.huey.tasks.running_task import current_task
from aquila.transports.own_threads import run_in_thread

if TYPE_CHECKING:
    from aquila.engine.streams.async_stream import AsyncStream
    from aquila.engine.streams.cut_answers import Prefill
    from aquila.engine.streams.sync_stream import Stream


def follow(
    stream: Stream, *, every: float = 0.5, resume: Resume | None = None, continue_by: str | Prefill | None = None
) -> Iterator[Event]:
    """Yield the events of a stream, and watch the task that reads it.

    - The ``timeout`` of the task ends the stream with ``TaskTimeout``. That holds in thread workers, too, where Huey
      only sets a flag.
    - Revoking the task ends the stream with ``CancelExecution``, without a retry.
    - The text so far is stored every ``every`` seconds and at the end. ``partial_answer`` reads it.
    - With ``resume``, a task that is retried or delivered again asks only for the missing part of the answer.
      ``"continue"`` yields only new events; ``"replay"`` first yields the stored chunks. ``stream.response`` is the
      whole answer either way. An answer that was complete is not asked for again.
    - ``continue_by`` is how the model is asked to go on. A text is sent as a message of the user, in which
      ``{last_word}`` is the last word of the answer. ``Prefill`` lets the provider continue the message of the
      assistant, if it supports that.

    A stream that is ended closes its connection to the provider. ``every`` seconds is also how often the storage is
    asked whether the task was revoked. A storage that does not answer ends nothing: it is asked again, and a warning is
    logged once. Raises ``ConfigError`` outside of a task and for a call that cannot be resumed, and what the stream
    raises.
    """
    current = current_task()
    answer = FollowedAnswer(current, stream._plan, resume, continue_by)
    events = iter(stream)  # Sends nothing yet: `prepare` may still change the request.
    answer.load()
    answer.prepare(stream)
    # The thread of the watch closes the connection and not the stream: closing the stream would wait for the reader,
    # and the reader waits for data.
    watch = TaskWatch(current, every, store=answer.store, end_stream=stream._call.interrupter.interrupt)
    watch.start()
    try:
        with _naming_reason(watch):
            for event in answer.events_before():
                yield event
                watch.raise_if_ended()
            for event in events if answer.response is None else ():
                taken = answer.take(event)
                if isinstance(taken, Done):
                    stream._state.response = taken.response
                    answer.keep_complete()
                if taken is not None:
                    yield taken
                watch.raise_if_ended()
    finally:
        watch.finish(is_complete=answer.response is not None)
        answer.end()


def afollow(
    stream: AsyncStream, *, every: float = 0.5, resume: Resume | None = None, continue_by: str | Prefill | None = None
) -> AsyncIterator[Event]:
    """``follow`` for ``async`` tasks: ``async for event in afollow(stream)``, for a stream of ``aquila.astream``.

    Examples:
        >>> from aquila.huey import MemoryHuey, afollow
        >>> from aquila.huey.testing import perform_job
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task()
        ... async def answer(question):
        ...     async with aquila.astream(question) as stream:
        ...         return "".join([event.text async for event in afollow(stream) if isinstance(event, aquila.Chunk)])
        >>> perform_job(answer, "How do eagles fly so far?").value
        'Eagles circle in rising warm air.'
    """
    answer = FollowedAnswer(current_task(), stream._plan, resume, continue_by)
    closer = _StreamCloser(stream)
    watch = TaskWatch(answer.current, every, store=answer.store, end_stream=closer.close_from_thread)
    return _AsyncFollowing(stream, answer, watch, closer)


class _AsyncFollowing(AsyncIterator[Event]):
    """The events of a stream that is followed.

    This is not a generator, because the event loop closes a generator some time after its consumer has left it, or
    never. This object ends its watch as soon as nothing refers to it. So nothing that it refers to may refer back to
    it: a cycle would keep it alive until the next garbage collection.
    """

    def __init__(self, stream: AsyncStream, answer: FollowedAnswer, watch: TaskWatch, closer: _StreamCloser) -> None:
        self._answer = answer
        self._watch = watch
        self._closer = closer
        self._events = _iterate(stream, answer, watch)

    async def __anext__(self) -> Event:
        try:
            return await anext(self._events)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Store the last text, and stop watching the task."""
        if self._watch.is_running:
            # Shielded, because a task that is cancelled must still keep its text for the retry.
            with anyio.CancelScope(shield=True):
                await run_in_thread(self._finish)
                await self._closer.wait_until_closed()

    def _finish(self) -> None:
        self._watch.finish(is_complete=self._answer.response is not None)
        self._answer.end()

    def __del__(self) -> None:
        # So dropping the last reference waits for the storage, at most `task_watch.PATIENCE` seconds.
        if self._watch.is_running:
            self._finish()


async def _iterate(stream: AsyncStream, answer: FollowedAnswer, watch: TaskWatch) -> AsyncGenerator[Event, None]:
    events = aiter(stream)
    await run_in_thread(answer.load)
    answer.prepare(stream)
    watch.start()
    with _naming_reason(watch):
        for event in answer.events_before():
            yield event
            watch.raise_if_ended()
        if answer.response is not None:
            return
        async for event in events:
            taken = answer.take(event)
            if isinstance(taken, Done):
                stream._state.response = taken.response
                await run_in_thread(answer.keep_complete)
            if taken is not None:
                yield taken
            watch.raise_if_ended()


@contextlib.contextmanager
def _naming_reason(watch: TaskWatch) -> Iterator[None]:
    """If the watch has closed the connection, raise the error by which the task ends instead of ``StreamClosed``."""
    try:
        yield
    except StreamClosed:
        watch.raise_if_ended()
        raise


class _StreamCloser:
    """Closes an asynchronous stream from another thread."""

    def __init__(self, stream: AsyncStream) -> None:
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigError("afollow() needs asyncio, which runs async tasks") from None
        self._stream = stream
        # The event loop has only weak references to its tasks, so this list keeps them. It is gone with the stream.
        self._closing: list[asyncio.Task[None]] = []

    def close_from_thread(self) -> None:
        """Make the event loop close the stream. Does not wait for it."""
        with contextlib.suppress(RuntimeError):  # The loop has ended, and the stream with it.
            self._loop.call_soon_threadsafe(self._close)

    async def wait_until_closed(self) -> None:
        """Wait until the stream is closed, if that has begun: the end of the event loop would cut it short."""
        if self._closing:
            await asyncio.wait(self._closing)

    def _close(self) -> None:
        self._closing.append(self._loop.create_task(self._stream.aclose()))
