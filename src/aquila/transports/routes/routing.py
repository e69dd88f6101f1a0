"""Routing: chooses the route of a request.

The transport comes from the argument ``transport=``, else from the settings. The cassette comes from the argument
``cassette=``, else from the scope in force. ``resolve_route`` finds both when a call begins, so that mistakes show
before anything is sent. ``open_route`` opens the route within a scope, for Aquila's own calls and for requests of other
clients. A ``PlainRoute`` sends the request to its upstream. A ``CassetteRoute`` asks its session, and replays or
records the answer of its upstream. A ``ScriptRoute`` answers from a script, and comes before the others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import httpx2

from aquila.errors import CassetteRequired
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.recording import scope as scopes
from aquila.recording.scope import Scope
from aquila.settings import Settings
from aquila.transports.routes.route import PlainRoute, Route, active_route, open_in_thread
from aquila.transports.routes.scope_route import NO_UPSTREAM, CassetteRoute
from aquila.transports.upstreams import CASSETTE_MODES, Upstream, find_upstream, upstream_from

if TYPE_CHECKING:
    from aquila.recording import scripts
    from aquila.recording.network import guard
    from aquila.transports.routes import faulted_route, opening_turns, script_route
else:
    lazy_modules(
        globals(),
        "aquila.recording: scripts",
        "aquila.recording.network: guard",
        "aquila.transports.routes: faulted_route, opening_turns, script_route",
    )

Transport: TypeAlias = httpx2.BaseTransport | httpx2.AsyncBaseTransport

FindUpstream = Callable[[str], Upstream]
"""Finds an upstream by its name."""


class RoutingTransport(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Sends each request of a client, sync or async, through the route in force when it is made.

    ``transport`` and ``cassette`` are those of ``resolve_route``.
    """

    def __init__(self, transport: str | Transport | None = None, cassette: str | None = None) -> None:
        self._transport = transport
        self._cassette = cassette

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        route = active_route.get()
        if route is not None:
            return route.answer(request)
        route = resolve_route(transport=self._transport, cassette=self._cassette, request=request)
        return route.answer(request, is_last=True)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        route = active_route.get()
        if route is not None:
            return await route.answer_async(request)
        route = await open_in_thread(
            functools.partial(resolve_route, transport=self._transport, cassette=self._cassette, request=request)
        )
        return await route.answer_async(request, is_last=True)


