"""Records an answer while the caller reads it. Each chunk reaches the caller when it arrives."""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import httpx2

from aquila.cassettes.body_file import LARGE
from aquila.cassettes.content_codings import DamagedBody, Decoder, decoder_for
from aquila.cassettes.model import NO_STATUS, End, Headers, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.errors import AquilaError, CassetteWriteError
from aquila.fork_locks import renewed_in_child
from aquila.lazy_imports import lazy_modules
from aquila.recording.replayed_time_limits import ENDED, current_limits, describe_run_out
from aquila.recording.sessions.session import Session
from aquila.recording.sessions.session_decisions import RecordDecision
from aquila.recording.storing.machine_clock import machine_seconds
from aquila.transports.own_threads import run_in_thread
from aquila.transports.wire import error_to_text

if TYPE_CHECKING:
    from aquila.recording.storing import large_answer
    from aquila.recording.storing.recorder import ScopeRecording
    from aquila.transports.upstreams import Upstream
else:
    lazy_modules(globals(), "aquila.recording.storing: large_answer")

_TERMINATOR = b"data: [DONE]"
_NOT_MODIFIED = 304


def send_recorded(
    recording: ScopeRecording, session: Session, decision: RecordDecision, request: httpx2.Request, upstream: Upstream
) -> httpx2.Response:
    """Send a request to an upstream. Return the answer for the caller: what the caller reads from it is recorded.

    It is stored in ``recording``, for ``session``. Raises what the upstream raises.
    """
    recorder = _AnswerRecorder(recording, session, decision, request, upstream)
    try:
        response = upstream.send_request(request)
    except BaseException as error:
        recorder.finish_unanswered(error)
        raise
    return recorder.record_response(response, RecordedStream(recorder, response))


async def send_recorded_async(
    recording: ScopeRecording, session: Session, decision: RecordDecision, request: httpx2.Request, upstream: Upstream
) -> httpx2.Response:
    """``send_recorded`` for async clients."""
    recorder = _AnswerRecorder(recording, session, decision, request, upstream)
    try:
        response = await upstream.send_request_async(request)
    except BaseException as error:
        await run_in_thread(functools.partial(recorder.finish_unanswered, error, is_async=True))
        raise
    return recorder.record_response(response, AsyncRecordedStream(recorder, response))


