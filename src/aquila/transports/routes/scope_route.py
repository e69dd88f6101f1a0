"""The base class of routes through a scope, and the route through a cassette."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, TypeAlias, TypeVar

import httpx2

from aquila.cassettes.body_file import BodyFile, StoredChunks, find_large_requests
from aquila.cassettes.model import NO_STATUS, Interaction, RecordedRequest
from aquila.cassettes.storage.recording_slots import RecordingPlayed
from aquila.errors import CassetteCorrupt, CassetteMiss
from aquila.lazy_imports import lazy_modules
from aquila.recording.network.model_hosts import is_url_of_model
from aquila.recording.replayed_time_limits import current_limits
from aquila.recording.scope import Scope
from aquila.recording.sessions.session import Session
from aquila.recording.sessions.session_decisions import (
    Decision,
    PassOnDecision,
    RecordDecision,
    RefuseDecision,
    ReplayDecision,
)
from aquila.settings import Settings
from aquila.transports.replay import Pace, Rest, replay_response, replay_response_async
from aquila.transports.routes.route import Route
from aquila.transports.upstreams import Upstream, find_upstream
from aquila.transports.wire import read_request, read_request_async

if TYPE_CHECKING:
    from aquila.faults import fault
    from aquila.faults.fault import Within
    from aquila.recording import askers, miss_outcomes
    from aquila.recording.network import guard, no_network
    from aquila.transports import own_threads, record, watched_answers, watched_exchanges
    from aquila.transports import silence as silences
    from aquila.transports.callers import disconnected_caller
    from aquila.wire_forms import table as wire_forms
else:
    lazy_modules(
        globals(),
        "aquila.faults: fault",
        "aquila.recording: askers, miss_outcomes",
        "aquila.recording.network: guard, no_network",
        "aquila.transports: own_threads, record, watched_answers, watched_exchanges, silence as silences",
        "aquila.transports.callers: disconnected_caller",
        "aquila.wire_forms: table as wire_forms",
    )

_AnswerT = TypeVar("_AnswerT")

RunsElsewhere: TypeAlias = Callable[[Callable[[], CassetteMiss]], Awaitable[CassetteMiss]]
RUNS_ELSEWHERE = "aquila_runs_elsewhere"
"""The extension of a request whose event loop has other clients, too: it runs a function that may take long."""

NO_UPSTREAM = Upstream("")
"""The upstream of a route that only replays. It answers nothing."""


class ScopeRoute(Route):
    """A route through ``scope``: it can replay answers and refuse requests. ``settings`` are those of the scope now."""

    unstored = ""
    """The name of the upstream, if neither a cassette nor a script stores its answers."""
    keeps_times = False
    """Whether answers take their recorded time, whatever ``replay_timing`` is."""

    def __init__(self, scope: Scope, settings: Settings) -> None:
        self.is_one_call = scope.kind == "call"
        self._scope = scope
        self._timing = settings.replay_timing
        self._silence = settings.silence

    def answer(self, request: httpx2.Request, *, is_last: bool = False) -> httpx2.Response:
        answer = self._choose_way(self._answer, self._answer_watched)
        if not (is_last and self.is_one_call):
            return answer(request)
        try:
            response = answer(request)
        except BaseException:
            self.close(failed=True)
            raise
        if hasattr(response.stream, "after_close"):
            response.stream.after_close = self.close
        else:  # the route after a script has answered, and nothing is stored
            self.close()
        return response

    async def answer_async(self, request: httpx2.Request, *, is_last: bool = False) -> httpx2.Response:
        answer = self._choose_way(self._answer_async, self._answer_watched_async)
        if not (is_last and self.is_one_call):
            return await answer(request)
        try:
            response = await answer(request)
        except BaseException:
            await self.close_async(failed=True)
            raise
        if hasattr(response.stream, "after_close"):
            response.stream.after_close = self.close_async
        else:
            await self.close_async()
        return response

    def _choose_way(self, plain: _AnswerT, watched: _AnswerT) -> _AnswerT:
        return plain if self._scope.run.exchange_watch is None else watched

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        raise NotImplementedError

    async def _answer_async(self, request: httpx2.Request) -> httpx2.Response:
        raise NotImplementedError

    def _answer_watched(self, request: httpx2.Request) -> httpx2.Response:
        return watched_exchanges.send_watched(self._scope, self._answer, request, self.unstored)

    async def _answer_watched_async(self, request: httpx2.Request) -> httpx2.Response:
        return await watched_exchanges.send_watched_async(self._scope, self._answer_async, request, self.unstored)

    def close(self, *, failed: bool = False) -> None:
        if self.is_one_call:
            self._scope.close(passed=not failed)

    @staticmethod
    def key_of(asked: RecordedRequest) -> str:
        """Return a key for a request to which no matching rules apply. It is the same in every process."""
        return f"{asked.method} {asked.url} {hashlib.sha256(asked.body).hexdigest()}"

    def _is_for_model(self, asked: RecordedRequest) -> bool:
        if wire_forms.find_wire_form(asked) is not None:
            return True
        return is_url_of_model(asked.url, self._scope.settings)

    def _replay(self, decision: ReplayDecision, request: httpx2.Request) -> httpx2.Response:
        rest, pace = self._prepare(decision, request)
        if (watch := self._scope.run.wire_watch) is not None:
            return watched_answers.replay_watched(watch, decision, request, rest, pace)
        return replay_response(decision, rest, pace)

    async def _replay_async(self, decision: ReplayDecision, request: httpx2.Request) -> httpx2.Response:
        rest, pace = self._prepare(decision, request)
        if (watch := self._scope.run.wire_watch) is not None:
            return await watched_answers.replay_watched_async(watch, decision, request, rest, pace)
        return await replay_response_async(decision, rest, pace)

    def _prepare(self, decision: ReplayDecision, request: httpx2.Request) -> tuple[Rest | None, Pace | None]:
        """Note an answer that is about to be replayed. Return what follows its chunks, and its pace; mostly None.

        Raises ``CassetteCorrupt`` where the file of a large body is missing.
        """
        if (watch := self._scope.run.exchange_watch) is not None:
            watch.note_decision(decision)
        chunks = decision.interaction.response.chunks
        if isinstance(chunks, StoredChunks):
            try:
                chunks.check_present()
            except CassetteCorrupt as error:
                raise self._scope.shown_damage(error) from error.__cause__
        rest = None if decision.interaction.response.end == "complete" else self._rest_of(decision, request)
        pace = self._pace_for(decision, request) if self._timing or decision.fault or self.keeps_times else None
        return rest, pace

    def _refuse(self, miss: CassetteMiss, key: str) -> NoReturn:
        refuse(self._scope, miss, key)

    def _rest_of(self, decision: ReplayDecision, request: httpx2.Request) -> Rest:
        """Return what follows the last chunk of an incomplete answer."""
        response = decision.interaction.response

        def refuse(miss: CassetteMiss) -> NoReturn:
            self._refuse(miss, decision.played.key)

        silence = None
        if response.end == "silent":
            silence = silences.Silence(
                response,
                request,
                seconds=self._silence,
                limits=current_limits(),
                instant=not self._timing,
                is_over=lambda: self._scope.closed,
                refuse=refuse,
                fault=decision.fault,
            )
        has_left = patience = None
        if response.end == "closed":
            left: disconnected_caller.Departure | None = request.extensions.get(disconnected_caller.LEFT)
            if left is not None:
                has_left = functools.partial(left.wait, self._silence)
            else:
                patience = functools.partial(silences.wait_to_be_stopped, self._silence, lambda: self._scope.closed)
        return Rest(response, silence=silence, refuse=refuse, has_left=has_left, patience=patience)

    def _pace_for(self, decision: ReplayDecision, request: httpx2.Request) -> Pace | None:
        if decision.fault and decision.fault.startswith(fault.PACED):
            return Pace(1.0, request, hurries=not self._timing)
        return self._usual_pace(decision, request)

    def _usual_pace(self, decision: ReplayDecision, request: httpx2.Request) -> Pace | None:
        return Pace(self._timing, request) if self._timing else None


class CassetteRoute(ScopeRoute):
    """A route through a cassette: ``name`` is ``replay``, or ``record`` from an upstream.

    ``settings`` are those of the scope now, and ``session`` is that of the cassette. ``outside`` sends the requests
    that filters keep out of cassettes.
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
        """The scope, its settings and the session, for WebSockets. The settings have the transport of this route."""
        settings = self._settings
        if settings.transport != self.name:
            settings = settings.with_options({"transport": self.name}, source="transport=")
        return self._scope, settings, self._session

    def _large_requests(self) -> Iterable[BodyFile]:
        return find_large_requests(self._session.cassette.interactions)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        decision = self._decide(request, read_request(request, self._large_requests))
        match decision:
            case ReplayDecision():
                if self.name != "replay" and self._scope.recording.must_note(decision):
                    self._scope.recording.note_play(self._session, decision)
                return self._replay(decision, request)
            case PassOnDecision():
                return self._find_way_out(request).send_request(request)
            case RefuseDecision():
                self._refuse(decision.explain(), decision.key)
        return record.send_recorded(self._scope.recording, self._session, decision, request, self.upstream)

    async def _answer_async(self, request: httpx2.Request) -> httpx2.Response:
        decision = self._decide(request, await read_request_async(request, self._large_requests))
        match decision:
            case ReplayDecision():
                if self.name != "replay" and self._scope.recording.must_note(decision):
                    await own_threads.run_in_thread(self._scope.recording.note_play, self._session, decision)
                return await self._replay_async(decision, request)
            case PassOnDecision():
                return await self._find_way_out(request).send_request_async(request)
            case RefuseDecision():
                run: RunsElsewhere | None = request.extensions.get(RUNS_ELSEWHERE)
                self._refuse(decision.explain() if run is None else await run(decision.explain), decision.key)
        recording, session = self._scope.recording, self._session
        return await record.send_recorded_async(recording, session, decision, request, self.upstream)

    def _find_way_out(self, request: httpx2.Request) -> Upstream:
        """Return the upstream for a request that filters keep out of cassettes. Raises what the guard raises."""
        url = request.url
        path = url.raw_path.decode("ascii", "replace")
        guard.check_unanswered(request.method, url.scheme, url.host, url.port, path, self._scope, self._scope.settings)
        return self._outside or find_upstream("live")

    def _decide(self, request: httpx2.Request, asked: RecordedRequest) -> Decision:
        """Decide about a request, of which ``asked`` is the recordable form.

        Raises ``BudgetSpent`` if the run may record no more, and ``CassetteWriteError``.
        """
        decision = None
        if self._scope.faults.may_be_met and self._scope.faults.plan is not None and self._is_for_model(asked):
            decision = spoil_recording(self._scope, self._session, asked)
        decision = decision or self._session.decide(asked)
        watch = self._scope.run.exchange_watch
        if watch is not None:
            watch.note_decision(decision, self._session, asked)
        log = self._scope.run.play_log
        if log is not None and isinstance(decision, ReplayDecision) and not decision.fault:
            log.note_request(self._scope, self._session, decision, asked)
        if isinstance(decision, RefuseDecision):
            if no_network.is_metadata_service(request.url.host) and not self._was_recorded_in_a_cloud():
                # A client that has found no credentials asks whether this is a machine in a cloud. This error means no,
                # and then the client itself says which credentials are missing.
                reason = no_network.NoNetwork("no cassette answers for the metadata service of a cloud")
                raise httpx2.ConnectError(str(reason), request=request)
            if askers.is_unasked():
                self._fail_unless_for_model(request)
        if isinstance(decision, RecordDecision):
            recording = self._scope.recording
            if recording.may_refuse and (refused := recording.take_request(decision)) is not None:
                self._refuse(refused, decision.key)
        return decision

    def _was_recorded_in_a_cloud(self) -> bool:
        """Whether the cassette has an answer of a metadata service. Then another request to one is a miss."""
        answered = (each for each in self._session.cassette.interactions if each.response.status != NO_STATUS)
        return any(no_network.is_metadata_service(httpx2.URL(each.request.url).host) for each in answered)

    def _fail_unless_for_model(self, request: httpx2.Request) -> None:
        """Raise the error of a missing network for a request that no test made, unless it is for a model."""
        url = request.url
        if not is_url_of_model(str(url), self._scope.settings):
            named = f"{request.method} {url.copy_with(query=None, fragment=None, username=None, password=None)}"
            reason = no_network.fail_unasked(self._session.redactor.redact_text(named))
            raise httpx2.ConnectError(str(reason), request=request)


