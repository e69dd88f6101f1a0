"""The guard of a test run: connections that nothing asked for are refused where every Python client makes them.

Names are checked when they are resolved, and when a TLS handshake names its server: that also sees through proxies.
Addresses are checked when a socket connects. What Aquila itself sends out, and what a live test sends, passes.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from aquila.intercept.import_hooks import ImportHooks
from aquila.intercept.patching import Patch, PatchSet, Undoable
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.intercept import policy
else:
    lazy_modules(globals(), policy="aquila.intercept.policy")

_MOST_NAMES = 1000
"""How many resolved addresses are remembered. A test run reaches far fewer hosts."""


class SocketGuard:
    """The guard of connections. In force while its ``patches`` are."""

    def __init__(self, hooks: ImportHooks) -> None:
        self.patches = PatchSet(
            hooks, {"socket": self._patch_socket, "ssl": self._patch_ssl, "asyncio.base_events": self._patch_asyncio}
        )
        # Addresses and the names that were resolved to them, so that the setting `ignore_hosts`, which lists names,
        # holds for the connection too. Emptied when it is full.
        self._names: dict[str, str] = {}

    def _patch_socket(self, module: ModuleType) -> Iterable[Undoable]:
        # `getaddrinfo` is where urllib3, httpcore, asyncio and the standard library resolve names.
        yield Patch(module, "getaddrinfo", self._check_names)
        # `socket.socket` inherits both methods from a class in C, which cannot be patched, so they are added to it.
        yield Patch(module.socket, "connect", self._check_addresses)
        yield Patch(module.socket, "connect_ex", self._check_addresses)

    def _patch_ssl(self, module: ModuleType) -> Iterable[Undoable]:
        # The two ways to begin a handshake: over a socket, and in memory, as asyncio and anyio do. `server_hostname` is
        # a keyword or a positional argument of both; its position does not count `self`.
        yield Patch(module.SSLContext, "wrap_socket", functools.partial(self._check_server_names, position=4))
        yield Patch(module.SSLContext, "wrap_bio", functools.partial(self._check_server_names, position=3))

    def _patch_asyncio(self, module: ModuleType) -> Iterable[Undoable]:
        # Event loops resolve names in another thread. Here it can still be seen which client asks for it.
        yield Patch(module.BaseEventLoop, "getaddrinfo", self._check_names_of_loops)

    def _check_names_of_loops(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def getaddrinfo(loop: Any, host: Any, port: Any, **kwargs: Any) -> Any:
            self._check(_decode_host(host), port, within_loop=True)
            return await original(loop, host, port, **kwargs)

        return getaddrinfo

    def _check(self, host: str | None, port: object, *, within_loop: bool = False) -> None:
        """Refuse a connection that nothing asked for; see ``aquila.intercept.policy``."""
        if host is not None and self.patches.in_force:
            policy.check_connection(host, port if isinstance(port, int) else None, within_loop=within_loop)

    def _check_names(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
            name = _decode_host(host)
            self._check(name, port)
            found = original(host, port, *args, **kwargs)
            if name is not None:
                if len(self._names) > _MOST_NAMES:
                    self._names.clear()
                self._names.update((row[4][0], name) for row in found)
            return found

        return getaddrinfo

    def _check_addresses(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def connect(connecting: socket.socket, address: Any) -> Any:
            # Sockets of the file system have an address that is no tuple.
            if isinstance(address, tuple):
                host = _decode_host(address[0])
                self._check(self._names.get(host, host) if host is not None else None, address[1])
            return original(connecting, address)

        return connect

    def _check_server_names(self, original: Callable[..., Any], *, position: int) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrap(context: Any, *args: Any, **kwargs: Any) -> Any:
            host = args[position] if len(args) > position else kwargs.get("server_hostname")
            self._check(_decode_host(host), None)
            return original(context, *args, **kwargs)

        return wrap


def _decode_host(host: object) -> str | None:
    """A host name or address as text, or None. The standard library takes both text and bytes."""
    if isinstance(host, (bytes, bytearray)):
        return host.decode("ascii", "replace")
    return host if isinstance(host, str) else None
