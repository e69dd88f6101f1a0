"""The route through a script. Requests that the script does not answer are answered as without it."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from typing import NoReturn, TypeVar

import httpx2

from aquila.cassettes.model import Interaction, RecordedRequest
from aquila.cassettes.storage.recording_slots import RecordingPlayed
from aquila.cassettes.web_socket_frames.frame import is_conversation
from aquila.errors import UnscriptedRequest, reason_of
from aquila.recording import askers, miss_outcomes
from aquila.recording.scope import Scope
from aquila.recording.sessions.session_decisions import ReplayDecision
from aquila.recording.sessions.session_factory import redactor_of
from aquila.scripting.script import ScriptedAnswer
from aquila.scripting.shared_script import AnswersRequests
from aquila.settings import Settings
from aquila.transports.replay import Pace
from aquila.transports.routes.route import Route
from aquila.transports.routes.scope_route import ScopeRoute, meet_fault
from aquila.transports.upstreams import SCRIPT
from aquila.transports.wire import read_request, read_request_async

T = TypeVar("T")


class ScriptRoute(ScopeRoute):
    """A route through the script of ``scope``, or ``script`` if it is given.

    ``otherwise`` is the route of requests that the script does not answer; without it, they are misses.
    """

    name = SCRIPT
    needs_key = False
    source = SCRIPT
    keeps_times = True

    def __init__(
        self, scope: Scope, settings: Settings, otherwise: Route | None = None, *, script: AnswersRequests | None = None
    ) -> None:
        super().__init__(scope, settings)
        script = script or scope.scripts.written
        if script is None:
            raise ValueError(f"{scope.describe()} has no script")
        self._settings = settings
        self._script = script
        self.otherwise = otherwise
        self.speaks_web_sockets = otherwise is None or otherwise.speaks_web_sockets

    @property
    def answering(self) -> tuple[Scope, Settings, AnswersRequests]:
        """The scope, its settings and the script, for WebSockets."""
        return self._scope, self._settings, self._script

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        asked = read_request(request)
        decision = self._decide(asked)
        if decision is None:
            return self.otherwise.answer(request) if self.otherwise is not None else self._miss(asked)
        return self._replay(decision, request)

    async def _answer_async(self, request: httpx2.Request) -> httpx2.Response:
        asked = await read_request_async(request)
        decision = self._decide(asked)
        if decision is None:
            return await self.otherwise.answer_async(request) if self.otherwise is not None else self._miss(asked)
        return await self._replay_async(decision, request)

    def _decide(self, asked: RecordedRequest) -> ReplayDecision | None:
        if askers.find_earlier_test(self._scope) is not None:
            return None
        if self._scope.faults.plan is not None:
            with self._script.deciding:
                return self._meet_fault(asked) or self._give_answer(asked)
        return self._give_answer(asked)

    def _meet_fault(self, asked: RecordedRequest) -> ReplayDecision | None:
        good = self._ask(self._script.peek, asked)
        if good is None:
            return None
        met = meet_fault(self._scope, self.key_of(asked), Interaction(asked, good, upstream=SCRIPT))
        if met is not None and met.gives == "all":
            answer = self._ask(functools.partial(self._script.decide, fault=met.fault), asked)
            if answer is None or answer.response != good:  # another process has got the good one meanwhile
                return None if answer is None else as_decision(asked, answer)
        elif met is not None:
            self._script.note_fault(asked, gives=met.gives, met=met.interaction, fault=met.fault)
        return met

    def _give_answer(self, asked: RecordedRequest) -> ReplayDecision | None:
        answer = self._ask(self._script.decide, asked)
        return None if answer is None else as_decision(asked, answer)

    def _usual_pace(self, decision: ReplayDecision, request: httpx2.Request) -> Pace | None:
        return pace_of(decision, request)

    def _ask(self, ask: Callable[[RecordedRequest], T], asked: RecordedRequest) -> T:
        return ask_script(ask, asked, self._scope.settings, lambda failed: self._refuse_for(asked, failed))

    def _miss(self, asked: RecordedRequest) -> NoReturn:
        test = askers.find_earlier_test(self._scope)
        if test is not None:
            self._refuse_for(asked, explain_left_behind(asked, test, self._scope.settings))
        self._refuse_for(asked, explain_unscripted(asked, self._script, self._scope.settings))

    def _refuse_for(self, asked: RecordedRequest, missed: UnscriptedRequest) -> NoReturn:
        self._refuse(missed, self.key_of(asked))


def ask_script(
    ask: Callable[[RecordedRequest], T],
    asked: RecordedRequest,
    settings: Settings,
    refuse: Callable[[UnscriptedRequest], NoReturn],
) -> T:
    """Return what ``ask``, a method of a script, returns for a request.

    If that fails, ``refuse`` raises the error: a function of ``when`` raised something, or the wire form cannot express
    the answer. A client would take any other exception for a broken connection, and try again.
    """
    try:
        return ask(asked)
    except Exception as error:  # noqa: BLE001 - a function of the test may raise anything
        redactor = redactor_of(settings)
        clean = redactor.redact_request(asked)
        text = f"the script cannot answer {clean.method} {clean.url}: {reason_of(error)}"
        refuse(UnscriptedRequest(redactor.redact_text(text)))


def explain_unscripted(asked: RecordedRequest, script: AnswersRequests, settings: Settings) -> UnscriptedRequest:
    """Return the error for a request that a script does not answer."""
    redactor = redactor_of(settings)
    clean = redactor.redact_request(asked)
    what = "a message to" if is_conversation(asked) else clean.method
    text = f"no answer is scripted for {what} {clean.url}\n\n{script.explain(clean)}"
    return UnscriptedRequest(redactor.redact_text(text))


def explain_left_behind(asked: RecordedRequest, test: str, settings: Settings) -> UnscriptedRequest:
    """Return the error for a request of a thread or task that an earlier ``test`` left running."""
    redactor = redactor_of(settings)
    clean = redactor.redact_request(asked)
    kind, name = ("thread", threading.current_thread().name)
    if miss_outcomes.is_in_background_task():
        task = asyncio.current_task()
        kind, name = "task", task.get_name() if task is not None else ""
    text = (
        f"{clean.method} {clean.url} comes from a {kind} that an earlier test has left\n"
        "\n"
        f"  started by {test}\n"
        f"  {kind:<10} {name}\n"
        "\n"
        f"The script of this test answers only what this test starts. End the {kind} in the test that starts it.\n"
        "If it works for several tests, start it in a fixture that they share, or pass it its work with\n"
        "contextvars.copy_context().run."
    )
    return UnscriptedRequest(redactor.redact_text(text))


def as_decision(asked: RecordedRequest, answer: ScriptedAnswer) -> ReplayDecision:
    """Return the decision to replay an answer as if it had been recorded."""
    interaction = Interaction(asked, answer.response, upstream=SCRIPT)
    return ReplayDecision(interaction, RecordingPlayed(SCRIPT, 0, 0), last=answer.last)


def pace_of(decision: ReplayDecision, request: httpx2.Request) -> Pace | None:
    """Return the pace for the times that a script gives an answer, if any. ``replay_timing`` does not change these."""
    return Pace(1.0, request) if decision.interaction.response.ended else None
