"""Replay: answers from a cassette, byte for byte and chunk for chunk, without any network."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import httpx2

from aquila.cassettes.model import RecordedResponse
from aquila.cassettes.storage.merging import TRANSIENT
from aquila.errors import CassetteMiss
from aquila.recording.scope import Scope
from aquila.recording.session import RecordDecision, RefuseDecision, ReplayDecision, Session
from aquila.transports.wire import error_from_text, to_recorded_request


class CassetteTransport:
    """What replay and record share: one session, and the decision for each request."""

    def __init__(self, scope: Scope, session: Session, timing: float = 0.0) -> None:
        """``timing`` is the factor of the recorded times that an answer takes; 0 is at once."""
        self._scope = scope
        self._session = session
        self._timing = timing

    def _decide_about(self, request: httpx2.Request) -> ReplayDecision | RecordDecision:
        decision = self._session.decide(to_recorded_request(request))
        if isinstance(decision, RefuseDecision):
            self._scope.remember_miss(decision.error)
            # A new exception each time: the remembered one must not collect the tracebacks of those that are raised.
            raise type(decision.error)(*decision.error.args)
        return decision

    def _pace_for(self, request: httpx2.Request) -> Pace | None:
        return Pace(self._timing, request) if self._timing else None


class ReplayTransport(CassetteTransport, httpx2.BaseTransport):
    """Answers every request from one session, or raises ``CassetteMiss``."""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.read()
        decision = self._decide_about(request)
        assert isinstance(decision, ReplayDecision)
        return replay_response(decision, self._pace_for(request))


class AsyncReplayTransport(CassetteTransport, httpx2.AsyncBaseTransport):
    """The async twin of ``ReplayTransport``."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await request.aread()
        decision = self._decide_about(request)
        assert isinstance(decision, ReplayDecision)
        return await replay_response_async(decision, self._pace_for(request))


class Pace:
    """Waits as long as the recorded answer took, times a factor, within the request's read timeout."""

    def __init__(self, factor: float, request: httpx2.Request) -> None:
        self._factor = factor
        self._limit = (request.extensions.get("timeout") or {}).get("read")
        self._at = 0

    def _seconds_until(self, at: int) -> float:
        """Seconds to wait from the previous moment to ``at`` (milliseconds since the request)."""
        seconds = max(0, at - self._at) / 1000 * self._factor
        self._at = max(at, self._at)
        return seconds

    def wait_until(self, at: int) -> None:
        """Wait until ``at``. Raises ``httpx2.ReadTimeout`` when the client would have given up."""
        seconds = self._seconds_until(at)
        if self._limit is not None and seconds > self._limit:
            time.sleep(self._limit)
            raise httpx2.ReadTimeout("timed out")
        if seconds:
            time.sleep(seconds)

    async def wait_until_async(self, at: int) -> None:
        """The async twin of ``sleep``."""
        import anyio

        seconds = self._seconds_until(at)
        if self._limit is not None and seconds > self._limit:
            await anyio.sleep(self._limit)
            raise httpx2.ReadTimeout("timed out")
        if seconds:
            await anyio.sleep(seconds)


def replay_response(decision: ReplayDecision, pace: Pace | None = None) -> httpx2.Response:
    """The recorded answer as an httpx2 response."""
    response = decision.interaction.response
    if pace is not None:
        pace.wait_until(response.started)
    return httpx2.Response(response.status, headers=_response_headers(decision), stream=_ReplayStream(response, pace))


async def replay_response_async(decision: ReplayDecision, pace: Pace | None = None) -> httpx2.Response:
    """The recorded answer as an httpx2 response for async clients."""
    response = decision.interaction.response
    if pace is not None:
        await pace.wait_until_async(response.started)
    return httpx2.Response(
        response.status, headers=_response_headers(decision), stream=_AsyncReplayStream(response, pace)
    )


def _response_headers(decision: ReplayDecision) -> list[tuple[str, str]]:
    """The recorded headers, and for a failure what keeps the client from sleeping before it tries again.

    A failure that another recording follows is followed at once. The last one says how the request ended, so there is
    nothing to wait for: it is not tried again. (``retry-after-ms`` and ``x-should-retry`` are honoured by the SDKs of
    OpenAI and Anthropic.)
    """
    response = decision.interaction.response
    headers = list(response.headers)
    if response.status in TRANSIENT:
        advice = ("x-should-retry", "false") if decision.last else ("retry-after-ms", "1")
        headers = [field for field in headers if field[0] not in ("retry-after-ms", "x-should-retry")]
        headers.append(advice)
    return headers


def _final_error(response: RecordedResponse) -> Exception | None:
    """What a reader meets after the last recorded chunk."""
    if response.end == "complete":
        return None
    if response.end == "broken":
        return error_from_text(response.error)
    return CassetteMiss(
        f"the recorded answer ends after {len(response.chunks)} chunks, because the caller stopped reading there when "
        "it was recorded; now it reads on. Record this answer again with --aquila-record=all."
    )


class _ReplayStream(httpx2.SyncByteStream):
    def __init__(self, response: RecordedResponse, pace: Pace | None) -> None:
        self._response = response
        self._pace = pace

    def __iter__(self) -> Iterator[bytes]:
        if self._pace is None:
            for chunk in self._response.chunks:
                yield chunk.data
        else:
            for chunk in self._response.chunks:
                self._pace.wait_until(chunk.at)
                yield chunk.data
        ending = _final_error(self._response)
        if ending is not None:
            raise ending


class _AsyncReplayStream(httpx2.AsyncByteStream):
    def __init__(self, response: RecordedResponse, pace: Pace | None) -> None:
        self._response = response
        self._pace = pace
        self._chunks = iter(response.chunks)  # the openai SDK iterates once more, for what follows the terminator

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            if self._pace is not None:
                await self._pace.wait_until_async(chunk.at)
            yield chunk.data
        ending = _final_error(self._response)
        if ending is not None:
            raise ending
