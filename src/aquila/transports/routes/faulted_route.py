"""The route that makes faults from the answers of an upstream: the local model, a script, or a user's transport."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx2

from aquila.cassettes.model import Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.recording_slots import RecordingPlayed
from aquila.recording.scope import Scope
from aquila.recording.sessions.session_decisions import ReplayDecision
from aquila.recording.storing.machine_clock import machine_seconds, milliseconds_since
from aquila.settings import Settings
from aquila.transports.routes.scope_route import ScopeRoute, meet_fault
from aquila.transports.upstreams import Upstream
from aquila.transports.wire import decode_headers, read_request, read_request_async, undo_coding


class FaultedRoute(ScopeRoute):
    """A route to ``upstream``, with the faults of ``scope`` in its answers.

    A good answer is read completely, and faults are made from it. All attempts at one request share one good answer, so
    that the model works only once. The scope keeps it until the client gets it, after all faults.
    """

    def __init__(self, name: str, scope: Scope, settings: Settings, upstream: Upstream) -> None:
        super().__init__(scope, settings)
        self.name = self.source = self.unstored = name
        self.needs_key = upstream.needs_key
        self._upstream = upstream

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        asked = read_request(request)
        key = self.key_of(asked)
        good = self._scope.faults.good_answers.get(key)
        if good is None:
            if not self._may_meet(key, asked):
                return self._upstream.send_request(request)
            clock = machine_seconds()
            response = self._upstream.send_request(request)
            stream: Any = response.stream
            try:
                chunks = [RecordedChunk(chunk, milliseconds_since(clock)) for chunk in stream if chunk]
            finally:
                response.close()
            good = _to_recorded(response, chunks)
        return self._replay(self._decide(key, asked, good), request)

    async def _answer_async(self, request: httpx2.Request) -> httpx2.Response:
        asked = await read_request_async(request)
        key = self.key_of(asked)
        good = self._scope.faults.good_answers.get(key)
        if good is None:
            if not self._may_meet(key, asked):
                return await self._upstream.send_request_async(request)
            clock = machine_seconds()
            response = await self._upstream.send_request_async(request)
            stream: Any = response.stream
            try:
                chunks = [RecordedChunk(chunk, milliseconds_since(clock)) async for chunk in stream if chunk]
            finally:
                await response.aclose()
            good = _to_recorded(response, chunks)
        return await self._replay_async(self._decide(key, asked, good), request)

    def _may_meet(self, key: str, asked: RecordedRequest) -> bool:
        plan = self._scope.faults.plan
        return plan is not None and plan.may_meet(key) and self._is_for_model(asked)

    def _decide(self, key: str, asked: RecordedRequest, good: RecordedResponse) -> ReplayDecision:
        """Return a fault made from the good answer, which is kept for the next attempt; else the good answer."""
        interaction = Interaction(asked, good, upstream=self.name)
        met = meet_fault(self._scope, key, interaction)
        if met is not None and met.gives != "all":
            self._scope.faults.good_answers[key] = good
        else:
            self._scope.faults.good_answers.pop(key, None)
        return met or ReplayDecision(interaction, RecordingPlayed(key, 0, 0), last=False)


def _to_recorded(response: httpx2.Response, arrived: Sequence[RecordedChunk]) -> RecordedResponse:
    """Return an answer as a cassette would hold it: in its chunks, or in one if it has a content coding."""
    headers, chunks = undo_coding(decode_headers(response.headers.raw), arrived)
    ended = arrived[-1].at if arrived else 0
    started = chunks[0].at if chunks else ended
    return RecordedResponse(response.status_code, headers, chunks, started=started, ended=ended)
