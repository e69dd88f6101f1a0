"""Notes requests for the report of a run: when they were sent, when their answers ended, and live answers whole."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import httpx2

from aquila.cassettes.content_codings import decode_body
from aquila.cassettes.model import RecordedChunk, RecordedResponse
from aquila.recording import runtime
from aquila.recording.reporting.exchange_watch import WatchedExchange, current_exchange
from aquila.transports.wire import decode_headers, read_request, read_request_async, to_recorded_request

if TYPE_CHECKING:
    from aquila.recording.scope import Scope

MOST_KEPT = 4 * 1024 * 1024
"""The greatest number of bytes of a live answer that are kept for the report."""

Send = Callable[[httpx2.Request], httpx2.Response]
SendAsync = Callable[[httpx2.Request], Awaitable[httpx2.Response]]


def send_watched(scope: Scope | None, send: Send, request: httpx2.Request, live: str) -> httpx2.Response:
    """Send a request, and note it with its answer. ``live``: the upstream's name, if no scope stores its answers."""
    with _Sending(scope, request, live) as sending:
        if sending.must_read:
            read_request(request)
        return sending.follow(send(request), FollowedStream)


async def send_watched_async(
    scope: Scope | None, send: SendAsync, request: httpx2.Request, live: str
) -> httpx2.Response:
    """The async twin of ``send_watched``."""
    with _Sending(scope, request, live) as sending:
        if sending.must_read:
            await read_request_async(request)
        return sending.follow(await send(request), AsyncFollowedStream)


class _Sending:
    """The block in which a request is sent. What is sent within another one is noted there."""

    def __init__(self, scope: Scope | None, request: httpx2.Request, live: str) -> None:
        self._request = request
        self._exchange: WatchedExchange | None = None
        if (around := current_exchange.get()) is not None:  # a route within a route
            around.source = live or around.source
        else:
            self._exchange = _begin(scope, live)
        self.must_read = self._exchange is not None and bool(live)
        """Whether the request must be read before it is sent, since nothing else keeps it."""

    def follow(self, response: httpx2.Response, stream: type[FollowedStream | AsyncFollowedStream]) -> httpx2.Response:
        """Return the answer. How it is read is noted: ``stream`` is the class of its body, as its reader wants it."""
        return response if self._exchange is None else _follow(self._exchange, response, stream)

    def __enter__(self) -> Self:
        if self._exchange is not None:
            self._mark = current_exchange.set(self._exchange)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if error is not None:
            exchange.error, exchange.ended = f"{type(error).__name__}: {error}", time.perf_counter()
        current_exchange.reset(self._mark)
        _keep_request(exchange, self._request)


def _begin(scope: Scope | None, live: str) -> WatchedExchange:
    watch = runtime.current_run().exchange_watch if scope is None else scope.run.exchange_watch
    exchange = WatchedExchange(scope) if watch is None else watch.begin(scope, None)
    exchange.source = live
    return exchange


def _keep_request(exchange: WatchedExchange, request: httpx2.Request) -> None:
    """Keep a request that was not noted yet, if its body can be read again."""
    if exchange.request is None:
        try:
            exchange.request = to_recorded_request(request)
        except httpx2.RequestNotRead:
            exchange.address = f"{request.method} {request.url.copy_with(userinfo=b'', query=None, fragment=None)}"


def _follow(
    exchange: WatchedExchange, response: httpx2.Response, stream: type[FollowedStream | AsyncFollowedStream]
) -> httpx2.Response:
    """Return the answer with a stream that notes when it was read and, for a live answer, its chunks."""
    exchange.first_byte = time.perf_counter()
    if exchange.source:
        exchange.response = RecordedResponse(response.status_code, decode_headers(response.headers.raw))
    if response.is_closed:  # it came whole, so that nobody reads the stream
        kept = _Kept(exchange)
        kept.add(response.content)
        kept.end("read")
    else:
        response.stream = stream(response.stream, exchange)
    return response


class _Kept:
    """The kept part of an answer, which belongs to the reader of its stream."""

    def __init__(self, exchange: WatchedExchange) -> None:
        self._exchange = exchange
        self._chunks: list[RecordedChunk] = []
        self._size = 0
        self._is_kept = exchange.response is not None

    def add(self, data: bytes) -> None:
        if self._is_kept and self._size >= MOST_KEPT:
            self._exchange.left_out += len(data)
        elif self._is_kept:
            at = round((time.perf_counter() - self._exchange.asked) * 1000)
            self._chunks.append(RecordedChunk(data, at))
            self._size += len(data)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """The block in which the answer is read to its end. A reader that leaves closes the stream, which is noted."""
        try:
            yield
        except GeneratorExit:
            raise
        except BaseException as error:
            self.end("raised", error)
            raise
        self.end("read")

    def end(self, how: str, error: BaseException | None = None) -> None:
        exchange = self._exchange
        if exchange.ended is not None:
            return
        exchange.ended = time.perf_counter()
        if error is not None:
            exchange.error = f"{type(error).__name__}: {error}"
        begun = exchange.response
        if begun is None or not self._is_kept:
            return
        chunks, coding = self._chunks, dict(begun.headers).get("content-encoding", "")
        if coding and chunks:
            chunks = [RecordedChunk(decode_body(b"".join([each.data for each in chunks]), coding), chunks[-1].at)]
        exchange.response = RecordedResponse(
            begun.status,
            tuple(each for each in begun.headers if each[0] not in ("content-encoding", "content-length")),
            tuple(chunks),
            "closed" if how == "left" else "broken" if error is not None else "complete",
            exchange.error,
            round(((exchange.first_byte or exchange.ended) - exchange.asked) * 1000),
            round((exchange.ended - exchange.asked) * 1000),
        )


class FollowedStream(httpx2.SyncByteStream):
    """The body of an answer that is followed."""

    def __init__(self, stream: Any, exchange: WatchedExchange) -> None:
        self.watched_stream = stream
        self._kept = _Kept(exchange)
        self.after_close: Callable[[], Any] | None = None

    def __iter__(self) -> Iterator[bytes]:
        with self._kept.reading():
            for chunk in self.watched_stream:
                self._kept.add(chunk)
                yield chunk

    def close(self) -> None:
        self._kept.end("left")
        try:
            self.watched_stream.close()
        finally:
            if self.after_close is not None:
                self.after_close()


class AsyncFollowedStream(httpx2.AsyncByteStream):
    """The async twin of ``FollowedStream``."""

    def __init__(self, stream: Any, exchange: WatchedExchange) -> None:
        self.watched_stream = stream
        self._kept = _Kept(exchange)
        self.after_close: Callable[[], Awaitable[None]] | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._kept.reading():
            async for chunk in self.watched_stream:
                self._kept.add(chunk)
                yield chunk

    async def aclose(self) -> None:
        self._kept.end("left")
        try:
            await self.watched_stream.aclose()
        finally:
            if self.after_close is not None:
                await self.after_close()
