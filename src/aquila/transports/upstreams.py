"""Upstreams answer without a cassette: the network, the small local model, a script, or a transport of the user's.

``find_upstream`` finds one by its name: a built-in one, one that a plugin registers, or ``module:factory``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal

import httpx2

from aquila.errors import ConfigError, UnknownTransport
from aquila.lazy_imports import import_module, lazy_modules
from aquila.plugins import ask_plugins, plugin_manager
from aquila.recording import runtime
from aquila.transports.own_requests import own_request

if TYPE_CHECKING:
    from aquila import spelling
    from aquila.transports import live, script_transport
    from aquila.transports.local_model import local_transport
else:
    lazy_modules(
        globals(),
        "aquila: spelling",
        "aquila.transports: live, script_transport",
        "aquila.transports.local_model: local_transport",
    )

CASSETTE_MODES = ("replay", "record")
"""The transports that go through a cassette."""


SCRIPT = "script"
"""The name of the transport that answers from a script in a file. Each run starts the script anew."""


class Upstream:
    """A source of answers by name: it sends sync and async requests through a transport for each.

    ``make_sync`` and ``make_async`` make the transports when they are first needed; None says that there is none.
    ``needs_key`` says that it refuses requests without an API key. What it sends is marked as Aquila's own, so it is
    neither intercepted nor refused.
    """

    transport_error: type[Exception] = httpx2.TransportError
    """What its transports raise when the other side cannot be reached, or breaks off."""

    def __init__(
        self,
        name: str,
        make_sync: Callable[[], httpx2.BaseTransport] | None = None,
        make_async: Callable[[], httpx2.AsyncBaseTransport] | None = None,
        *,
        needs_key: bool = False,
    ) -> None:
        self.name = name
        self.needs_key = needs_key
        self._makers: dict[str, Callable[[], Any] | None] = {"sync": make_sync, "async": make_async}
        # The transports made so far. They keep connections, so they last as long as this object.
        self._made: dict[str, Any] = {}

    def get_ready(self, url: str) -> None:
        """Make what the first request of a process to ``url`` would make: it then leaves at once."""
        transport = self._made.get("sync") or self._make_transport("sync")
        if isinstance(transport, live.LiveTransport):
            transport.get_ready(url)

    async def get_ready_async(self, url: str) -> None:
        """The async twin of ``get_ready``."""
        transport = self._made.get("async") or self._make_transport("async")
        if isinstance(transport, live.AsyncLiveTransport):
            await transport.get_ready(url)

    def send_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request. Raises ``ConfigError`` if there is no transport for sync clients."""
        transport = self._made.get("sync") or self._make_transport("sync")
        with own_request():
            response: httpx2.Response = transport.handle_request(request)
        return response

    async def send_request_async(self, request: httpx2.Request) -> httpx2.Response:
        """The async twin of ``send_request``."""
        transport = self._made.get("async") or self._make_transport("async")
        with own_request():
            response: httpx2.Response = await transport.handle_async_request(request)
        return response

    def _make_transport(self, kind: Literal["sync", "async"]) -> Any:
        make = self._makers[kind]
        if make is None:
            base = "BaseTransport" if kind == "sync" else "AsyncBaseTransport"
            raise ConfigError(
                f"transport {self.name} has no {kind} side; make it a subclass of httpx2.{base} to use it here"
            )
        # Two threads may both make one; the first to be kept serves both.
        return self._made.setdefault(kind, make())


def _live_sync() -> httpx2.BaseTransport:
    return live.LiveTransport()


def _live_async() -> httpx2.AsyncBaseTransport:
    return live.AsyncLiveTransport()


def _make_local() -> local_transport.LocalTransport:
    return local_transport.LocalTransport()


# They live as long as the process, as their connections and models do. Connections to the network belong to one process
# and one event loop; see ``live``.
_BUILT_IN: dict[str, Upstream] = {
    "live": Upstream("live", _live_sync, _live_async, needs_key=True),
    "local": Upstream("local", _make_local, _make_local),
}


async def close_network() -> None:
    """Close the connections to the network of this event loop, which is about to end."""
    transport: live.AsyncLiveTransport | None = _BUILT_IN["live"]._made.get("async")
    if transport is not None:
        await transport.aclose()