class _AnswerRecorder:
    """One recording in progress: collects what arrives, and stores the interaction once, however it ends.

    It is made when the request is about to be sent: from then on it measures the time. Content codings are undone on
    the way, for the caller too, so that a run that records sees the same bytes as one that replays.
    """

    def __init__(
        self,
        recording: ScopeRecording,
        session: Session,
        decision: RecordDecision,
        request: httpx2.Request,
        upstream: Upstream,
    ) -> None:
        self.is_awaited = True
        """Whether the caller waits for the answer, or a reader for the next chunk. It stays set if that is stopped."""
        self._from_network = upstream.name == "live"
        self._limits = current_limits()
        # Errors of the other side. Any other error that the streams raise comes from the caller's side.
        self.broken_off = (httpx2.TransportError, httpx2.DecodingError, upstream.transport_error)
        self._recording = recording
        self._session = session
        self._decision = decision
        self._request = request
        self._clock = machine_seconds()
        # A reader, another thread that closes the answer, and a scope that closes may all end the recording. The first
        # one holds this until it is stored, and the others wait for that. Re-entrant, because one thread may do it
        # twice: in a signal handler, or where the garbage collector closes an answer.
        self._lock = renewed_in_child(threading.RLock())
        self._ended = False
        self._chunks: list[RecordedChunk] = []
        self._size = 0
        # Users' filters need the whole answer, so it stays in memory.
        self._large_from = sys.maxsize if session.needs_whole_answers else LARGE
        self._large: large_answer.LargeAnswer | None = None
        self.has_full_window = False
        """Whether ``write_windows`` has something to do."""
        self._status = NO_STATUS
        self._headers: Headers = ()
        self._started = 0
        self._failure: CassetteWriteError | None = None
        self._decoder: Decoder | None = None
        self._shown = recording.run.answers_in_progress
        if self._shown is not None:
            self._shown.begin(self)
        recording.unfinished.add(self)

    @property
    def asked(self) -> RecordedRequest:
        """The request, redacted."""
        return self._decision.request

    @property
    def began(self) -> float:
        """When the request was sent, in seconds of ``machine_seconds``."""
        return self._clock

    @property
    def arrived(self) -> Sequence[RecordedChunk]:
        """The chunks so far; none for an answer that is written to disk."""
        return self._chunks

    def record_response(
        self, response: httpx2.Response, stream: RecordedStream | AsyncRecordedStream
    ) -> httpx2.Response:
        """Note the status and the header fields of the answer. Return the answer for the caller, who reads ``stream``.

        ``response`` may be one of httpx, which has the same attributes.
        """
        self.is_awaited = False
        self._status = response.status_code
        self._started = self._elapsed_milliseconds()
        coding = response.headers.get("content-encoding")
        # Without a body, these fields say which coding and length the body would have had.
        if coding and self._decision.request.method != "HEAD" and response.status_code != _NOT_MODIFIED:
            self._decoder = decoder_for(coding)
        raw = [(name.lower(), value) for name, value in response.headers.raw]
        if self._decoder is not None:
            raw = [field for field in raw if field[0] not in (b"content-encoding", b"content-length")]
        self._headers = tuple([(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw])
        return httpx2.Response(response.status_code, headers=raw, stream=stream, extensions=response.extensions)

    def record_chunk(self, data: bytes) -> bytes:
        """Record a chunk that has arrived. Return it decoded, for the caller. Raises ``httpx2.DecodingError``."""
        self.is_awaited = False
        if self._decoder is not None:
            try:
                data = self._decoder.decode(data)
            except DamagedBody as error:
                raise _damage_of(error) from error
        if data:
            self._add_chunk(data)
        return data

    def _add_chunk(self, data: bytes) -> None:
        if self._large is not None:
            self.has_full_window = self._large.add_chunk(data, self._elapsed_milliseconds())
            return
        self._chunks.append(RecordedChunk(data, self._elapsed_milliseconds()))
        self._size += len(data)
        if self._size > self._large_from:
            self._begin_large()

    def _begin_large(self) -> None:
        """Write the answer to disk from now on, unless it is an event stream, which may be larger in memory."""
        beginning = self._chunks[0].data
        self._large_from = large_answer.most_in_memory(self._headers, beginning)
        if self._size <= self._large_from or self._ended:
            return
        is_stream = large_answer.may_come_in_pieces(self._headers, beginning)
        try:
            self._large = self._recording.begin_large_answer(
                self._session, self._decision, self._chunks, is_stream=is_stream
            )
        except CassetteWriteError as error:
            self._failure = error  # raised at the end, after the caller has got the whole answer
            self._large_from = sys.maxsize
        else:
            self._chunks = []
            self.has_full_window = True

    def write_windows(self) -> None:
        """Write the chunks of a large answer that were not written yet to disk."""
        self.has_full_window = False
        if self._large is not None:
            self._large.write_windows()

    def finish_answer(self) -> tuple[bytes, ...]:
        """Store the answer, whose body has ended. Return what was left in the decoder, for the caller: a chunk or none.

        Raises ``httpx2.DecodingError`` if the body ended too early for its coding. That error is stored, too.
        """
        self.is_awaited = False
        try:
            rest = b"" if self._decoder is None else self._decoder.finish()
        except DamagedBody as error:
            damage = _damage_of(error)
            self.finish_broken(damage)
            raise damage from error
        if rest:
            self._add_chunk(rest)
        self._store_answer("complete")
        return (rest,) if rest else ()

    def finish_unanswered(self, error: BaseException, *, is_async: bool = False) -> None:
        """Store the end of a request without an answer: the connection broke, or the caller stopped waiting.

        Time limits cancel an async request. A sync one they may end with any error, as signal handlers do.
        Refusals, and errors of the client or of a user's transport, say nothing about the provider and are not stored.
        """
        may_be_limit = self._from_network and not is_async
        if isinstance(error, self.broken_off):
            self._started = self._elapsed_milliseconds()
            self.finish_broken(error)
        elif not isinstance(error, Exception) or (may_be_limit and not isinstance(error, AquilaError)):
            self._store_answer("silent", left_open=True)
        else:
            self._forget()

    def finish_broken(self, error: BaseException) -> None:
        """Store an answer that the other side broke off.

        If the client gave up because a time limit of Aquila's had run out, the caller left instead.
        """
        text = error_to_text(error)
        if text.partition(":")[0].endswith("Timeout") and describe_run_out(self._limits):
            self._store_answer("silent")
        else:
            self._store_answer("broken", text)

    def abandon(self, *, left_open: bool) -> None:
        """Store what arrived until the caller stopped reading. ``left_open``: see ``NewRecording``.

        Clients stop at the terminator of an event stream and do not read the empty rest. Such an answer is complete.

        A time limit, or other code, may stop a reader while it works with a chunk. In a replay, its work may be
        quicker, and then it reads on. So the end is stored as if the reader had been waiting: the replay is silent
        there.
        """
        was_ended = ENDED in self._request.extensions or (self._limits and describe_run_out(self._limits))
        left: End = "silent" if self.is_awaited or was_ended else "closed"
        self._store_answer("complete" if self._has_terminator else left, left_open=left_open)

    def forget(self) -> None:
        """Store nothing of the answer, unless its end is stored already, or it is complete, as ``abandon`` says."""
        with self._lock:
            if not self._ended and not self._has_terminator:
                self._ended = True
                if self._large is not None:
                    self._large.abandon()
                self._forget()

    def finish_undelivered(self) -> None:
        """Store that the caller left: it was cancelled while ``finish_answer`` stored the end, and did not get the end.

        If several requests raced, this one lost. If it were stored as complete, it might win in a replay, which has no
        delays.
        """
        with self._lock:
            # An answer on disk is stored only once. Clients read an event stream only up to its terminator.
            if self._large is None and not self._has_terminator and not self._session.closed:
                self._store_ended("silent", "", left_open=True, replaces=True)

    @property
    def has_ended(self) -> bool:
        """Whether the end is stored, or is just being stored."""
        return self._ended

    @property
    def _has_terminator(self) -> bool:
        last = self._chunks[-3:] if self._large is None else self._large.last_chunks()
        return b"".join(chunk.data for chunk in last).rstrip().endswith(_TERMINATOR)

    def _store_answer(self, end: End, error: str = "", *, left_open: bool = False) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
            try:
                self._store_ended(end, error, left_open=left_open)
            finally:
                self._forget()

    def _forget(self) -> None:
        self._recording.unfinished.discard(self)
        if self._shown is not None:
            self._shown.end(self)

    def _store_ended(self, end: End, error: str, *, left_open: bool, replaces: bool = False) -> None:
        if self._failure is not None:
            raise self._failure
        if end == "silent" and (run_out := describe_run_out(self._limits)):
            # The time limit belongs to the program, even if the reader was cancelled because of it.
            error, left_open = run_out, False
        large = self._large
        chunks: Sequence[RecordedChunk] = tuple(self._chunks)
        if large is not None:
            with self._recording.counting_failures():
                chunks = large.finish(cut_off=end != "complete")
        response = RecordedResponse(
            self._status, self._headers, chunks, end, error, self._started, self._elapsed_milliseconds()
        )
        self._recording.store_interaction(
            self._session, self._decision, response, left_open=left_open, replaces=replaces
        )

    def _elapsed_milliseconds(self) -> int:
        return round((machine_seconds() - self._clock) * 1000)


def _damage_of(error: DamagedBody) -> httpx2.DecodingError:
    return httpx2.DecodingError(f"the body is not what its Content-Encoding says: {error}")


class RecordedStream(httpx2.SyncByteStream):
    """The body of an answer that is being recorded. ``after_close`` is called once it is closed."""

    after_close: Callable[[], None] | None = None

    def __init__(self, recorder: _AnswerRecorder, response: httpx2.Response) -> None:
        self._recorder = recorder
        stream: Any = response.stream  # may be one of httpx
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        recorder = self._recorder
        record_chunk = recorder.record_chunk
        try:
            recorder.is_awaited = True
            for data in self._stream:
                decoded = record_chunk(data)
                if recorder.has_full_window:
                    recorder.write_windows()
                if decoded:
                    yield decoded
                recorder.is_awaited = True
        except recorder.broken_off as error:
            recorder.finish_broken(error)
            raise
        yield from recorder.finish_answer()

    def close(self) -> None:
        try:
            self._recorder.abandon(left_open=sys.exception() is not None)
        finally:
            try:
                self._stream.close()
            finally:
                if self.after_close is not None:
                    self.after_close()


class AsyncRecordedStream(httpx2.AsyncByteStream):
    """The async twin of ``RecordedStream``. What writes to disk runs in a thread."""

    after_close: Callable[[], Awaitable[None]] | None = None

    def __init__(self, recorder: _AnswerRecorder, response: httpx2.Response) -> None:
        self._recorder = recorder
        stream: Any = response.stream  # may be one of httpx
        self._stream = stream
        # One iterator for all readers: the openai SDK reads what follows the terminator by iterating once more.
        self._arriving: AsyncIterator[bytes] = aiter(self._stream)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        recorder = self._recorder
        record_chunk = recorder.record_chunk
        try:
            recorder.is_awaited = True
            async for data in self._arriving:
                decoded = record_chunk(data)
                if recorder.has_full_window:
                    await run_in_thread(recorder.write_windows)
                if decoded:
                    yield decoded
                recorder.is_awaited = True
        except recorder.broken_off as error:
            await run_in_thread(recorder.finish_broken, error)
            raise
        try:
            left_over = await run_in_thread(recorder.finish_answer)
        except asyncio.CancelledError:  # only asyncio raises it here: the scope of anyio is shielded
            await run_in_thread(recorder.finish_undelivered)
            raise
        for rest in left_over:
            yield rest

    async def aclose(self) -> None:
        try:
            # If everything is stored, no thread is needed. Waiting for one could cancel a reader that has got all.
            if not self._recorder.has_ended:
                await run_in_thread(functools.partial(self._recorder.abandon, left_open=sys.exception() is not None))
        finally:
            try:
                await self._stream.aclose()
            finally:
                if self.after_close is not None:
                    await self.after_close()
