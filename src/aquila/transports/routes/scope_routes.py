"""Which route the requests of a scope take: what was written by hand comes first, then what the transport says."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from aquila.config import Settings
from aquila.lazy_imports import lazy_modules
from aquila.recording.scope import Scope
from aquila.transports.routes.cassette_route import NO_UPSTREAM, CassetteRoute
from aquila.transports.routes.route import PlainRoute, Route
from aquila.transports.upstreams import CASSETTE_MODES, Upstream, find_upstream

if TYPE_CHECKING:
    from anyio import to_thread

    from aquila.transports.routes import faulted_route, script_route
else:
    lazy_modules(
        globals(),
        to_thread="anyio.to_thread",
        faulted_route="aquila.transports.routes.faulted_route",
        script_route="aquila.transports.routes.script_route",
    )

FindUpstream = Callable[[str], Upstream]
"""Finds what answers by a name: that of a transport, or of the upstream that is recorded from."""


def open_route(
    name: str,
    scope: Scope,
    settings: Settings,
    cassette: str | None,
    find: FindUpstream = find_upstream,
    *,
    outside: Upstream | None = None,
    uses_scripts: bool = True,
) -> Route | None:
    """Open the route of a request: through what was written by hand, and else as the transport ``name`` says.

    ``cassette`` is the name of a cassette or of a script in a file. ``outside`` sends what filters keep out of
    cassettes. ``uses_scripts`` is false where the call itself asks for another transport. None where a cassette is
    needed and there is none. Raises what opening a cassette and finding an upstream raise.
    """
    route = _open_without_fixture(name, scope, settings, cassette, find, outside, uses_scripts)
    return script_route.ScriptRoute(scope, settings, route) if uses_scripts and scope.has_script else route


async def open_route_async(
    name: str,
    scope: Scope,
    settings: Settings,
    cassette: str | None,
    find: FindUpstream = find_upstream,
    *,
    outside: Upstream | None = None,
) -> Route | None:
    """``open_route`` without blocking the event loop: a cassette is read in a thread."""
    open_it = functools.partial(open_route, name, scope, settings, cassette, find, outside=outside)
    return open_it() if is_ready(name, scope, settings, cassette) else await to_thread.run_sync(open_it)


def _open_without_fixture(
    name: str,
    scope: Scope,
    settings: Settings,
    cassette: str | None,
    find: FindUpstream,
    outside: Upstream | None,
    uses_scripts: bool,
) -> Route | None:
    if name in CASSETTE_MODES:
        if cassette is None:
            return None
        session = scope.sessions.session_for(cassette, session_mode(name, settings))
        if session.script is not None:
            return script_route.ScriptRoute(scope, settings, script=session.script)
        upstream = NO_UPSTREAM if name == "replay" else find(settings.upstream)
        return CassetteRoute(name, scope, settings, session, upstream, outside=outside)
    upstream = find(name)
    rest: Route
    if name != "live" and scope.faults is not None:
        rest = faulted_route.FaultedRoute(name, scope, settings, upstream)
    else:
        rest = PlainRoute(name, upstream)
    if cassette is None or not uses_scripts or not scope.names_script(cassette):
        return rest
    session = scope.sessions.session_for(cassette, "replay")
    return script_route.ScriptRoute(scope, settings, rest, script=session.script)


def is_ready(name: str, scope: Scope, settings: Settings, cassette: str | None) -> bool:
    """Whether the route opens without a look at the disk."""
    if cassette is None:
        return True
    if name in CASSETTE_MODES:
        return scope.sessions.has_session(cassette, session_mode(name, settings))
    if scope.knows_script(cassette):
        return not scope.names_script(cassette) or scope.sessions.has_session(cassette, "replay")
    return False


def session_mode(transport: str, settings: Settings) -> str:
    """How a session uses its cassette for ``transport``, which is ``replay`` or ``record``."""
    return "replay" if transport == "replay" else settings.record
