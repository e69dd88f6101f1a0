"""Routing: which way a request goes.

The transport comes from the ``transport=`` argument, else the settings. The cassette comes from the ``cassette=``
argument, else the scope in force. ``resolve_route`` finds out both when a call begins, so that mistakes show before
anything is sent. Then one object answers: a ``PlainRoute`` sends the request upstream, a ``CassetteRoute`` asks its
session and replays, or records what its upstream answers.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import httpx2

from aquila.config import Settings
from aquila.errors import CassetteMiss, CassetteRequired
from aquila.lazy_imports import lazy_modules
from aquila.recording import askers
from aquila.recording import scope as scopes
from aquila.recording.model_hosts import asks_model
from aquila.recording.no_network import fail_unasked
from aquila.recording.places import attempt_of, suit_to_place
from aquila.recording.scope import Scope
from aquila.recording.session import RecordDecision, RefuseDecision, ReplayDecision
from aquila.recording.time_limits import current_limits
from aquila.transports.record import AnswerRecorder, run_in_thread
from aquila.transports.replay import Pace, Rest, replay_response, replay_response_async
from aquila.transports.silence import Silence
from aquila.transports.upstreams import CASSETTE_MODES, Upstream, find_upstream, upstream_from
from aquila.transports.wire import read_request, read_request_async, to_recorded_request

if TYPE_CHECKING:
    from anyio import to_thread
else:
    lazy_modules(globals(), to_thread="anyio.to_thread")

Transport: TypeAlias = httpx2.BaseTransport | httpx2.AsyncBaseTransport


class Route:
    """Where the requests of one call go.

    ``name`` is that of the transport. ``needs_key`` says that requests are refused without an API key.
    """

    name: str
    needs_key: bool
    source: str = ""
    """The name of the upstream that answers, "" where only recordings do."""
    is_one_call: bool = False
    """Whether ``close`` has something to end, because no scope around the call does."""

    def answer(self, request: httpx2.Request, *, is_last: bool = False) -> httpx2.Response:
        """Answer a request. The call ends with the answer if it ``is_last``.

        Raises ``CassetteMiss``, ``ConfigError`` where an upstream has no sync side, and what the upstream raises.
        """
        raise NotImplementedError

    async def answer_async(self, request: httpx2.Request, *, is_last: bool = False) -> httpx2.Response:
        """The async twin of ``answer``."""
        raise NotImplementedError

    @contextmanager
    def activate(self) -> Iterator[None]:
        """Let requests that are made within the block, in this context, take this route."""
        before = _active_route.get()
        _active_route.set(self)
        try:
            yield
        finally:
            _active_route.set(before)  # not reset(token): an async generator may be closed in another context

    def close(self, *, failed: bool = False) -> None:
        """End the call. Recordings of a call outside any scope are stored now, or kept beside if it failed."""

    async def close_async(self, *, failed: bool = False) -> None:
        """``close`` without blocking the event loop. It is done even if the caller is cancelled."""
        if self.is_one_call:
            await run_in_thread(functools.partial(self.close, failed=failed))


class PlainRoute(Route):
    """A route that no cassette is on: live, local, or a transport of the user's."""

    def __init__(self, name: str, upstream: Upstream) -> None:
        self.name = name
        self.needs_key = upstream.needs_key
        self.source = name
        self._upstream = upstream

    def answer(self, request: httpx2.Request, *, is_last: bool = False) -> httpx2.Response:
        return self._upstream.send_request(request)

    async def answer_async(self, request: httpx2.Request, *, is_last: bool = False) -> httpx2.Response:
        return await self._upstream.send_request_async(request)


NO_UPSTREAM = Upstream("")
"""The upstream of a route that only replays. It answers nothing."""


def session_mode(transport: str, settings: Settings) -> str:
    """How a session uses its cassette for ``transport``, which is ``replay`` or ``record``."""
    return "replay" if transport == "replay" else settings.record


