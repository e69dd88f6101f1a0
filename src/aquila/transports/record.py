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
from aquila.transports.replay import CassetteTransport, replay_response, replay_response_async
from aquila.transports.wire import Decoder, decode_headers, decoder_for, error_to_text

_TERMINATOR = b"data: [DONE]"


class RecordTransport(CassetteTransport, httpx2.BaseTransport):
    """Answers from the session what it holds, and records the rest from ``upstream``."""

    def __init__(self, scope: Scope, session: Session, timing: float, upstream: httpx2.BaseTransport) -> None:
        super().__init__(scope, session, timing)
        self._upstream = upstream

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        decision = self._decide_about(request)
        if isinstance(decision, ReplayDecision):
            self._scope.recording.note_play(self._session, decision)
            return replay_response(decision, self._pace_for(request))
        tee = AnswerRecorder(self._scope, self._session, decision)
        response = self._upstream.handle_request(request)
        headers = tee.start_answer(response)
        return httpx2.Response(
            response.status_code,
            headers=headers,
            stream=_RecordedStream(tee, response),
            extensions=response.extensions,
        )


class AsyncRecordTransport(CassetteTransport, httpx2.AsyncBaseTransport):
    """The async twin of ``RecordTransport``."""

    def __init__(self, scope: Scope, session: Session, timing: float, upstream: httpx2.AsyncBaseTransport) -> None:
        super().__init__(scope, session, timing)
        self._upstream = upstream

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        decision = self._decide_about(request)
        if isinstance(decision, ReplayDecision):
            if not self._scope.is_owner:
                await _run_in_thread(self._scope.recording.note_play, self._session, decision)
            return await replay_response_async(decision, self._pace_for(request))
        tee = AnswerRecorder(self._scope, self._session, decision)
        response = await self._upstream.handle_async_request(request)
        headers = tee.start_answer(response)
        return httpx2.Response(
            response.status_code,
            headers=headers,
            stream=_AsyncRecordedStream(tee, response),
            extensions=response.extensions,
        )


class AnswerRecorder:
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

    def start_answer(self, response: httpx2.Response) -> list[tuple[str, str]]:
        """Take in status and headers; return the headers for the caller."""
        self._status = response.status_code
        self._started = self._elapsed_milliseconds()
        headers = decode_headers(response.headers.raw)
        self._decode = decoder_for(response.headers.get("content-encoding", ""))
        if self._decode is not None:
            headers = tuple(row for row in headers if row[0] not in ("content-encoding", "content-length"))
        self._headers = headers
        self._scope.recording.track_unfinished(self)
        return list(headers)

    def record_chunk(self, data: bytes) -> bytes:
        """Take in a chunk as it came; return it decoded, for the caller."""
        if self._decode is not None:
            try:
                data = self._decode(data)
            except (zlib.error, ValueError) as error:
                raise httpx2.RemoteProtocolError(f"the body is not what its Content-Encoding says: {error}") from error
        if data:
            self._chunks.append(RecordedChunk(data, self._elapsed_milliseconds()))
        return data

    def finish_answer(self) -> bytes:
        """The body has ended: store. Returns what was left in the decoder, for the caller."""
        rest = b""
        if self._decode is not None:
            rest = self.flush_decoder()
        self._store_answer("complete")
        return rest

    def flush_decoder(self) -> bytes:
        """What a decoder gives when its input has ended."""
        assert self._decode is not None
        rest = self._decode(None)
        if rest:
            self._chunks.append(RecordedChunk(rest, self._elapsed_milliseconds()))
        return rest

    def finish_broken(self, error: BaseException) -> None:
        """The other side broke off: store that too."""
        self._store_answer("broken", error_to_text(error))

    def abandon(self) -> None:
        """The caller stopped reading: store what came, unless the end had been reached already.

        Clients stop at the terminator of an event stream and do not read the empty rest.
        """
        tail = b"".join(chunk.data for chunk in self._chunks[-3:]).rstrip()
        self._store_answer("complete" if tail.endswith(_TERMINATOR) else "closed")

    def _store_answer(self, end: End, error: str = "") -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
        self._scope.recording.forget_unfinished(self)
        response = RecordedResponse(
            self._status, self._headers, tuple(self._chunks), end, error, self._started, self._elapsed_milliseconds()
        )  # fmt: skip
        self._scope.recording.store_interaction(self._session, self._record, response)

    def _elapsed_milliseconds(self) -> int:
        return round((time.monotonic() - self._clock) * 1000)


class _RecordedStream(httpx2.SyncByteStream):
    def __init__(self, tee: AnswerRecorder, response: httpx2.Response) -> None:
        self._tee = tee
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        stream = self._response.stream
        assert isinstance(stream, httpx2.SyncByteStream)
        take = self._tee.record_chunk
        try:
            for data in stream:
                decoded = take(data)
                if decoded:
                    yield decoded
        except httpx2.TransportError as error:
            self._tee.finish_broken(error)
            raise
        rest = self._tee.finish_answer()
        if rest:
            yield rest

    def close(self) -> None:
        try:
            self._tee.abandon()
        finally:
            self._response.close()


class _AsyncRecordedStream(httpx2.AsyncByteStream):
    def __init__(self, tee: AnswerRecorder, response: httpx2.Response) -> None:
        self._tee = tee
        self._response = response
        # One iterator for all readers: the openai SDK reads what follows the terminator by iterating once more.
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        self._arriving = aiter(response.stream)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        take = self._tee.record_chunk
        try:
            async for data in self._arriving:
                decoded = take(data)
                if decoded:
                    yield decoded
        except httpx2.TransportError as error:
            await _run_in_thread(self._tee.finish_broken, error)
            raise
        rest = await _run_in_thread(self._tee.finish_answer)
        if rest:
            yield rest

    async def aclose(self) -> None:
        try:
            await _run_in_thread(self._tee.abandon)
        finally:
            await self._response.aclose()


async def _run_in_thread(function: Any, *arguments: Any) -> Any:
    """Run what writes to disk in a thread; a cancelled caller does not keep it from being stored."""
    import anyio
    import anyio.to_thread

    with anyio.CancelScope(shield=True):
        return await anyio.to_thread.run_sync(function, *arguments)
