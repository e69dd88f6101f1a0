"""The libraries whose WebSockets are intercepted, and the methods with which they connect.

The modules that answer are loaded by the first connection: SDKs import these libraries, and few programs use them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from aquila.intercept.patching import Patch, PatchSet, Undoable
from aquila.intercept.web_sockets.libraries.function_code import FunctionPatch
from aquila.lazy_imports import import_module

_LIBRARIES = "aquila.intercept.web_sockets.libraries"

_CAUGHT: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "aiohttp.client": (
        # Private: `ws_connect` wraps it in a context manager. vcrpy patches the private `_request` in the same way.
        ("ClientSession", "_ws_connect", "aiohttp_sockets.catch_handshake"),
        ("BaseConnector", "connect", "aiohttp_sockets.catch_connection"),
    ),
    "httpx_ws._api": (
        # It connects through httpx, whose transports are patched. These methods show when a program waits.
        ("WebSocketSession", "receive", "httpx_sockets.catch_receive"),
        ("AsyncWebSocketSession", "receive", "httpx_sockets.catch_receive_async"),
    ),
    "websocket._app": (
        # A `WebSocketApp` waits until its connection is readable, and then reads. These methods show that it waits.
        ("Dispatcher", "read", "websocket_client.catch_dispatching"),
        ("SSLDispatcher", "read", "websocket_client.catch_dispatching"),
    ),
    "websocket._core": (("WebSocket", "connect", "websocket_client.catch_handshake"),),
    "websockets.asyncio.client": (
        # The method that makes the connection of one attempt, also of a redirect. It has two names in the versions.
        # Version 13.0 has neither: there the guard refuses connections.
        ("connect", "open_tcp_connection", "websockets_asyncio.catch_connection"),
        ("connect", "create_connection", "websockets_asyncio.catch_connection"),
    ),
    "websockets.legacy.client": (("Connect", "__await_impl__", "websockets_legacy.catch_connecting"),),
    # The method that makes the connection of one attempt. In older versions one function does everything.
    "websockets.sync.client": (("reconnect", "open_connection", "websockets_sync.catch_attempt"),),
}
"""For each module of a library: the classes and methods that are caught, and the function that catches each."""


class WebSocketClients:
    """Interception of these libraries, for one set of patches."""

    def __init__(self, patches: PatchSet) -> None:
        self._patches = patches

    def patch_library(self, module: ModuleType) -> Iterable[Undoable]:
        """Patch the imported module of one of these libraries."""
        for owner, method, catch in _CAUGHT[module.__name__]:
            if hasattr(getattr(module, owner, None), method):
                yield Patch(getattr(module, owner), method, functools.partial(self._catch, catch))
        if module.__name__ == "websockets.sync.client" and not hasattr(module, "reconnect"):
            yield FunctionPatch(module.connect, functools.partial(self._catch, "websockets_sync.catch_connect"))

    def _catch(self, catch: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return the replacement of a method. ``catch`` names the module of ``libraries`` and the function for it."""
        module, _, name = catch.partition(".")
        # Made by the first call, because it loads that module. It does no harm if two threads make it twice.
        made = functools.cache(lambda: getattr(import_module(f"{_LIBRARIES}.{module}"), name)(original))

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            return (made() if self._patches.in_force else original)(*args, **kwargs)

        return call