class CassetteRoute(Route):
    """A route through a cassette: ``name`` is ``replay``, or ``record`` from an upstream.

    ``settings`` are those of the scope now, and ``cassette`` is the name of the cassette. Raises what opening a
    cassette raises.
    """

    def __init__(
        self, name: str, scope: Scope, settings: Settings, cassette: str, upstream: Upstream = NO_UPSTREAM
    ) -> None:
        self.name = name
        self.needs_key = upstream.needs_key
        self.source = upstream.name
        self.is_one_call = scope.kind == "call"
        self._scope = scope
        self._session = scope.sessions.session_for(cassette, session_mode(name, settings))
        self._timing = settings.replay_timing
        self._silence = settings.silence
        self.upstream = upstream

    def answer(self, request: httpx2.Request, *, is_last: bool = False) -> httpx2.Response:
        if is_last and self.is_one_call:
            return self._answer_last(request)
        read_request(request)
        decision = self.decide(request)
        if isinstance(decision, ReplayDecision):
            return self.replay(decision, request)
        recorder = self.start_recording(decision)
        try:
            response = self.upstream.send_request(request)
        except BaseException as error:
            recorder.finish_unanswered(error)
            raise
        return recorder.record_response(response)

    async def answer_async(self, request: httpx2.Request, *, is_last: bool = False) -> httpx2.Response:
        if is_last and self.is_one_call:
            return await self._answer_last_async(request)
        await read_request_async(request)
        decision = self.decide(request)
        if isinstance(decision, ReplayDecision):
            if self.name != "replay" and not self._scope.is_owner:
                await run_in_thread(self._remember_play, decision)
            return await replay_response_async(decision, self._rest_of(decision, request), self._pace_for(request))
        recorder = self.start_recording(decision)
        try:
            response = await self.upstream.send_request_async(request)
        except BaseException as error:
            await run_in_thread(recorder.finish_unanswered, error)
            raise
        return recorder.record_response_async(response)

    def decide(self, request: httpx2.Request) -> ReplayDecision | RecordDecision:
        """Decide about a request whose body has been read. Raises ``CassetteMiss``."""
        decision = self._session.decide(to_recorded_request(request))
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

    def _refuse(self, miss: CassetteMiss, key: str) -> NoReturn:
        # A new exception each time: the remembered one must not collect the tracebacks of those that are raised.
        raised = suit_to_place(miss)
        self._scope.remember_miss(miss, attempt_of(raised, key))
        raise raised

    def replay(self, decision: ReplayDecision, request: httpx2.Request) -> httpx2.Response:
        """Answer ``request`` with a recording."""
        if self.name != "replay":
            self._remember_play(decision)
        return replay_response(decision, self._rest_of(decision, request), self._pace_for(request))

    def start_recording(self, decision: RecordDecision) -> AnswerRecorder:
        """Begin the recording of an answer. The request is sent now: the recorder's clock has started."""
        return AnswerRecorder(
            self._scope.recording,
            self._session,
            decision,
            transport_error=self.upstream.transport_error,
            from_network=self.upstream.name == "live",
            limits=current_limits(),
        )

    def close(self, *, failed: bool = False) -> None:
        if self.is_one_call:
            self._scope.close(passed=not failed)

    def _remember_play(self, decision: ReplayDecision) -> None:
        self._scope.recording.note_play(self._session, decision)

    def _rest_of(self, decision: ReplayDecision, request: httpx2.Request) -> Rest | None:
        """What comes behind the last chunk of an answer; None if that is its end."""
        response = decision.interaction.response
        if response.end == "complete":
            return None

        def refuse(miss: CassetteMiss) -> NoReturn:
            self._refuse(miss, decision.played.key)

        silence = None
        if response.end == "silent":
            silence = Silence(
                response,
                request,
                seconds=self._silence,
                limits=current_limits(),
                instant=not self._timing,
                is_over=lambda: self._scope.closed,
                refuse=refuse,
            )
        return Rest(response, silence=silence, refuse=refuse)

    def _pace_for(self, request: httpx2.Request) -> Pace | None:
        return Pace(self._timing, request) if self._timing else None

    def _answer_last(self, request: httpx2.Request) -> httpx2.Response:
        try:
            response = self.answer(request)
        except BaseException:
            self.close(failed=True)
            raise
        response.stream.after_close = self.close  # type: ignore[union-attr]
        return response

    async def _answer_last_async(self, request: httpx2.Request) -> httpx2.Response:
        try:
            response = await self.answer_async(request)
        except BaseException:
            await self.close_async(failed=True)
            raise
        response.stream.after_close = self.close_async  # type: ignore[union-attr]
        return response


