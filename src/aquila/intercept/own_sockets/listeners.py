"""Addresses of this machine that stand for providers: whoever connects there is answered by a scope."""

from __future__ import annotations

import contextlib
import contextvars
import os
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from aquila.intercept import policy
from aquila.intercept.own_sockets.handshakes import server_context
from aquila.recording import guard
from aquila.transports import socket_answers
from aquila.transports.intercepted_requests import route_for
from aquila.transports.upstreams import find_upstream

if TYPE_CHECKING:
    from aquila.recording.scope import Scope

Address = tuple[str, int]

_LOOPBACK = "127.0.0.1"
_STAND_INS = "127.83"
_HANDSHAKE_OF_TLS = b"\x16"
"""The first byte of what a client of TLS sends."""
_PORTS = {"http": 80, "https": 443}
_PATIENCE = 2.0
"""For how many seconds the end of a scope waits for answers that are under way."""


class _Key(NamedTuple):
    process: int
    scope: str
    host: str
    port: int


class ProviderListeners:
    """The listeners of a process. A scope has one for each address of a provider, until it ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[_Key, _Listener] = {}
        # Both directions; a process asks few providers.
        self._stand_ins: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def stand_in_for(self, host: str) -> str:
        """The IP address that names of providers are resolved to here: one of this machine, with nothing behind it.

        It says at the next step which name was meant. A client may take another port, or the same address later.
        """
        with self._lock:
            if host not in self._stand_ins:
                number = len(self._stand_ins) + 1
                address = f"{_STAND_INS}.{number >> 8}.{number & 255}"
                self._stand_ins[host], self._names[address] = address, host
            return self._stand_ins[host]

    def name_behind(self, address: str) -> str | None:
        """The name that was resolved to a stand-in."""
        return self._names.get(address)

    def address_for(self, scope: Scope, host: str, port: int) -> Address:
        """The address at which ``scope`` answers what is meant for ``host`` and ``port``."""
        key = _Key(os.getpid(), scope.id, host, port)  # a forked process has no threads of its parent
        with self._lock:
            if key not in self._listeners:
                self._listeners[key] = _Listener(host, port)
            return self._listeners[key].address

    def stand_for(self, host: str) -> bool:
        """Whether there is one for ``host``."""
        return any(key.host == host for key in tuple(self._listeners))

    def has_accepted(self, connection: socket.socket) -> bool:
        """Whether a socket of a client is connected to one of them."""
        try:
            peer = connection.getpeername()
        except OSError:
            return False
        return any(listener.address == peer for listener in tuple(self._listeners.values()))

    def end_scope(self, scope: Scope) -> None:
        """Let the answers of a scope that are under way end, and close its listeners."""
        with self._lock:
            ended = [key for key in self._listeners if key.scope == scope.id and key.process == os.getpid()]
            listeners = [self._listeners.pop(key) for key in ended]
        for listener in listeners:
            listener.close()


class _Listener:
    """One address. Its threads answer in the context in which it was made."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind((_LOOPBACK, 0))
        self._socket.listen(128)
        self.address: Address = self._socket.getsockname()
        policy.own_servers().add(self.address)
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._is_closed = False
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._thread = self._start(self._accept)

    def close(self) -> None:
        """Accept no more. Wait a moment for the answers that are under way."""
        with self._lock:
            self._is_closed = True
        with contextlib.suppress(OSError):  # wakes the thread that accepts, on every system
            socket.create_connection(self.address, _PATIENCE).close()
        self._thread.join(_PATIENCE)
        self._socket.close()
        policy.own_servers().discard(self.address)
        with self._lock:
            connections = dict(self._connections)
        for connection, thread in connections.items():
            with contextlib.suppress(OSError):  # one that asks nothing now hears that nothing more is read
                connection.shutdown(socket.SHUT_RD)
            thread.join(_PATIENCE)

    def _start(self, target: Callable[..., None], *arguments: object) -> threading.Thread:
        run = self._context.copy().run
        thread = threading.Thread(target=run, args=(target, *arguments), name="aquila-provider", daemon=True)
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with self._lock:
                if self._is_closed:
                    connection.close()
                    return
                self._connections[connection] = self._start(self._answer, connection)

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._answer_client(connection)
        finally:
            with self._lock:
                self._connections.pop(connection, None)

    def _answer_client(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # the client has left
            if connection.recv(1, socket.MSG_PEEK) != _HANDSHAKE_OF_TLS:
                self._answer_request(connection, "http")
                return
            with server_context().wrap_socket(connection, server_side=True) as safe:
                self._answer_request(safe, "https")

    def _answer_request(self, connection: socket.socket, scheme: str) -> None:
        address = guard.format_address(self._host, None if self._port == _PORTS[scheme] else self._port)
        try:
            socket_answers.answer_client(connection, f"{scheme}://{address}", _ask)
        except socket_answers.NotUnderstood as error:
            policy.refuse_own_socket(self._host, self._port, str(error))


def _ask(request: Any) -> Any:
    url, network = request.url, find_upstream("live")
    answering = policy.find_answering_scope(request.method, url.scheme, url.host, url.port, url.path)
    if answering is None:
        return network.send_request(request)
    return route_for(*answering, network).answer(request)
