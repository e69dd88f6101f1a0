"""Record: a tee around any other transport. A chunk reaches the caller when it arrives."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2

from aquila.cassettes.model import End, RecordedChunk, RecordedResponse
from aquila.recording.scope import Scope
from aquila.recording.session import RecordDecision, ReplayDecision, Session
from aquila.transports.replay import Deciding, areplayed, replayed
from aquila.transports.wire import Decoder, decoder_for, error_text, headers_of

_TERMINATOR = b"data: [DONE]"


class RecordTransport(Deciding, httpx2.BaseTransport):
    """Answers from the session what it holds, and records the rest from ``upstream``."""

    def __init__(self, scope: Scope, session: Session, upstream: httpx2.BaseTransport) -> None:
        super().__init__(scope, session)
        self._upstream = upstream

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        decision = self._decide(request)
        if isinstance(decision, ReplayDecision):
            self._scope.recording.note_play(self._session, decision)
            return replayed(decision, self._pace(request))
        tee = Tee(self._scope, self._session, decision)
        response = self._upstream.handle_request(request)
        headers = tee.begin(response)
        return httpx2.Response(
            response.status_code,
            headers=headers,
            stream=_TeeStream(tee, response),
            extensions=response.extensions,
        )


class AsyncRecordTransport(Deciding, httpx2.AsyncBaseTransport):
    """The async twin of ``RecordTransport``."""

    def __init__(self, scope: Scope, session: Session, upstream: httpx2.AsyncBaseTransport) -> None:
        super().__init__(scope, session)
        self._upstream = upstream

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        decision = self._decide(request)
        if isinstance(decision, ReplayDecision):
            if not self._scope.is_owner:
                await _off_the_loop(self._scope.recording.note_play, self._session, decision)
            return await areplayed(decision, self._pace(request))
        tee = Tee(self._scope, self._session, decision)
        response = await self._upstream.handle_async_request(request)
        headers = tee.begin(response)
        return httpx2.Response(
            response.status_code,
            headers=headers,
            stream=_AsyncTeeStream(tee, response),
            extensions=response.extensions,
        )


class Tee:
    """One recording in progress: takes in what arrives, and stores the interaction once, however it ends.

    Content codings are undone on the way, for the caller too, so that a run that records sees the same bytes as one
    that replays.
    """

    def __init__(self, scope: Scope, session: Session, record: RecordDecision) -> None:
        self._scope = scope
        self._session = session
        self._record = record
        self._clock = time.monotonic()
        self._lock = threading.Lock()
        self._chunks: list[RecordedChunk] = []
        self._ended = False
        self._status = 0
        self._headers: tuple[tuple[str, str], ...] = ()
        self._started = 0
        self._decode: Decoder | None = None

    def begin(self, response: httpx2.Response) -> list[tuple[str, str]]:
        """Take in status and headers; return the headers for the caller."""
        self._status = response.status_code
        self._started = self._now()
        headers = headers_of(response.headers.raw)
        self._decode = decoder_for(response.headers.get("content-encoding", ""))
        if self._decode is not None:
            headers = tuple(row for row in headers if row[0] not in ("content-encoding", "content-length"))
        self._headers = headers
        self._scope.recording.track_unfinished(self)
        return list(headers)

    def take(self, data: bytes) -> bytes:
        """Take in a chunk as it came; return it decoded, for the caller."""
        if self._decode is not None:
            try:
                data = self._decode(data)
            except (zlib.error, ValueError) as error:
                raise httpx2.RemoteProtocolError(f"the body is not what its Content-Encoding says: {error}") from error
        if data:
            self._chunks.append(RecordedChunk(data, self._now()))
        return data

    def complete(self) -> bytes:
        """The body has ended: store. Returns what was left in the decoder, for the caller."""
        rest = b""
        if self._decode is not None:
            rest = self.take_rest()
        self._finish("complete")
        return rest

    def take_rest(self) -> bytes:
        """What a decoder gives when its input has ended."""
        assert self._decode is not None
        rest = self._decode(None)
        if rest:
            self._chunks.append(RecordedChunk(rest, self._now()))
        return rest

    def broken(self, error: BaseException) -> None:
        """The other side broke off: store that too."""
        self._finish("broken", error_text(error))

    def abandon(self) -> None:
        """The caller stopped reading: store what came, unless the end had been reached already.

        Clients stop at the terminator of an event stream and do not read the empty rest.
        """
        tail = b"".join(chunk.data for chunk in self._chunks[-3:]).rstrip()
        self._finish("complete" if tail.endswith(_TERMINATOR) else "closed")

    def _finish(self, end: End, error: str = "") -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
        self._scope.recording.forget_unfinished(self)
        response = RecordedResponse(
            self._status, self._headers, tuple(self._chunks), end, error, self._started, self._now()
        )  # fmt: skip
        self._scope.recording.store_interaction(self._session, self._record, response)

    def _now(self) -> int:
        return round((time.monotonic() - self._clock) * 1000)


class _TeeStream(httpx2.SyncByteStream):
    def __init__(self, tee: Tee, response: httpx2.Response) -> None:
        self._tee = tee
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        stream = self._response.stream
        assert isinstance(stream, httpx2.SyncByteStream)
        take = self._tee.take
        try:
            for data in stream:
                decoded = take(data)
                if decoded:
                    yield decoded
        except httpx2.TransportError as error:
            self._tee.broken(error)
            raise
        rest = self._tee.complete()
        if rest:
            yield rest

    def close(self) -> None:
        try:
            self._tee.abandon()
        finally:
            self._response.close()


class _AsyncTeeStream(httpx2.AsyncByteStream):
    def __init__(self, tee: Tee, response: httpx2.Response) -> None:
        self._tee = tee
        self._response = response
        # One iterator for all readers: the openai SDK reads what follows the terminator by iterating once more.
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        self._arriving = aiter(response.stream)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        take = self._tee.take
        try:
            async for data in self._arriving:
                decoded = take(data)
                if decoded:
                    yield decoded
        except httpx2.TransportError as error:
            await _off_the_loop(self._tee.broken, error)
            raise
        rest = await _off_the_loop(self._tee.complete)
        if rest:
            yield rest

    async def aclose(self) -> None:
        try:
            await _off_the_loop(self._tee.abandon)
        finally:
            await self._response.aclose()


async def _off_the_loop(function: Any, *arguments: Any) -> Any:
    """Run what writes to disk in a thread; a cancelled caller does not keep it from being stored."""
    import anyio
    import anyio.to_thread

    with anyio.CancelScope(shield=True):
        return await anyio.to_thread.run_sync(function, *arguments)
