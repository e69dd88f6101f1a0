"""Notes requests for the report of a run: when they were sent, when their answers ended, and live answers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Self

import httpx2

from aquila.cassettes.model import RecordedChunk, RecordedResponse
from aquila.recording import runtime
from aquila.recording.reporting.exchange_watch import WatchedExchange, current_exchange
from aquila.recording.reporting.wire_watch import Reading
from aquila.transports.watched_streams import AsyncWatchedStream, ReadingNotes, WatchedStream
from aquila.transports.wire import decode_headers, read_request, read_request_async, to_recorded_request, undo_coding

if TYPE_CHECKING:
    from aquila.recording.scope import Scope

MOST_KEPT = 4 * 1024 * 1024
"""After so many bytes of a live answer no further chunks are kept for the report."""

Send = Callable[[httpx2.Request], httpx2.Response]
SendAsync = Callable[[httpx2.Request], Awaitable[httpx2.Response]]


def send_watched(scope: Scope | None, send: Send, request: httpx2.Request, live: str) -> httpx2.Response:
    """Send a request, and note it with its answer. ``live`` is the upstream's name if no scope stores its answers."""
    with _Sending(scope, request, live) as sending:
        if sending.must_read:
            read_request(request)
        return sending.follow(send(request), WatchedStream)


async def send_watched_async(
    scope: Scope | None, send: SendAsync, request: httpx2.Request, live: str
) -> httpx2.Response:
    """The async twin of ``send_watched``."""
    with _Sending(scope, request, live) as sending:
        if sending.must_read:
            await read_request_async(request)
        return sending.follow(await send(request), AsyncWatchedStream)


class _Sending:
    """The block in which a request is sent. Within another such block, the request is part of the outer exchange."""

    def __init__(self, scope: Scope | None, request: httpx2.Request, live: str) -> None:
        self._request = request
        self._exchange: WatchedExchange | None = None
        if (around := current_exchange.get()) is not None:  # a route within a route
            around.source = live or around.source
        else:
            self._exchange = _begin(scope, live)
        self.must_read = self._exchange is not None and bool(live)
        """Whether the body must be read before it is sent, because nothing else keeps it."""

    def follow(self, response: httpx2.Response, stream: type[WatchedStream | AsyncWatchedStream]) -> httpx2.Response:
        """Return the answer with a body that notes how it is read. ``stream`` is the class of that body."""
        return response if self._exchange is None else _follow(self._exchange, response, stream)

    def __enter__(self) -> Self:
        if self._exchange is not None:
            _held = runtime.hold_values()
            self._mark = current_exchange.set(self._exchange)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if error is not None:
            exchange.error, exchange.ended = f"{type(error).__name__}: {error}", time.perf_counter()
        _held = runtime.hold_values()
        current_exchange.reset(self._mark)
        _keep_request(exchange, self._request)


def _begin(scope: Scope | None, live: str) -> WatchedExchange:
    watch = runtime.current_run().exchange_watch if scope is None else scope.run.exchange_watch
    exchange = WatchedExchange(scope) if watch is None else watch.begin(scope)
    exchange.source = live
    return exchange


def _keep_request(exchange: WatchedExchange, request: httpx2.Request) -> None:
    """Keep a request that no route has noted; without a body that was read, only its address."""
    if exchange.request is None:
        try:
            exchange.request = to_recorded_request(request)
        except httpx2.RequestNotRead:
            exchange.address = f"{request.method} {request.url.copy_with(userinfo=b'', query=None, fragment=None)}"


def _follow(
    exchange: WatchedExchange, response: httpx2.Response, stream: type[WatchedStream | AsyncWatchedStream]
) -> httpx2.Response:
    """Return the answer with a body that notes when it was read and, for a live answer, its chunks."""
    exchange.first_byte = time.perf_counter()
    if exchange.source:
        exchange.response = RecordedResponse(response.status_code, decode_headers(response.headers.raw))
    if response.is_closed:  # its body is in memory already, so nothing reads the stream
        kept = _Kept(exchange)
        kept.add(response.content)
        kept.end("read")
    else:
        response.stream = stream(response.stream, _Kept(exchange))
    return response


class _Kept(ReadingNotes):
    """Notes how an answer is read, and keeps the beginning of a live answer."""

    def __init__(self, exchange: WatchedExchange) -> None:
        self._exchange = exchange
        self._chunks: list[RecordedChunk] = []
        self._size = 0
        self._is_kept = exchange.response is not None

    def add(self, chunk: bytes) -> None:
        if self._is_kept and self._size >= MOST_KEPT:
            self._exchange.left_out += len(chunk)
        elif self._is_kept:
            at = round((time.perf_counter() - self._exchange.asked) * 1000)
            self._chunks.append(RecordedChunk(chunk, at))
            self._size += len(chunk)

    def end(self, how: Reading, error: BaseException | None = None) -> None:
        exchange = self._exchange
        if exchange.ended is not None:
            return
        exchange.ended = time.perf_counter()
        if error is not None:
            exchange.error = f"{type(error).__name__}: {error}"
        begun = exchange.response
        if begun is None or not self._is_kept:
            return
        headers, chunks = undo_coding(begun.headers, self._chunks)
        exchange.response = RecordedResponse(
            begun.status,
            headers,
            chunks,
            "closed" if how == "left" else "broken" if error is not None else "complete",
            exchange.error,
            round(((exchange.first_byte or exchange.ended) - exchange.asked) * 1000),
            round((exchange.ended - exchange.asked) * 1000),
        )
