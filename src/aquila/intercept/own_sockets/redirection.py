"""Redirects clients that speak HTTP over sockets of their own to a listener.

This happens when they resolve a name, connect, and begin TLS.

A stand-in is an address of this machine that is given to the client in the place of a provider's address.
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aquila.fork_locks import renewed_in_child
from aquila.intercept import policy
from aquila.intercept.connections.socket_guard import decode_host, decode_port, find_argument
from aquila.lazy_imports import lazy_modules
from aquila.recording.network.host_names import is_loopback

if TYPE_CHECKING:
    from aquila.intercept.own_sockets import handshakes, listeners
    from aquila.intercept.own_sockets.listeners import Address
    from aquila.recording.scope import Scope
else:
    # Loaded for the first client that is redirected: every connection of a run passes through this module.
    lazy_modules(globals(), "aquila.intercept.own_sockets: handshakes, listeners")


class Redirection:
    """Redirects clients, for one guard. ``check`` refuses a connection that nothing asked for."""

    def __init__(self, check: Callable[[object, object], None]) -> None:
        self._check = check
        self._known: listeners.ProviderListeners | None = None  # made for the first client by `_listeners`
        self._making = renewed_in_child(threading.Lock())

    def name_behind(self, address: str) -> str | None:
        """Return the name of the provider for which ``address`` stands in; None if it is no stand-in."""
        return None if self._known is None else self._known.name_behind(address)

    @property
    def _listeners(self) -> listeners.ProviderListeners:
        with self._making:  # two threads may be first at once, and both must get the same listeners
            if self._known is None:
                self._known = listeners.ProviderListeners()
            return self._known

    def resolve(self, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any] | None:
        """Return the result of ``getaddrinfo`` for a provider that a scope answers; None for any other host."""
        family, kind = find_argument(args, named, 2, "family") or 0, find_argument(args, named, 3, "type") or 0
        is_for_server = (find_argument(args, named, 5, "flags") or 0) & socket.AI_PASSIVE
        if is_for_server or family not in (0, socket.AF_INET) or kind not in (0, socket.SOCK_STREAM):
            return None
        port = decode_port(find_argument(args, named, 1, "port"))
        stand_in = self.resolve_name(find_argument(args, named, 0, "host"), port)
        if stand_in is None:
            return None
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (stand_in, port or 0))]

    def resolve_name(self, host: object, port: int | None = None) -> str | None:
        """Return the stand-in for a provider that a scope answers; None for any other host, and for this machine."""
        name = decode_host(host)
        if name is None or is_loopback(name) or policy.find_scope_for_own_socket(name, port) is None:
            return None
        return self._listeners.stand_in_for(name)

    def is_answered_here(self, host: object, port: object) -> bool:
        """Whether ``host`` is this machine, and a scope answers for ``port``: only the connection is redirected."""
        name = decode_host(host)
        return (
            name is not None
            and is_loopback(name)
            and policy.find_scope_for_own_socket(name, decode_port(port)) is not None
        )

    def redirect(self, host: object, port: object, connection: socket.socket | None = None) -> Address | None:
        """Return the address to connect to in the place of ``host``; None to leave the connection alone.

        ``host`` may be a name or a stand-in. ``connection`` is the socket that connects, if it is one of Python's.
        """
        text, number = decode_host(host), decode_port(port)
        if text is None or number is None or not _is_stream(connection):
            return None
        behind = self.name_behind(text)
        name = text if behind is None else behind
        scope = policy.find_scope_for_own_socket(name, number)
        if scope is not None:
            return self._listeners.address_for(scope, name, number)
        if behind is None:
            return None
        self._check(name, number)  # a client may keep an address for longer than a scope lasts
        return name, number

    def redirect_handshake(
        self, args: tuple[Any, ...], named: dict[str, Any], name: object, *, session: int
    ) -> tuple[Any, ...] | None:
        """Return the arguments of a TLS handshake with a listener; None if the connection goes to no listener.

        ``args`` begin with the client's context, and ``name`` is that of the server. ``session`` is the position of a
        TLS session in ``args``. A session is left out, also of ``named``: it belongs to the client's context.
        """
        if not self._take_connection(decode_host(name), find_argument(args, named, 1, "sock")):
            return None
        named.pop("session", None)
        return handshakes.client_context_for(args[0]), *args[1:session]

    def end_scope(self, scope: Scope) -> None:
        """Close the listeners of a scope that ends."""
        if self._known is not None:
            self._known.end_scope(scope)

    def _take_connection(self, name: str | None, connection: Any) -> bool:
        """Whether a handshake is for a listener, whose note of the connection is used up by it."""
        if not hasattr(connection, "getpeername"):  # TLS in memory, as asyncio does it, names no connection
            if self._known is None:
                return False
            scope = policy.find_scope_for_own_socket(name, None) if name is not None else None
            return scope is not None and name is not None and self._known.take_expected(scope, name)
        if self._known is not None and self._known.take_connected(connection):
            return True
        return name is not None and not _is_connected(connection) and self.resolve_name(name) is not None


def _is_stream(connection: socket.socket | None) -> bool:
    return connection is None or (connection.type == socket.SOCK_STREAM and connection.family == socket.AF_INET)


def _is_connected(connection: socket.socket) -> bool:
    try:
        connection.getpeername()
    except OSError as error:
        return error.errno != errno.ENOTCONN
    return True