class RoutingTransport(httpx2.BaseTransport):
    """Sends each request of a client through the route in force when it is made.

    ``transport`` and ``cassette`` are those of ``resolve_route``.
    """

    def __init__(self, transport: str | Transport | None = None, cassette: str | None = None) -> None:
        self._transport = transport
        self._cassette = cassette

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        route = _active_route.get()
        if route is not None:
            return route.answer(request)
        return resolve_route(transport=self._transport, cassette=self._cassette).answer(request, is_last=True)


class AsyncRoutingTransport(httpx2.AsyncBaseTransport):
    """The async twin of ``RoutingTransport``."""

    def __init__(self, transport: str | Transport | None = None, cassette: str | None = None) -> None:
        self._transport = transport
        self._cassette = cassette

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        route = _active_route.get()
        if route is not None:
            return await route.answer_async(request)
        route = await resolve_route_async(transport=self._transport, cassette=self._cassette)
        return await route.answer_async(request, is_last=True)


# The route of the call in progress. It belongs to the context of the call: `Route.activate` sets and restores it.
_active_route: ContextVar[Route | None] = ContextVar("aquila_route", default=None)


def resolve_route(
    *,
    transport: str | Transport | None = None,
    cassette: str | None = None,
    surroundings: scopes.Surroundings | None = None,
) -> Route:
    """Resolve where the requests of a call go.

    ``transport`` is a name (``live``, ``replay``, ``record``, ``local``, ``module:factory``, one that a plugin
    registered) or an httpx2 transport; None takes the one of the settings. ``cassette`` names a cassette; None takes
    the one of the scope in force. ``surroundings`` is what is in force here, if the caller knows it already. Raises
    ``UnknownTransport``, ``ConfigError``, ``CassetteRequired``, and what opening a cassette raises.
    """
    if transport is not None and not isinstance(transport, str):
        name = type(transport).__name__
        return PlainRoute(name, upstream_from(transport, name))
    scope, settings = surroundings or scopes.find_surroundings()
    name = transport or settings.transport
    if name not in CASSETTE_MODES:
        return PlainRoute(name, find_upstream(name))
    cassette = cassette or (scope.default_cassette if scope is not None else None)
    if cassette is None:
        raise CassetteRequired(_explain_missing_cassette(name, scope))
    if scope is None:
        scope = Scope(kind="call")
    if name == "replay":
        return CassetteRoute(name, scope, settings, cassette)
    return CassetteRoute(name, scope, settings, cassette, find_upstream(settings.upstream))


def needs_key(transport: str | Transport | None, settings: Settings) -> bool:
    """Whether the route for ``transport`` needs an API key. Opens nothing, unlike ``resolve_route``."""
    if transport is not None and not isinstance(transport, str):
        return False
    name = transport or settings.transport
    return name != "replay" and find_upstream(settings.upstream if name == "record" else name).needs_key


async def resolve_route_async(*, transport: str | Transport | None = None, cassette: str | None = None) -> Route:
    """``resolve_route`` without blocking the event loop: a cassette is read in a thread."""
    return await to_thread.run_sync(functools.partial(resolve_route, transport=transport, cassette=cassette))


def _explain_missing_cassette(name: str, scope: Scope | None) -> str:
    if scope is not None and scope.kind == "test":
        return (
            f"{scope.name}: a request to a model, transport {name!r}, and no cassette. Use the fixture "
            "aquila_cassette, name one with cassette=, or run with --aquila-transport=live to reach the provider."
        )
    return (
        f"transport {name!r} needs a cassette: pass cassette=, or make the call within aquila.use_cassette(...) "
        "or a test that uses the fixture aquila_cassette"
    )
