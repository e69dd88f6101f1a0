"""Notes how replayed answers are read, in a run that tries faults."""

from __future__ import annotations

from collections.abc import Mapping

import httpx2

from aquila.recording.reporting.wire_watch import Attempt, Reading, WireWatch
from aquila.recording.sessions.session_decisions import ReplayDecision
from aquila.transports.callers.proxy import CREDENTIALS
from aquila.transports.replay import Pace, Rest, replay_response, replay_response_async
from aquila.transports.requested_delay import read_requested_delay
from aquila.transports.watched_streams import AsyncWatchedStream, ReadingNotes, WatchedStream


def make_attempt(
    decision: ReplayDecision, key: str, headers: Mapping[str, str], read_limit: float | None = None
) -> Attempt:
    """Return a request and its answer as an attempt. ``key`` identifies the request, which has these ``headers``."""
    response = decision.interaction.response
    delay = read_requested_delay(dict(response.headers))
    return Attempt(
        key=key,
        fault=decision.fault,
        status=response.status,
        retry_after=None if delay is None else max(0.0, delay),
        credentials=hash(tuple(headers.get(name) for name in CREDENTIALS)),
        read_limit=read_limit,
        is_silent=response.end == "silent",
    )


def _begin_attempt(watch: WireWatch, decision: ReplayDecision, request: httpx2.Request) -> Attempt:
    key = f"{request.method} {request.url} {hash(_body_of(request))}"
    read_limit = (request.extensions.get("timeout") or {}).get("read")
    return watch.begin(decision, make_attempt(decision, key, request.headers, read_limit))


def _body_of(request: httpx2.Request) -> bytes:
    try:
        return request.content
    except httpx2.RequestNotRead:  # a large one, in a file
        return request.headers.get("content-length", "").encode()


class _AttemptNotes(ReadingNotes):
    """Notes how the answer to an attempt is read.

    The last chunk of a complete answer counts as its end, because a reader may not wait for what follows.
    """

    def __init__(self, watch: WireWatch, decision: ReplayDecision, attempt: Attempt) -> None:
        response = decision.interaction.response
        self._left = len(response.chunks) if response.end == "complete" else 0
        self._watch = watch
        self._attempt = attempt

    def add(self, chunk: bytes) -> None:
        self._left -= 1
        if not self._left:
            self.end("read")

    def end(self, how: Reading, error: BaseException | None = None) -> None:
        self._watch.end(self._attempt, how)


def replay_watched(
    watch: WireWatch, decision: ReplayDecision, request: httpx2.Request, rest: Rest | None, pace: Pace | None
) -> httpx2.Response:
    """``replay_response`` with notes. A fault comes without advice to the client, whose own behaviour is judged."""
    attempt = _begin_attempt(watch, decision, request)
    try:
        response = replay_response(decision, rest, pace, advises=not attempt.fault)
    except BaseException:
        watch.end(attempt, "raised")
        raise
    response.stream = WatchedStream(response.stream, _AttemptNotes(watch, decision, attempt))
    return response


async def replay_watched_async(
    watch: WireWatch, decision: ReplayDecision, request: httpx2.Request, rest: Rest | None, pace: Pace | None
) -> httpx2.Response:
    """The async twin of ``replay_watched``."""
    attempt = _begin_attempt(watch, decision, request)
    try:
        response = await replay_response_async(decision, rest, pace, advises=not attempt.fault)
    except BaseException:
        watch.end(attempt, "raised")
        raise
    response.stream = AsyncWatchedStream(response.stream, _AttemptNotes(watch, decision, attempt))
    return response
