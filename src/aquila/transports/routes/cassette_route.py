"""The route through a cassette: replays its recordings, and records what is missing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import httpx2

from aquila.cassettes.body_file import BodyFile, find_large_requests
from aquila.config import Settings
from aquila.recording import askers
from aquila.recording.network import guard
from aquila.recording.network.model_hosts import asks_model
from aquila.recording.network.no_network import fail_unasked
from aquila.recording.scope import Scope
from aquila.recording.sessions.decisions import PASS_ON, RecordDecision, RefuseDecision, ReplayDecision, Unrecorded
from aquila.recording.sessions.session import Session
from aquila.recording.time_limits import current_limits
from aquila.transports.record import AnswerRecorder, run_in_thread
from aquila.transports.routes.scope_route import ScopeRoute, spoil_recording
from aquila.transports.upstreams import Upstream, find_upstream
from aquila.transports.wire import read_request, read_request_async, to_recorded_request

NO_UPSTREAM = Upstream("")
"""The upstream of a route that only replays. It answers nothing."""


class CassetteRoute(ScopeRoute):
    """A route through a cassette: ``name`` is ``replay``, or ``record`` from an upstream.

    ``settings`` are those of the scope now, and ``session`` is that of the cassette. ``outside`` sends what filters
    keep out of cassettes.
    """

    def __init__(
        self,
        name: str,
        scope: Scope,
        settings: Settings,
        session: Session,
        upstream: Upstream = NO_UPSTREAM,
        *,
        outside: Upstream | None = None,
    ) -> None:
        super().__init__(scope, settings)
        self.name = name
        self.needs_key = upstream.needs_key
        self.source = upstream.name
        self.speaks_web_sockets = upstream.name in ("", "live")
        self._settings = settings
        self._session = session
        self.upstream = upstream
        self._outside = outside

    @property
    def answering(self) -> tuple[Scope, Settings, Session]:
        """What answers here, for what is no request of HTTP. The settings have the transport of this route."""
        settings = self._settings
        if settings.transport != self.name:
            settings = settings.with_options({"transport": self.name}, source="transport=")
        return self._scope, settings, self._session

    def _large_requests(self) -> Iterable[BodyFile]:
        return find_large_requests(self._session.cassette.interactions)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        read_request(request, self._large_requests)
        decision = self.decide(request)
        if decision is PASS_ON:
            return self._find_way_out(request).send_request(request)
        if isinstance(decision, ReplayDecision):
            return self.replay(decision, request)
        recorder = self.start_recording(decision)
        try:
            response = self.upstream.send_request(request)
        except BaseException as error:
            recorder.finish_unanswered(error)
            raise
        return recorder.record_response(response)

    async def _answer_async(self, request: httpx2.Request) -> httpx2.Response:
        await read_request_async(request, self._large_requests)
        decision = self.decide(request)
        if decision is PASS_ON:
            return await self._find_way_out(request).send_request_async(request)
        if isinstance(decision, ReplayDecision):
            if self.name != "replay" and not self._scope.is_owner and not decision.fault:
                await run_in_thread(self._remember_play, decision)
            return await self._replay_async(decision, request)
        recorder = self.start_recording(decision)
        try:
            response = await self.upstream.send_request_async(request)
        except BaseException as error:
            await run_in_thread(recorder.finish_unanswered, error)
            raise
        return recorder.record_response_async(response)

    def _find_way_out(self, request: httpx2.Request) -> Upstream:
        """What sends a request that filters keep out of cassettes. Raises what the guard raises."""
        url = request.url
        path = url.raw_path.decode("ascii", "replace")
        guard.check_unanswered(request.method, url.scheme, url.host, url.port, path, self._scope, self._scope.settings)
        return self._outside or find_upstream("live")

    def decide(self, request: httpx2.Request) -> ReplayDecision | RecordDecision | Literal[Unrecorded.PASS_ON]:
        """Decide about a request whose body has been read. Raises ``CassetteMiss``."""
        asked = to_recorded_request(request)
        if self._scope.faults is not None and self._is_for_model(asked):
            met = spoil_recording(self._scope, self._session, asked)
            if met is not None:
                if self._scope.run.exchange_watch is not None:
                    self._scope.run.exchange_watch.note_decision(met, self._session, asked)
                return met
        decision = self._session.decide(asked)
        watch = self._scope.run.exchange_watch
        if watch is not None:
            watch.note_decision(decision, self._session, asked)
        log = self._scope.run.play_log
        if log is not None and isinstance(decision, ReplayDecision):
            log.note_request(self._scope, self._session, decision, asked)
        if isinstance(decision, RefuseDecision):
            if askers.is_unasked():
                self._fail_unless_for_model(request)
            self._refuse(decision.error, decision.key)
        return decision

    def _fail_unless_for_model(self, request: httpx2.Request) -> None:
        """Fail as without a network what no test asked for, unless it asks a model: that never goes unnoticed."""
        url = request.url
        if not asks_model(url.host, url.port, url.path, self._scope.settings):
            named = f"{request.method} {url.copy_with(query=None, fragment=None, username=None, password=None)}"
            raise httpx2.ConnectError(str(fail_unasked(self._session.redactor.redact_text(named))), request=request)

    def replay(self, decision: ReplayDecision, request: httpx2.Request) -> httpx2.Response:
        """Answer ``request`` with a recording."""
        if self.name != "replay" and not decision.fault:
            self._remember_play(decision)
        return self._replay(decision, request)

    def start_recording(self, decision: RecordDecision) -> AnswerRecorder:
        """Begin the recording of an answer. The request is sent now: the recorder's clock has started.

        Raises ``BudgetSpent`` if the run may record no more.
        """
        recording = self._scope.recording
        refused = recording.take_request(decision)
        if refused is not None:
            self._refuse(refused, decision.key)
        return AnswerRecorder(
            recording,
            self._session,
            decision,
            transport_error=self.upstream.transport_error,
            from_network=self.upstream.name == "live",
            limits=current_limits(),
            shown=self._scope.run.answers_in_progress,
        )

    def _remember_play(self, decision: ReplayDecision) -> None:
        self._scope.recording.note_play(self._session, decision)
