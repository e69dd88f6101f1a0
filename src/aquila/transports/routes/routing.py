"""Routing: which way a request goes.

The transport comes from the ``transport=`` argument, else the settings. The cassette comes from the ``cassette=``
argument, else the scope in force. ``resolve_route`` finds out both when a call begins, so that mistakes show before
anything is sent. Then one object answers: a ``PlainRoute`` sends the request upstream, a ``CassetteRoute`` asks its
session and replays, or records what its upstream answers, and a ``ScriptRoute`` gives what was written by hand.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, TypeAlias

import httpx2

from aquila.config import Settings
from aquila.errors import CassetteRequired
from aquila.lazy_imports import lazy_modules
from aquila.recording import scope as scopes
from aquila.recording import scripts
from aquila.recording.scope import Scope
from aquila.transports.routes.route import PlainRoute, Route, active_route
from aquila.transports.routes.scope_routes import open_route
from aquila.transports.upstreams import CASSETTE_MODES, find_upstream, upstream_from

if TYPE_CHECKING:
    from anyio import to_thread
else:
    lazy_modules(globals(), to_thread="anyio.to_thread")

Transport: TypeAlias = httpx2.BaseTransport | httpx2.AsyncBaseTransport


class RoutingTransport(httpx2.BaseTransport):
    """Sends each request of a client through the route in force when it is made.

    ``transport`` and ``cassette`` are those of ``resolve_route``.
    """

    def __init__(self, transport: str | Transport | None = None, cassette: str | None = None) -> None:
        self._transport = transport
        self._cassette = cassette

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        route = active_route.get()
        if route is not None:
            return route.answer(request)
        return resolve_route(transport=self._transport, cassette=self._cassette).answer(request, is_last=True)


class AsyncRoutingTransport(httpx2.AsyncBaseTransport):
    """The async twin of ``RoutingTransport``."""

    def __init__(self, transport: str | Transport | None = None, cassette: str | None = None) -> None:
        self._transport = transport
        self._cassette = cassette

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        route = active_route.get()
        if route is not None:
            return await route.answer_async(request)
        route = await resolve_route_async(transport=self._transport, cassette=self._cassette)
        return await route.answer_async(request, is_last=True)


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
    cassette = cassette or (scope.default_cassette if scope is not None else None)
    uses_scripts = _uses_scripts(transport)
    if scope is None:
        if name not in CASSETTE_MODES and not (uses_scripts and scripts.is_scripted(cassette, settings)):
            return PlainRoute(name, find_upstream(name))
        if cassette is None:
            raise CassetteRequired(_explain_missing_cassette(name, scope))
        scope = Scope(kind="call")
    route = open_route(name, scope, settings, cassette, uses_scripts=uses_scripts)
    if route is None:
        raise CassetteRequired(_explain_missing_cassette(name, scope))
    return route


def _uses_scripts(transport: str | None) -> bool:
    """Whether a script comes first: where the call itself does not ask for something else than a cassette."""
    return transport is None or transport in CASSETTE_MODES


def needs_key(
    transport: str | Transport | None, surroundings: scopes.Surroundings, cassette: str | None = None
) -> bool:
    """Whether the route that ``resolve_route`` resolves needs an API key. Opens nothing, unlike that."""
    scope, settings = surroundings
    if transport is not None and not isinstance(transport, str):
        return False
    name = transport or settings.transport
    if name == "replay":
        return False
    if _uses_scripts(transport) and _is_scripted(scope, settings, cassette):
        return False
    return find_upstream(settings.upstream if name == "record" else name).needs_key


def _is_scripted(scope: Scope | None, settings: Settings, cassette: str | None) -> bool:
    if scope is None:
        return scripts.is_scripted(cassette, settings)
    return scope.has_script or scope.names_script(cassette or scope.default_cassette)


async def resolve_route_async(*, transport: str | Transport | None = None, cassette: str | None = None) -> Route:
    """``resolve_route`` without blocking the event loop: a cassette is read in a thread."""
    return await to_thread.run_sync(functools.partial(resolve_route, transport=transport, cassette=cassette))


def _explain_missing_cassette(name: str, scope: Scope | None) -> str:
    if scope is not None and scope.kind == "test":
        return (
            f"{scope.name}: a request to a model, transport {name!r}, and no cassette. Use the fixture "
            "aquila_cassette, name one with cassette=, or run with --aquila-transport=live to reach the provider."
        )
    if scope is not None and scope.kind == "task":
        return (
            f"{scope.name}: transport {name!r} needs a cassette. A task takes that of the test or block that enqueued "
            "it only in a worker that takes part in tests: start the worker with AQUILA_UNDER_TEST=1, or name a "
            "cassette in the task with cassette= or aquila.use_cassette(...)"
        )
    return (
        f"transport {name!r} needs a cassette: pass cassette=, or make the call within aquila.use_cassette(...) "
        "or a test that uses the fixture aquila_cassette"
    )
