"""Decides about the handshake of a WebSocket: it is replayed, recorded, let through, or refused."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from aquila.cassettes.model import RecordedRequest
from aquila.errors import CassetteRequired
from aquila.intercept import policy
from aquila.intercept.policy import AnsweringScope
from aquila.intercept.web_sockets.conversation_start import open_conversation
from aquila.intercept.web_sockets.recorded_side import RecordedSide
from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.lazy_imports import lazy_modules
from aquila.optional import import_websockets
from aquila.recording import askers
from aquila.recording.network import guard
from aquila.recording.network.model_hosts import asks_model
from aquila.recording.network.no_network import fail_unasked
from aquila.recording.scope import Scope, current_scope
from aquila.recording.sessions.session import Session
from aquila.recording.sessions.session_decisions import PassOnDecision, RefuseDecision, ReplayDecision
from aquila.recording.storing.frame_recorder import FrameRecorder
from aquila.settings import Settings
from aquila.transports.own_requests import is_own_request
from aquila.transports.routes.opening_turns import open_in_turn
from aquila.transports.routes.route import Route, active_route
from aquila.transports.routes.routing import is_ready, session_mode
from aquila.transports.routes.scope_route import CassetteRoute, refuse, spoil_recording
from aquila.transports.routes.script_route import ScriptRoute
from aquila.transports.script_transport import script_of_run
from aquila.transports.upstreams import CASSETTE_MODES, SCRIPT

if TYPE_CHECKING:
    from aquila.intercept.web_sockets import scripted_answering
else:
    lazy_modules(globals(), "aquila.intercept.web_sockets: scripted_answering")

Answer: TypeAlias = ReplayedConversation | FrameRecorder | None
"""A replay, or a recorder for the conversation with the provider. None: the client connects as without Aquila."""


def answer_handshake(request: RecordedRequest) -> Answer:
    """Decide about a handshake that is about to be sent.

    Raises ``CassetteMiss``, ``LiveCallRefused``, ``NoNetwork`` for a side request, and ``OSError`` if the recording
    says that no connection was made.
    """
    route = _find_route()
    if route is not None:
        return _answer_on(route, request)
    answering = _find_scope(request)
    return None if answering is None else _answer(request, *answering, answering.scope.default_cassette)


async def answer_handshake_async(request: RecordedRequest) -> Answer:
    """``answer_handshake`` without blocking the event loop: a thread reads the files."""
    route = _find_route()
    if route is not None:
        return _answer_on(route, request)
    answering = _find_scope(request)
    if answering is None:
        return None
    return await answer_within(request, *answering, answering.scope.default_cassette)


async def answer_within(request: RecordedRequest, scope: Scope, settings: Settings, cassette: str | None) -> Answer:
    """``answer_handshake_async`` for a known scope. ``cassette`` is the name of the cassette that answers there."""
    read_files = functools.partial(_read_files, scope, settings, cassette)
    await open_in_turn(read_files, lambda: is_ready(settings.transport, scope, settings, cassette))
    return _answer(request, scope, settings, cassette)


def _find_route() -> Route | None:
    """Return the route of Aquila's own call that connects here, if any. Its cassette has been read already."""
    return None if is_own_request() else active_route.get()


def _answer_on(route: Route, request: RecordedRequest) -> Answer:
    if isinstance(route, ScriptRoute):
        scope, settings, script = route.answering
        otherwise = route.otherwise
        scripted = scripted_answering.answer_from([script], request, scope, settings, leaves_some=otherwise is not None)
        return scripted if scripted is not None or otherwise is None else _answer_on(otherwise, request)
    if isinstance(route, CassetteRoute):
        return _decide(request, *route.answering)
    if route.source == SCRIPT:  # the script of the run, without a cassette
        scope = current_scope() or Scope(kind="call")
        return scripted_answering.answer_from([script_of_run()], request, scope, scope.settings, leaves_some=False)
    return None


def _find_scope(request: RecordedRequest) -> AnsweringScope | None:
    return policy.find_answering_scope(request.method, *_Address.of(request.url))


def _read_files(scope: Scope, settings: Settings, cassette: str | None) -> None:
    if cassette is not None and (settings.transport in CASSETTE_MODES or scope.scripts.names_script(cassette)):
        scope.sessions.session_for(cassette, session_mode(settings.transport, settings))


def _answer(request: RecordedRequest, scope: Scope, settings: Settings, cassette: str | None) -> Answer:
    """Let a script answer first, and otherwise decide by the transport of the settings."""
    if settings.transport == SCRIPT or scope.scripts.may_answer(cassette):
        scripted = scripted_answering.answer_by_hand(request, scope, settings, cassette)
        if scripted is not None:
            return scripted
    if settings.transport == "live":
        return None
    address = _Address.of(request.url)
    if settings.transport not in CASSETTE_MODES:
        raise guard.refuse_web_socket(
            str(address), f"aquila_transport is {settings.transport!r}, which answers no WebSockets"
        )
    if cassette is None:
        raise CassetteRequired(f"{scope.describe()}: no cassette answers this WebSocket")
    session = scope.sessions.session_for(cassette, session_mode(settings.transport, settings))
    return _decide(request, scope, settings, session)


class _Address(NamedTuple):
    scheme: str
    host: str
    port: int | None
    path: str

    @classmethod
    def of(cls, url: str) -> _Address:
        parts = urlsplit(url)
        path = parts.path or "/"
        return cls(parts.scheme, parts.hostname or "", parts.port, f"{path}?{parts.query}" if parts.query else path)

    def __str__(self) -> str:
        return f"GET {guard.format_origin(self.scheme, self.host, self.port)}{self.path.partition('?')[0]}"


def _decide(request: RecordedRequest, scope: Scope, settings: Settings, session: Session) -> Answer:
    address = _Address.of(request.url)
    decision = None
    if scope.faults.plan is not None and asks_model(address.host, address.port, address.path, settings):
        decision = spoil_recording(scope, session, request)
    decision = decision or session.decide(request)
    if isinstance(decision, PassOnDecision):
        guard.check_unanswered(request.method, *address, scope, settings)
        return None
    if isinstance(decision, RefuseDecision):
        if askers.is_unasked() and not asks_model(address.host, address.port, address.path, settings):
            raise fail_unasked(session.redactor.redact_text(str(address)))
        refuse(scope, decision.explain(), decision.key)
    if isinstance(decision, ReplayDecision):
        if settings.transport != "replay" and scope.recording.must_note(decision):
            scope.recording.note_play(session, decision)
        return _replay(scope, settings, session, decision, request)
    if settings.upstream != "live":
        why = f"aquila_upstream is {settings.upstream!r}, and WebSockets are recorded live alone"
        raise guard.refuse_web_socket(str(address), why)
    import_websockets(purpose="the replay of a recorded WebSocket")  # now: a missing library is an error before sending
    refused = scope.recording.take_request(decision)
    if refused is not None:
        refuse(scope, refused, decision.key)
    if scope.run.exchange_watch is not None:
        scope.run.exchange_watch.begin(scope, request, decision, session)
    return FrameRecorder(scope.recording, session, decision)


def _replay(
    scope: Scope, settings: Settings, session: Session, decision: ReplayDecision, request: RecordedRequest
) -> ReplayedConversation:
    side = RecordedSide(scope, settings, session, decision, request)
    watch = scope.run.exchange_watch
    noted = None if watch is None else watch.begin(scope, request, decision, session)
    return open_conversation(side, scope, decision.played.key, fault=decision.fault, noted=noted)