def resolve_route(
    *,
    transport: str | Transport | None = None,
    cassette: str | None = None,
    surroundings: scopes.Surroundings | None = None,
    request: httpx2.Request | None = None,
) -> Route:
    """Resolve where the requests of a call go.

    ``transport`` is a name (``live``, ``replay``, ``record``, ``local``, ``module:factory``, one that a plugin
    registered) or an httpx2 transport; None takes the one of the settings. ``cassette`` names a cassette; None takes
    the one of the scope in force. ``surroundings`` is what is in force here, if the caller knows it already.
    ``request`` is the request to answer, which errors name. Raises ``UnknownTransport``, ``ConfigError``,
    ``CassetteRequired``, in a test run ``LiveCallRefused``, and what opening a cassette raises.
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
            raise _missing_cassette(name, scope, settings, request, is_chosen=transport is not None)
        scope = Scope(kind="call")
    route = open_route(name, scope, settings, cassette, uses_scripts=uses_scripts)
    if route is None:
        raise _missing_cassette(name, scope, settings, request, is_chosen=transport is not None)
    return route


def _uses_scripts(transport: str | None) -> bool:
    """Whether a script comes first: unless the call itself names a transport without a cassette."""
    return transport is None or transport in CASSETTE_MODES


def needs_key(
    transport: str | Transport | None, surroundings: scopes.Surroundings, cassette: str | None = None
) -> bool:
    """Whether the route that ``resolve_route`` would return needs an API key. Opens nothing."""
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
    return scope.scripts.may_answer(cassette or scope.default_cassette)


def open_route(
    name: str,
    scope: Scope,
    settings: Settings,
    cassette: str | None,
    find: FindUpstream = find_upstream,
    *,
    client: Upstream | None = None,
    uses_scripts: bool = True,
) -> Route | None:
    """Open the route of a request: through the script of ``scope`` if there is one, else by the transport ``name``.

    ``cassette`` is the name of a cassette or of a script in a file. ``client`` is the own transport of the client that
    sends the request: it takes the place of the upstream ``live``, and sends what filters keep out of cassettes.
    ``uses_scripts`` is false where the call itself names another transport. Returns None if a cassette is needed and
    there is none. Raises what opening a cassette and finding an upstream raise.
    """
    route = _open_by_transport(name, scope, settings, cassette, find, client, uses_scripts)
    return script_route.ScriptRoute(scope, settings, route) if uses_scripts and scope.scripts.is_written else route


async def open_route_async(
    name: str,
    scope: Scope,
    settings: Settings,
    cassette: str | None,
    find: FindUpstream = find_upstream,
    *,
    client: Upstream | None = None,
) -> Route | None:
    """``open_route`` without blocking the event loop: a cassette is read in a thread."""
    open_it = functools.partial(open_route, name, scope, settings, cassette, find, client=client)
    return await opening_turns.open_in_turn(open_it, lambda: is_ready(name, scope, settings, cassette))


def _open_by_transport(
    name: str,
    scope: Scope,
    settings: Settings,
    cassette: str | None,
    find: FindUpstream,
    client: Upstream | None,
    uses_scripts: bool,
) -> Route | None:
    if name in CASSETTE_MODES:
        if cassette is None:
            return None
        session = scope.sessions.session_for(cassette, session_mode(name, settings))
        if session.script is not None:
            return script_route.ScriptRoute(scope, settings, script=session.script)
        upstream = NO_UPSTREAM
        if name != "replay":
            upstream = client if client is not None and settings.upstream == "live" else find(settings.upstream)
        return CassetteRoute(name, scope, settings, session, upstream, outside=client)
    upstream = client if client is not None and name == "live" else find(name)
    rest: Route
    if name != "live" and scope.faults.plan is not None:
        rest = faulted_route.FaultedRoute(name, scope, settings, upstream)
    else:
        rest = PlainRoute(name, upstream)
    if cassette is None or not uses_scripts or not scope.scripts.names_script(cassette):
        return rest
    session = scope.sessions.session_for(cassette, "replay")
    return script_route.ScriptRoute(scope, settings, rest, script=session.script)


def is_ready(name: str, scope: Scope, settings: Settings, cassette: str | None) -> bool:
    """Whether ``open_route`` opens the route without reading from disk."""
    if cassette is None:
        return True
    if name in CASSETTE_MODES:
        return scope.sessions.has_session(cassette, session_mode(name, settings))
    if scope.scripts.knows_name(cassette):
        return not scope.scripts.names_script(cassette) or scope.sessions.has_session(cassette, "replay")
    return False


def session_mode(transport: str, settings: Settings) -> str:
    """Return the mode of a session (see ``Session``) that is opened for a transport."""
    return settings.record if transport == "record" else "replay"


def _missing_cassette(
    name: str, scope: Scope | None, settings: Settings, request: httpx2.Request | None, *, is_chosen: bool
) -> BaseException:
    """Return the error of a call that needs a cassette and has none.

    ``is_chosen`` says that the call itself names its transport.
    """
    message = _explain_missing_cassette(name, scope)
    if is_chosen or settings.guard == "off" or not runtime.is_under_pytest():
        return CassetteRequired(message)
    # A refusal, as for any other client that asks a model: the test fails even if its code swallows the error.
    what = "a request to a model"
    if request is not None:
        url = request.url
        what = guard.describe_request(request.method, url.scheme, url.host, url.port, url.path, settings)
    is_of_task = scope is not None and scope.kind == "task"
    return guard.make_refusal(message if is_of_task else guard.refusal_message(what, scope))


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
