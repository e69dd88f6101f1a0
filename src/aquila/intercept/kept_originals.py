"""Plugins that keep the functions of ``socket`` as they were at their import, and put them back after each test.

They may have been imported before the guard was put in force, and would take it off with that. So what they keep is
guarded, too. A plugin that is missing here takes the guard off until the next test: see ``PatchSet.renew``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from aquila.intercept.patching import Patch, Undoable

if TYPE_CHECKING:
    from aquila.intercept.socket_guard import SocketGuard

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
"""For each module of such a plugin the names under which it keeps what of the module ``socket``."""


def patch_kept(guard: SocketGuard, module: ModuleType, sockets: ModuleType) -> Iterable[Undoable]:
    """Patch what a module of one of these plugins keeps of ``sockets``, the module ``socket``."""
    for name, kept in KEPT[module.__name__].items():
        if hasattr(module, name):  # they differ between versions
            yield Patch(module, name, _guarding(guard, sockets, kept))


def _guarding(guard: SocketGuard, sockets: ModuleType, kept: str) -> Callable[[Any], Any]:
    *of_class, attribute = kept.split(".")

    def make(original: Any) -> Any:
        current = getattr(sockets.socket if of_class else sockets, attribute)
        if original is current or getattr(current, "__wrapped__", None) is original:
            return current  # the patch itself, so that what is put back is what was there
        return guard.make_replacement(attribute)(original)

    return make
