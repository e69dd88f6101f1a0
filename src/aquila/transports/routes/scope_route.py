"""What the routes through a scope have in common: they replay answers, refuse requests, and may be one call alone."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import httpx2

from aquila.cassettes.model import Interaction, RecordedRequest
from aquila.cassettes.storage.slots import RecordingPlayed
from aquila.config import Settings
from aquila.errors import CassetteMiss
from aquila.lazy_imports import lazy_modules
from aquila.recording.network.model_hosts import asks_model
from aquila.recording.places import attempt_of, suit_to_place
from aquila.recording.scope import Scope
from aquila.recording.sessions.decisions import ReplayDecision
from aquila.recording.time_limits import current_limits
from aquila.transports.callers.departure import LEFT
from aquila.transports.replay import Pace, Rest, replay_response, replay_response_async
from aquila.transports.routes.route import Route

if TYPE_CHECKING:
    from aquila.faults import fault
    from aquila.faults.fault import Within
    from aquila.recording.sessions.session import Session
    from aquila.transports import silence as silences
    from aquila.transports import watched_answers, watched_exchanges
    from aquila.wire_forms import table as wire_forms
else:
    lazy_modules(
        globals(),
        fault="aquila.faults.fault",
        silences="aquila.transports.silence",
        watched_answers="aquila.transports.watched_answers",
        watched_exchanges="aquila.transports.watched_exchanges",
        wire_forms="aquila.wire_forms.table",
    )


class ScopeRoute(Route):
    """A route through ``scope``. ``settings`` are those of the scope now."""

    unstored = ""
    """The name of what answers, where no cassette and no script takes it in."""

    def __init__(self, scope: Scope, settings: Settings) -> None:
        self.is_one_call = scope.kind == "call"
        self._scope = scope
        self._timing = settings.replay_timing
        self._silence = settings.silence

    def answer(self, request: httpx2.Request, *, is_last: bool = False) -> httpx2.Response:
        answer = self._answer if self._scope.run.exchange_watch is None else self._answer_watched
        if not (is_last and self.is_one_call):
            return answer(request)
        try:
            response = answer(request)
        except BaseException:
            self.close(failed=True)
            raise
        if hasattr(response.stream, "after_close"):
            response.stream.after_close = self.close
        else:  # it comes from what a script leaves the rest to, and nothing of it is stored
            self.close()
        return response

    async def answer_async(self, request: httpx2.Request, *, is_last: bool = False) -> httpx2.Response:
        answer = self._answer_async if self._scope.run.exchange_watch is None else self._answer_watched_async
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
        """Return what tells a request from others where no rules of matching do: the same in every process."""
        return f"{asked.method} {asked.url} {hashlib.sha256(asked.body).hexdigest()}"

    def _is_for_model(self, asked: RecordedRequest) -> bool:
        if wire_forms.find_wire_form(asked) is not None:
            return True
        url = httpx2.URL(asked.url)
        return asks_model(url.host, url.port, url.path, self._scope.settings)

    def _meet_fault(self, key: str, good: Interaction) -> ReplayDecision | None:
        return meet_fault(self._scope, key, good)

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
        """Note an answer that is about to be replayed. Return what comes behind it, and its pace: mostly neither."""
        if (watch := self._scope.run.exchange_watch) is not None:
            watch.note_decision(decision)
        rest = None if decision.interaction.response.end == "complete" else self._rest_of(decision, request)
        pace = self._pace_for(decision, request) if self._timing or decision.fault else None
        return rest, pace

    def _refuse(self, miss: CassetteMiss, key: str) -> NoReturn:
        refuse(self._scope, miss, key)

    def _rest_of(self, decision: ReplayDecision, request: httpx2.Request) -> Rest:
        """What comes behind the last chunk of an answer that is not complete."""
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
        left = request.extensions.get(LEFT) if response.end == "closed" else None
        has_left = functools.partial(left.wait, self._silence) if left is not None else None
        return Rest(response, silence=silence, refuse=refuse, has_left=has_left)

    def _pace_for(self, decision: ReplayDecision, request: httpx2.Request) -> Pace | None:
        if decision.fault and decision.fault.startswith(fault.PACED):
            return Pace(1.0, request, hurries=not self._timing)
        return Pace(self._timing, request) if self._timing else None


def meet_fault(scope: Scope, key: str, good: Interaction, within: Within | None = None) -> ReplayDecision | None:
    """The answer to a request that meets a fault, made of the good one. None if it meets none.

    ``within`` is as in ``FaultPlan.meet``.
    """
    met = scope.meet_fault(key, good, within)
    if met is None:
        return None
    changed = replace(good, response=met.response)
    return ReplayDecision(
        changed, RecordingPlayed(key, 0, 0), last=False, fault=str(met.fault), gives_answer=met.gives_answer
    )


def spoil_recording(scope: Scope, session: Session, asked: RecordedRequest) -> ReplayDecision | None:
    """The fault that a request meets, made of the recording that it would get. None if it meets none.

    The recording does not count as played, and is not counted as unused.
    """
    numbers = () if session.records_everything else session.find_numbers(asked)
    if not numbers:
        return None
    number = next((each for each in numbers if not session.was_played(each)), numbers[-1])
    met = meet_fault(scope, session.key_of(asked), session.cassette.interactions[number])
    if met is not None:
        session.spoilt.add(number)
        scope.keeps_unused = True
    return met


def refuse(scope: Scope, miss: CassetteMiss, key: str) -> NoReturn:
    """Let a scope remember a miss, and raise it as it suits the place. ``key`` is that of the request."""
    # A new exception each time: the remembered one must not collect the tracebacks of those that are raised.
    raised = suit_to_place(miss)
    if scope.run.exchange_watch is not None:
        scope.run.exchange_watch.note_problem(scope, miss)
    scope.remember_miss(miss, attempt_of(raised, key))
    raise raised
