"""Routing: which transport a request goes through.

The transport comes from the ``transport=`` argument, else the settings; the cassette from the ``cassette=`` argument,
else the scope in force. Everything is resolved when a call begins, so that mistakes show before anything is sent.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeAlias

import httpx2

from aquila import config
from aquila.errors import CassetteRequired, ConfigError, UnknownTransport
from aquila.plugins import plugin_manager
from aquila.recording import runtime
from aquila.recording import scope as scopes
from aquila.recording.scope import Scope
from aquila.transports.live import AsyncLiveTransport, LiveTransport
from aquila.transports.own_requests import own_request
from aquila.transports.record import AsyncRecordTransport, RecordTransport
from aquila.transports.replay import AsyncReplayTransport, ReplayTransport

Transport: TypeAlias = httpx2.BaseTransport | httpx2.AsyncBaseTransport


class Route(Protocol):
    """Where the requests of one call go: a name, and a transport for each kind of client."""

    name: str
    needs_key: bool
    is_one_call: bool

    def sync_transport(self) -> httpx2.BaseTransport:
        """The transport for sync clients. Raises ``ConfigError`` if there is none."""

    def async_transport(self) -> httpx2.AsyncBaseTransport:
        """The transport for async clients. Raises ``ConfigError`` if there is none."""

    def activate(self) -> Any:
        """A context manager: requests made within it, in this context, take this route."""

    def close(self, *, failed: bool = False) -> None:
        """End the call. Recordings of a call outside any scope are stored now, or kept beside if it failed."""


class _Route:
    """A route with everything but its transports."""

    name: str = ""
    needs_key: bool = False
    is_one_call: bool = False
    """Whether ``close`` has something to end, because no scope around the call does."""

    @contextmanager
    def activate(self) -> Iterator[None]:
        before = _active.get()
        _active.set(self)  # type: ignore[arg-type]
        try:
            yield
        finally:
            _active.set(before)

    def close(self, *, failed: bool = False) -> None:
        """Nothing is kept open."""


class PlainRoute(_Route):
    """A route that no cassette is on: live, local, or a transport of the user's."""

    def __init__(self, name: str, upstream: Upstream) -> None:
        self.name = name
        self.needs_key = upstream.needs_key
        self.sync_transport = upstream.sync_transport
        self.async_transport = upstream.async_transport


class CassetteRoute(_Route):
    """A route through a cassette: replay, or record from an upstream."""

    def __init__(
        self, name: str, scope: Scope, cassette: str, settings: config.Settings, upstream: Upstream | None
    ) -> None:
        self.name = name
        self.cassette = cassette
        self.needs_key = upstream is not None and upstream.needs_key
        self._scope = scope
        self._timing = settings.replay_timing
        self._session = scope.sessions.session_for(cassette, "replay" if upstream is None else settings.record)
        self._upstream = upstream
        self.is_one_call = scope.kind == "call"

    def sync_transport(self) -> httpx2.BaseTransport:
        if self._upstream is None:
            return ReplayTransport(self._scope, self._session, self._timing)
        return RecordTransport(self._scope, self._session, self._timing, self._upstream.sync_transport())

    def async_transport(self) -> httpx2.AsyncBaseTransport:
        if self._upstream is None:
            return AsyncReplayTransport(self._scope, self._session, self._timing)
        return AsyncRecordTransport(self._scope, self._session, self._timing, self._upstream.async_transport())

    def close(self, *, failed: bool = False) -> None:
        if self.is_one_call:
            self._scope.close(passed=not failed)


class Upstream:
    """A source of answers by name, with a transport for sync clients and one for async clients, made when needed."""

    def __init__(
        self,
        name: str,
        sync: Callable[[], httpx2.BaseTransport] | None,
        async_: Callable[[], httpx2.AsyncBaseTransport] | None,
        *,
        needs_key: bool = False,
    ) -> None:
        self.name = name
        self.needs_key = needs_key
        self._makers = {"sync": sync, "async": async_}
        self._made: dict[str, Any] = {}

    def sync_transport(self) -> httpx2.BaseTransport:
        """The transport for sync clients."""
        transport: httpx2.BaseTransport = self._make_transport("sync")
        return transport

    def async_transport(self) -> httpx2.AsyncBaseTransport:
        """The transport for async clients."""
        transport: httpx2.AsyncBaseTransport = self._make_transport("async")
        return transport

    def _make_transport(self, kind: str) -> Any:
        transport = self._made.get(kind)
        if transport is None:
            maker = self._makers[kind]
            if maker is None:
                base = "BaseTransport" if kind == "sync" else "AsyncBaseTransport"
                raise ConfigError(
                    f"transport {self.name} has no {kind} side; make it a subclass of httpx2.{base} to use it here"
                )
            made: Any = maker()
            # Two threads may both make one; the first to be kept serves both.
            transport = self._made.setdefault(kind, _Permitted(made) if kind == "sync" else _AsyncPermitted(made))
        return transport