def meet_fault(scope: Scope, key: str, good: Interaction, within: Within | None = None) -> ReplayDecision | None:
    """Return the faulty answer to a request, made from its ``good`` answer; None if it meets no fault.

    ``within`` is as in ``FaultPlan.meet``.
    """
    met = scope.faults.meet(key, good, within)
    if met is None:
        return None
    changed = replace(good, response=met.response)
    return ReplayDecision(changed, RecordingPlayed(key, 0, 0), last=False, fault=str(met.fault), gives=met.gives)


def spoil_recording(scope: Scope, session: Session, asked: RecordedRequest) -> Decision | None:
    """Return the faulty answer to a request, made from the recording that it would get; None if it meets no fault.

    The recording then does not count as unused, and as played only if the program gets all of it. If another process
    plays it meanwhile, the session decides, and the answer is not changed.
    """
    with session.deciding:
        number = session.find_next(asked)
        if number is None:
            return None
        good = session.cassette.interactions[number]
        met = meet_fault(scope, session.key_of(asked), good)
        if met is not None and met.gives == "all":
            decided = session.decide(asked)
            if not (isinstance(decided, ReplayDecision) and decided.interaction is good):
                return decided
    if met is not None:
        session.plays.spoilt.add(number)
        scope.keep_unused()
    return met


def refuse(scope: Scope, miss: CassetteMiss, key: str) -> NoReturn:
    """Note a miss in a scope and raise it. ``key`` is that of the request."""
    # What is raised is a new exception, so that the remembered one does not collect tracebacks.
    raised = miss_outcomes.suit_to_place(miss)
    if scope.run.exchange_watch is not None:
        scope.run.exchange_watch.note_problem(scope, miss)
    scope.misses.remember(miss, miss_outcomes.attempt_of(raised, key))
    raise raised
