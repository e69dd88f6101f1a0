"""The libraries whose WebSockets are caught, and where each of them connects.

What answers is loaded with the first connection: SDKs import these libraries, and few programs use them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from aquila.intercept.patching import Patch, PatchSet, Undoable
from aquila.intercept.web_sockets.libraries.function_code import FunctionPatch
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.intercept.web_sockets.libraries import (
        aiohttp_sockets,
        httpx_sockets,
        websocket_client,
        websockets_asyncio,
        websockets_legacy,
        websockets_sync,
    )
else:
    lazy_modules(
        globals(),
        aiohttp_sockets="aquila.intercept.web_sockets.libraries.aiohttp_sockets",
        httpx_sockets="aquila.intercept.web_sockets.libraries.httpx_sockets",
        websocket_client="aquila.intercept.web_sockets.libraries.websocket_client",
        websockets_asyncio="aquila.intercept.web_sockets.libraries.websockets_asyncio",
        websockets_legacy="aquila.intercept.web_sockets.libraries.websockets_legacy",
        websockets_sync="aquila.intercept.web_sockets.libraries.websockets_sync",
    )


class WebSocketClients:
    """Interception of these libraries, for one set of patches."""

    def __init__(self, patches: PatchSet) -> None:
        self._patches = patches

    def patch_library(self, module: ModuleType) -> Iterable[Undoable]:
        """Patch one of them, which was imported."""
        patch = {
            "aiohttp.client": self._patch_aiohttp,
            "httpx_ws._api": self._patch_httpx_ws,
            "websocket._app": self._patch_websocket_app,
            "websocket._core": self._patch_websocket_client,
            "websockets.asyncio.client": self._patch_websockets_asyncio,
            "websockets.legacy.client": self._patch_websockets_legacy,
            "websockets.sync.client": self._patch_websockets_sync,
        }[module.__name__]
        return patch(module)

    def _patch_aiohttp(self, module: ModuleType) -> Iterable[Undoable]:
        # Private: `ws_connect` wraps it in a context manager, and vcrpy patches its neighbour too.
        yield Patch(module.ClientSession, "_ws_connect", self._catching(lambda: aiohttp_sockets.catch_handshake))
        yield Patch(module.BaseConnector, "connect", self._catching(lambda: aiohttp_sockets.catch_connection))

    def _patch_httpx_ws(self, module: ModuleType) -> Iterable[Undoable]:
        # It connects through httpx, where it is caught like any request. This says when a program waits.
        yield Patch(module.WebSocketSession, "receive", self._catching(lambda: httpx_sockets.catch_receive))
        yield Patch(module.AsyncWebSocketSession, "receive", self._catching(lambda: httpx_sockets.catch_receive_async))

    def _patch_websocket_client(self, module: ModuleType) -> Iterable[Undoable]:
        yield Patch(module.WebSocket, "connect", self._catching(lambda: websocket_client.catch_handshake))

    def _patch_websocket_app(self, module: ModuleType) -> Iterable[Undoable]:
        # An application waits for its connection to become readable, and only then reads. This says that it waits.
        for dispatcher in (module.Dispatcher, module.SSLDispatcher):
            yield Patch(dispatcher, "read", self._catching(lambda: websocket_client.catch_dispatching))

    def _patch_websockets_asyncio(self, module: ModuleType) -> Iterable[Undoable]:
        # The method that makes the connection of one attempt, redirects included. It was renamed.
        # Version 13.0 has none: there the guard refuses connections.
        name = next(
            (name for name in ("open_tcp_connection", "create_connection") if hasattr(module.connect, name)), ""
        )
        if name:
            yield Patch(module.connect, name, self._catching(lambda: websockets_asyncio.catch_connection))

    def _patch_websockets_legacy(self, module: ModuleType) -> Iterable[Undoable]:
        yield Patch(module.Connect, "__await_impl__", self._catching(lambda: websockets_legacy.catch_connecting))

    def _patch_websockets_sync(self, module: ModuleType) -> Iterable[Undoable]:
        if hasattr(module, "reconnect"):  # the method that makes the connection of one attempt
            yield Patch(module.reconnect, "open_connection", self._catching(lambda: websockets_sync.catch_attempt))
        else:
            yield FunctionPatch(module.connect, self._catching(lambda: websockets_sync.catch_connect))

    def _catching(self, find: Callable[[], Callable[..., Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Return what makes a patch of a function. ``find`` loads what makes its replacement, when it is called."""

        def make(original: Callable[..., Any]) -> Callable[..., Any]:
            # Made with the first call, since it loads a module of Aquila. It does no harm if two threads make it twice.
            made = functools.cache(lambda: find()(original))

            @functools.wraps(original)
            def call(*args: Any, **kwargs: Any) -> Any:
                return (made() if self._patches.in_force else original)(*args, **kwargs)

            return call

        return make