class _Permitted(httpx2.BaseTransport):
    """An upstream whose requests are Aquila's own: they are neither intercepted nor refused."""

    def __init__(self, transport: httpx2.BaseTransport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        with own_request():
            return self._transport.handle_request(request)

    def close(self) -> None:
        self._transport.close()


class _AsyncPermitted(httpx2.AsyncBaseTransport):
    """The async twin of ``_Permitted``."""

    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        with own_request():
            return await self._transport.handle_async_request(request)

    async def aclose(self) -> None:
        await self._transport.aclose()


def _local_sync() -> httpx2.BaseTransport:
    from aquila.transports.local_model.local_transport import LocalTransport

    return LocalTransport()


def _local_async() -> httpx2.AsyncBaseTransport:
    from aquila.transports.local_model.local_transport import AsyncLocalTransport

    return AsyncLocalTransport()


_BUILT_IN: dict[str, Upstream] = {
    "live": Upstream("live", LiveTransport, AsyncLiveTransport, needs_key=True),
    "local": Upstream("local", _local_sync, _local_async),
}
CASSETTE_MODES = ("replay", "record")
"""The transports that go through a cassette."""


class LoadedUpstreams(dict[str, Upstream]):
    """The sources of answers that were made from a name. The run owns it: within one a factory is called once."""


_active: ContextVar[Route | None] = ContextVar("aquila_route", default=None)


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
        return PlainRoute(_describe_transport(transport), _upstream_from(transport, _describe_transport(transport)))
    scope, settings = surroundings or scopes.find_surroundings()
    name = transport or settings.transport
    if name not in CASSETTE_MODES:
        return PlainRoute(name, find_upstream(name))
    cassette = cassette or (scope.default_cassette if scope is not None else None)
    if cassette is None:
        raise CassetteRequired(_no_cassette(name, scope))
    if scope is None:
        scope = Scope(kind="call")
    upstream = find_upstream(settings.upstream) if name == "record" else None
    return CassetteRoute(name, scope, cassette, settings, upstream)


def _no_cassette(name: str, scope: Scope | None) -> str:
    if scope is not None and scope.kind == "test":
        return (
            f"{scope.name}: a request to a model, transport {name!r}, and no cassette. Use the fixture "
            "aquila_cassette, name one with cassette= (as a fixture that several tests share must), or run with "
            "--aquila-transport=live to reach the provider."
        )
    return (
        f"transport {name!r} needs a cassette: pass cassette=, or make the call within aquila.use_cassette(...) "
        "or a test that uses the fixture aquila_cassette"
    )


def find_upstream(name: str) -> Upstream:
    """The source of answers of a name. Raises ``UnknownTransport`` or ``ConfigError``."""
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    loaded = runtime.current_run().state_of(LoadedUpstreams)
    if name not in loaded:
        loaded[name] = _upstream_from(_load_transport(name), name)
    return loaded[name]


def _load_transport(name: str) -> Any:
    registered: dict[str, Any] = {}
    for table in plugin_manager().hook.aquila_transports():
        registered.update(table)
    if name in registered:
        return _call_factory(registered[name], name)
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        known = ", ".join((*_BUILT_IN, *CASSETTE_MODES, *sorted(registered), "module:factory"))
        raise UnknownTransport(f"unknown transport {name!r}; known are {known}")
    try:
        factory: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise UnknownTransport(f"transport {name!r}: cannot import {module_name!r}: {error}") from error
    for part in attribute.split("."):
        try:
            factory = getattr(factory, part)
        except AttributeError as error:
            raise UnknownTransport(f"transport {name!r}: {module_name!r} has no {attribute!r}") from error
    return _call_factory(factory, name)


def _call_factory(factory: Any, name: str) -> Any:
    if isinstance(factory, (httpx2.BaseTransport, httpx2.AsyncBaseTransport)) or not callable(factory):
        return factory
    try:
        return factory()
    except TypeError as error:
        raise ConfigError(f"transport {name!r}: the factory must be callable without arguments: {error}") from error


def _upstream_from(transport: Any, name: str) -> Upstream:
    """An upstream from what a user gave: a transport, one that is both sync and async, or a pair of them."""
    sides = transport if isinstance(transport, tuple) else (transport,)
    sync = next((side for side in sides if isinstance(side, httpx2.BaseTransport)), None)
    async_ = next((side for side in sides if isinstance(side, httpx2.AsyncBaseTransport)), None)
    if sync is None and async_ is None:
        raise ConfigError(
            f"transport {name!r} gave {type(transport).__name__}, which is not a transport; "
            "it must be an httpx2.BaseTransport, an httpx2.AsyncBaseTransport, or a tuple of both"
        )
    return Upstream(name, (lambda: sync) if sync else None, (lambda: async_) if async_ else None)


def _describe_transport(transport: Any) -> str:
    return type(transport).__name__


def active_route() -> Route | None:
    """The route that the call in progress has activated, or None."""
    return _active.get()
