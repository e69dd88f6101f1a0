"""The libraries whose WebSockets are caught, and what patches each."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import TYPE_CHECKING

from aquila.intercept.patching import PatchSet, Undoable
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.intercept.web_sockets import (
        aiohttp_sockets,
        websocket_client,
        websockets_asyncio,
        websockets_legacy,
        websockets_sync,
    )
else:
    lazy_modules(
        globals(),
        aiohttp_sockets="aquila.intercept.web_sockets.aiohttp_sockets",
        websocket_client="aquila.intercept.web_sockets.websocket_client",
        websockets_asyncio="aquila.intercept.web_sockets.websockets_asyncio",
        websockets_legacy="aquila.intercept.web_sockets.websockets_legacy",
        websockets_sync="aquila.intercept.web_sockets.websockets_sync",
    )


class WebSocketClients:
    """Interception of these libraries, for one set of patches."""

    def __init__(self, patches: PatchSet) -> None:
        self._patches = patches

    def patch_library(self, module: ModuleType) -> Iterable[Undoable]:
        """Patch one of them, which was imported."""
        patch_library = {
            "aiohttp.client": aiohttp_sockets.patch_library,
            "websocket._core": websocket_client.patch_library,
            "websockets.asyncio.client": websockets_asyncio.patch_library,
            "websockets.legacy.client": websockets_legacy.patch_library,
            "websockets.sync.client": websockets_sync.patch_library,
        }[module.__name__]
        return patch_library(module, lambda: self._patches.in_force)
