"""Streams of server-sent events, which keep an open page up to date.

Each stream is one task of the event loop; no thread waits for anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import anyio.to_thread
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from aquila.huey.live.subscription import AsyncWakeUp, reading_limiter
from aquila.huey.live.waking import look_every, wake_ups_of
from aquila.huey.progress.storage_patience import Outage

MOST_STREAMS = 200
KEEP_ALIVE = 15.0
"""Seconds without a message after which one is sent that says nothing new.

By it proxies and the page know that the connection is not dead. See ``jobs.js``, which waits for three times as long.
"""

_RETRY = "retry: 1000\n\n"  # Milliseconds after which a browser connects again.
_OVERVIEW_EVERY = 1.0  # Seconds.
_END_NOTICED_WITHIN = 0.25
"""Seconds between two looks whether the server must stop: until then it waits for every open stream."""

Message = tuple[str, Any, int | None]
"""The name of an event, its data, and its number if a browser that connects again can go on after it."""


class StreamSeats:
    """Bounds how many streams may be open at once. One more is answered with 503 and a ``retry-after``."""

    # Used in the event loop alone, so a plain number is enough. A seat is taken when the stream begins and not when the
    # response is made, because a response that is never sent would never give it back.

    def __init__(self, most: int = MOST_STREAMS) -> None:
        self._free = most

    def respond(self, messages: Callable[[], AsyncIterator[Message]]) -> Response:
        """Return a response with a stream of ``messages()``, or a 503 if all seats are taken."""
        if self._free <= 0:
            return PlainTextResponse("too many pages are open; this one looks again soon", 503, {"retry-after": "10"})
        return _EventStreamResponse(
            self._send(messages),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    async def _send(self, messages: Callable[[], AsyncIterator[Message]]) -> AsyncIterator[str]:
        if self._free <= 0:
            return
        self._free -= 1
        try:
            yield _RETRY
            async for name, data, number in messages():
                yield write_message(name, data, number)
        finally:
            self._free += 1


class _EventStreamResponse(StreamingResponse):
    """A stream that ends quietly when its server ends.

    Otherwise the server would report its cancellation as an error of the application.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await super().__call__(scope, receive, send)


def write_message(name: str, data: Any, number: int | None) -> str:
    """Return a server-sent event as text."""
    lines = [f"event: {name}"]
    if number is not None:
        lines.append(f"id: {number}")
    # JSON escapes line breaks, so one line of data is enough, whatever the text.
    return "\n".join([*lines, f"data: {json.dumps(data)}", "", ""])


def is_fault_of_page(error: Exception) -> bool:
    """Whether the code or a template of the page is wrong. Any other error is taken for one of the storage.

    Each storage has errors of its own for being away, and none of them is of these kinds.
    """
    kinds = (AssertionError, AttributeError, LookupError, NameError, TypeError)
    return isinstance(error, kinds) or type(error).__module__.startswith("jinja2.")


async def repeat_messages(
    huey: Any, job: str | None, look: Callable[[], list[Message]], outage: Outage
) -> AsyncIterator[Message]:
    """Yield the messages that ``look`` returns, again and again: at each event of a job, or once a second.

    ``job`` is the id of a job; None for the overview. ``look`` is called in a thread, because it asks the storage.
    Ends when the server must stop. Ends, too, when the storage does not answer, which ``outage`` logs once; then the
    browser connects again. Raises an error that is a fault of the page.
    """
    woken, quiet_since = AsyncWakeUp(), time.monotonic()
    with wake_ups_of(huey).calling(woken.set, job) if job else contextlib.nullcontext():
        while not is_server_ending():
            woken.clear()
            try:
                found = await anyio.to_thread.run_sync(_look_unless_ending, look, limiter=reading_limiter())
            except Exception as error:
                if is_fault_of_page(error):
                    raise
                outage.note_failure(error)
                return
            outage.note_answer()
            for message in found:
                yield message
            if found:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since >= KEEP_ALIVE:
                quiet_since = time.monotonic()
                yield "alive", None, None
            await _wait(woken, look_every(huey) if job else _OVERVIEW_EVERY)


def _look_unless_ending(look: Callable[[], list[Message]]) -> list[Message]:
    # The threads are few. If many pages are open, most streams wait for a thread, and the server would wait for all.
    return [] if is_server_ending() else look()


async def _wait(woken: AsyncWakeUp, seconds: float) -> None:
    """Wait for ``seconds``, or until a wake-up comes or the server ends."""
    until = time.monotonic() + seconds
    while not is_server_ending() and (left := until - time.monotonic()) > 0:
        if await woken.wait(min(left, _END_NOTICED_WITHIN)):
            return


_STOPPING = (signal.SIGTERM, signal.SIGINT)


def is_server_ending() -> bool:
    """Return whether uvicorn runs in this process, has got a signal, and waits for its connections.

    False with other servers: those that are known (hypercorn, daphne, granian) end streams themselves.
    """
    # No message of ASGI says it to an application that streams, and uvicorn waits for a stream that does not end.
    # uvicorn 0.54 handles its signals by a method of its server, and notes in an attribute of it that it must stop.
    # Asking is cheap. If the program has a signal handler of its own, the server is not found, and the stream goes on.
    for number in _STOPPING:
        server = getattr(signal.getsignal(number), "__self__", None)
        if getattr(server, "should_exit", False) is True:
            return True
    return False
