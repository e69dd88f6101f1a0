"""Watches how answers are read, in a run that judges what programs do with faults."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from aquila.recording.reporting.wire_watch import Attempt, Reading, WireWatch
from aquila.recording.sessions.session_decisions import ReplayDecision
from aquila.transports.callers.proxy import CREDENTIALS
from aquila.transports.replay import Pace, Rest, replay_response, replay_response_async
from aquila.transports.requested_delay import read_requested_delay


def begin_attempt(watch: WireWatch, decision: ReplayDecision, request: httpx2.Request) -> Attempt:
    """Note a request and its answer as an attempt."""
    response = decision.interaction.response
    delay = read_requested_delay(dict(response.headers))
    return watch.begin(
        decision,
        Attempt(
            key=f"{request.method} {request.url} {hash(_body_of(request))}",
            fault=decision.fault,
            status=response.status,
            retry_after=None if delay is None else max(0.0, delay),
            credentials=hash(tuple(request.headers.get(name) for name in CREDENTIALS)),
            read_limit=(request.extensions.get("timeout") or {}).get("read"),
            is_silent=response.end == "silent",
        ),
    )


def _body_of(request: httpx2.Request) -> bytes:
    try:
        return request.content
    except httpx2.RequestNotRead:  # a large one, in a file
        return request.headers.get("content-length", "").encode()


def _size_of(decision: ReplayDecision) -> int:
    """Return the number of chunks of a complete answer, 0 for an incomplete one."""
    response = decision.interaction.response
    return len(response.chunks) if response.end == "complete" else 0


@contextmanager
def _noting_errors(
    end: Callable[[Reading], None], *, other_than: tuple[type[BaseException], ...] = ()
) -> Iterator[None]:
    try:
        yield
    except other_than:
        raise
    except BaseException:
        end("raised")
        raise


@contextmanager
def _reading(end: Callable[[Reading], None]) -> Iterator[None]:
    """The block in which an answer is read to its end. A reader that leaves closes the stream, which is noted."""
    with _noting_errors(end, other_than=(GeneratorExit,)):
        yield
    end("read")


class WatchedStream(httpx2.SyncByteStream):
    """The body of an answer of ``size`` chunks, which says how it was read.

    A reader that has got the last one has read it, though it may not wait for the end.
    """

    after_close: Callable[[], None] | None = None

    def __init__(self, stream: Any, size: int, end: Callable[[Reading], None]) -> None:
        self.watched_stream = stream
        self._size = size
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        with _reading(self._end):
            for number, chunk in enumerate(self.watched_stream, 1):
                if number == self._size:
                    self._end("read")
                yield chunk

    def close(self) -> None:
        self._end("left")
        self.watched_stream.close()
        if self.after_close is not None:
            self.after_close()


class AsyncWatchedStream(httpx2.AsyncByteStream):
    """The async twin of ``WatchedStream``."""

    after_close: Callable[[], Awaitable[None]] | None = None

    def __init__(self, stream: Any, size: int, end: Callable[[Reading], None]) -> None:
        self.watched_stream = stream
        self._size = size
        self._end = end

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _reading(self._end):
            number = 0
            async for chunk in self.watched_stream:
                number += 1
                if number == self._size:
                    self._end("read")
                yield chunk

    async def aclose(self) -> None:
        self._end("left")
        await self.watched_stream.aclose()
        if self.after_close is not None:
            await self.after_close()


def replay_watched(
    watch: WireWatch, decision: ReplayDecision, request: httpx2.Request, rest: Rest | None, pace: Pace | None
) -> httpx2.Response:
    """``replay_response``, watched. A fault comes without advice to the client: what it does by itself is judged."""
    attempt = begin_attempt(watch, decision, request)
    end = functools.partial(watch.end, attempt)
    with _noting_errors(end):
        response = replay_response(decision, rest, pace, advises=not attempt.fault)
    response.stream = WatchedStream(response.stream, _size_of(decision), end)
    return response


async def replay_watched_async(
    watch: WireWatch, decision: ReplayDecision, request: httpx2.Request, rest: Rest | None, pace: Pace | None
) -> httpx2.Response:
    """The async twin of ``replay_watched``."""
    attempt = begin_attempt(watch, decision, request)
    end = functools.partial(watch.end, attempt)
    with _noting_errors(end):
        response = await replay_response_async(decision, rest, pace, advises=not attempt.fault)
    response.stream = AsyncWatchedStream(response.stream, _size_of(decision), end)
    return response
