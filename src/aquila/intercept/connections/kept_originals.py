"""Plugins that save functions of ``socket`` when they are imported, and restore them after each test.

A plugin that was imported before the guard was put in force would undo the guard when it restores the functions. So
the saved functions are patched too. A plugin that is not in the table undoes the guard until the next test; see
``PatchSet.renew``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from aquila.intercept.patching import Patch, Undoable

if TYPE_CHECKING:
    from aquila.intercept.connections.socket_guard import SocketGuard

KEPT = {
    "pytest_socket": {
        "_true_connect": "socket.connect",
        "_true_getaddrinfo": "getaddrinfo",
        "_true_gethostbyname": "gethostbyname",
    },
    "pytest_recording.network": {
        "_original_connect": "socket.connect",
        "_original_connect_ex": "socket.connect_ex",
    },
}
"""For each module of such a plugin: the private names of the saved functions, and their names in ``socket``."""


def patch_kept(guard: SocketGuard, module: ModuleType, sockets: ModuleType) -> Iterable[Undoable]:
    """Patch the functions that a module of these plugins has saved. ``sockets`` is the module ``socket``."""
    for name, kept in KEPT[module.__name__].items():
        if hasattr(module, name):  # each version has some of these
            yield Patch(module, name, _guarding(guard, sockets, kept))


def _guarding(guard: SocketGuard, sockets: ModuleType, kept: str) -> Callable[[Any], Any]:
    *of_class, attribute = kept.split(".")

    def make(original: Any) -> Any:
        current = getattr(sockets.socket if of_class else sockets, attribute)
        if original is current or getattr(current, "__wrapped__", None) is original:
            return current  # the patch itself, so that the plugin restores the patch
        return guard.make_replacement(attribute)(original)

    return make