class LoadedUpstreams(dict[str, Upstream]):
    """The upstreams that a run has made, by name. A factory is called once in each run.

    ``plugins`` has an entry for each name without ``:``: the plugins that registered transports when it was looked up.
    If these have changed, the name is looked up again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.plugins: dict[str, list[object]] = {}


def find_upstream(name: str) -> Upstream:
    """Return the upstream with a name. Raises ``UnknownTransport`` or ``ConfigError``."""
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    loaded = runtime.current_run().state_of(LoadedUpstreams)
    known = loaded.plugins.get(name)
    if name not in loaded or (known is not None and known != _naming_plugins()):
        loaded[name] = upstream_from(_load_transport(name), name)
        if ":" not in name:
            loaded.plugins[name] = _naming_plugins()
    return loaded[name]


def _naming_plugins() -> list[object]:
    return [each.plugin for each in plugin_manager().hook.aquila_transports.get_hookimpls()]


def _load_transport(name: str) -> Any:
    if name == SCRIPT:
        return script_transport.ScriptTransport()
    if name in CASSETTE_MODES:
        others = ", ".join(_BUILT_IN)
        raise UnknownTransport(
            f"{name} is no upstream, because it uses cassettes itself: give {others}, {SCRIPT} or module:factory"
        )
    registered = _ask_plugins()
    if name in registered:
        return _call_factory(registered[name], name)
    if not _is_factory(name):
        raise _unknown_transport(name, registered)
    module_name, _, attribute = name.partition(":")
    try:
        factory: Any = import_module(module_name)
    except ImportError as error:
        # A command does not import from the folder where it is typed.
        is_missing = isinstance(error, ModuleNotFoundError) and error.name == module_name.partition(".")[0]
        way_out = "; put the folder it is in on Python's path, such as PYTHONPATH=." if is_missing else ""
        raise UnknownTransport(f"transport {name!r}: cannot import {module_name!r}: {error}{way_out}") from error
    for part in attribute.split("."):
        try:
            factory = getattr(factory, part)
        except AttributeError as error:
            raise UnknownTransport(f"transport {name!r}: {module_name!r} has no {attribute!r}") from error
    return _call_factory(factory, name)


def check_name(name: str) -> None:
    """Raise ``UnknownTransport`` for a misspelt name: one similar to a known name, or an incomplete ``module:factory``.

    Any other name may be that of a plugin that a conftest registers while tests are collected. A factory is not
    imported. Raises ``ConfigError`` if what a plugin registers is wrong.
    """
    if _is_factory(name) or name in (*_BUILT_IN, SCRIPT, *CASSETTE_MODES):
        return
    registered = {**runtime.current_run().state_of(LoadedUpstreams), **_ask_plugins()}
    if name not in registered and (":" in name or spelling.find_nearest(name, _known_names(registered))):
        raise _unknown_transport(name, registered)


def _is_factory(name: str) -> bool:
    module, _, attribute = name.partition(":")
    return bool(module and attribute)


def _ask_plugins() -> dict[str, Any]:
    registered: dict[str, Any] = {}
    expected = "a mapping from names to functions that make an httpx2 transport"
    for table in ask_plugins("aquila_transports", _find_wrong_entries, expected):
        registered.update(table)
    return registered


def _unknown_transport(name: str, registered: Collection[str]) -> UnknownTransport:
    return UnknownTransport(f"unknown transport {name!r}{spelling.suggest_name(name, _known_names(registered))}")


def _known_names(registered: Collection[str]) -> list[str]:
    return [*_BUILT_IN, SCRIPT, *CASSETTE_MODES, *registered, "module:factory"]


def _find_wrong_entries(table: Any) -> list[str]:
    if not isinstance(table, Mapping):
        return [type(table).__name__]
    return [f"{name!r}: {type(each).__name__}" for name, each in table.items() if not _is_entry(name, each)]


def _is_entry(name: Any, factory: Any) -> bool:
    makes = callable(factory) or isinstance(factory, (httpx2.BaseTransport, httpx2.AsyncBaseTransport, tuple))
    return isinstance(name, str) and makes


def _call_factory(factory: Any, name: str) -> Any:
    if isinstance(factory, (httpx2.BaseTransport, httpx2.AsyncBaseTransport)) or not callable(factory):
        return factory
    try:
        return factory()
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise  # from within the factory, which has been called
        raise ConfigError(f"transport {name!r}: the factory must be callable without arguments: {error}") from error


def upstream_from(transport: Any, name: str) -> Upstream:
    """Return an upstream from a user's transport, or from a tuple of a synchronous and an asynchronous one."""
    sides = transport if isinstance(transport, tuple) else (transport,)
    sync = next((side for side in sides if isinstance(side, httpx2.BaseTransport)), None)
    async_ = next((side for side in sides if isinstance(side, httpx2.AsyncBaseTransport)), None)
    if sync is None and async_ is None:
        raise ConfigError(
            f"transport {name!r} gave {type(transport).__name__}, which is not a transport; "
            "it must be an httpx2.BaseTransport, an httpx2.AsyncBaseTransport, or a tuple of both"
        )
    return Upstream(name, (lambda: sync) if sync else None, (lambda: async_) if async_ else None)
