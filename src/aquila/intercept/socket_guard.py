"""The guard of a test run: connections that nothing asked for are refused where every Python client makes them.

Names are checked when they are resolved and when a TLS handshake asks for them, which also sees through proxies;
addresses when a socket connects. What Aquila itself sends out, and what a live test sends, passes.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

from aquila.intercept import import_hooks
from aquila.intercept.httpx_clients import Patch

_holders: set[object] = set()
_patches: list[Patch] = []
_lock = threading.Lock()


def hold(holder: object) -> None:
    """Put the guard in force until ``holder`` releases it."""
    with _lock:
        first = not _holders
        _holders.add(holder)
        if first:
            _patches.append(Patch(socket, "getaddrinfo", _resolving))
            _patches.append(Patch(socket.socket, "connect", _connecting))
            _patches.append(Patch(socket.socket, "connect_ex", _connecting))
    if first:
        import_hooks.call_when_imported("ssl", _patch_ssl)


def release(holder: object) -> None:
    """Take back ``hold``; with the last holder everything is as it was."""
    with _lock:
        if holder in _holders:
            _holders.discard(holder)
            if not _holders:
                import_hooks.stop_waiting("ssl")
                while _patches:
                    _patches.pop().undo()


def _patch_ssl(module: ModuleType) -> None:
    with _lock:
        if _holders:
            _patches.append(Patch(module.SSLContext, "wrap_socket", _naming))
            _patches.append(Patch(module.SSLContext, "wrap_bio", _naming))


# Addresses that names were resolved to, so that the setting `ignore_hosts` holds for the connection too.
_names: dict[str, str] = {}


def check_connection(host: str, port: int | None) -> None:
    """Refuse a connection that nothing asked for; see ``aquila.intercept.policy``."""
    from aquila.intercept import policy  # here: test runs without a connection need not load it

    policy.check_connection(host, port)


def _resolving(original: Callable[..., Any]) -> Callable[..., Any]:
    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        if isinstance(name, str) and _holders:
            check_connection(name, port if isinstance(port, int) else None)
        found = original(host, port, *args, **kwargs)
        if isinstance(name, str):
            if len(_names) > 1000:
                _names.clear()
            _names.update((row[4][0], name) for row in found)
        return found

    return getaddrinfo


def _connecting(original: Callable[..., Any]) -> Callable[..., Any]:
    def connect(self: socket.socket, address: Any) -> Any:
        if isinstance(address, tuple) and isinstance(address[0], str) and _holders:
            check_connection(_names.get(address[0], address[0]), address[1])
        return original(self, address)

    return connect


def _naming(original: Callable[..., Any]) -> Callable[..., Any]:
    def wrap(self: Any, *args: Any, server_hostname: Any = None, **kwargs: Any) -> Any:
        if isinstance(server_hostname, str) and _holders:
            check_connection(server_hostname, None)
        return original(self, *args, server_hostname=server_hostname, **kwargs)

    return wrap
