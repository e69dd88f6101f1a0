"""Addresses of this machine that stand for providers: whoever connects there is answered by a scope."""

from __future__ import annotations

import contextlib
import contextvars
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from aquila.errors import SessionClosed
from aquila.fork_locks import renewed_in_child
from aquila.intercept import policy
from aquila.intercept.own_sockets.handshakes import server_context, trusts_certificate
from aquila.recording.network import guard
from aquila.recording.network.host_names import normalize_host
from aquila.transports.callers import socket_answers
from aquila.transports.callers.disconnected_caller import LeavableUpstream
from aquila.transports.callers.intercepted_requests import route_for
from aquila.transports.upstreams import find_upstream

if TYPE_CHECKING:
    from aquila.recording.scope import Scope

Address = tuple[str, int]

_LOOPBACK = "127.0.0.1"
_STAND_INS = "127.83"
_HANDSHAKE_OF_TLS = b"\x16"
"""The first byte of what a client of TLS sends."""
_LONGEST_HELLO = 16384
"""Bytes of the first message of a client of TLS."""
_REFUSED_CERTIFICATE = ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN")
"""How the reasons of OpenSSL end with which a client refuses a certificate."""
_PORTS = {"http": 80, "https": 443}
_PATIENCE = 2.0
"""For how many seconds the end of a scope waits for answers that are under way."""
_LAST_MOMENT = 0.2
"""And then for those whose connections it has shut down."""


class _Key(NamedTuple):
    process: int
    scope: str
    host: str
    port: int


class ProviderListeners:
    """The listeners of a process. A scope has one for each address of a provider, until it ends."""

    def __init__(self) -> None:
        self._lock = renewed_in_child(threading.Lock())
        self._listeners: dict[_Key, _Listener] = {}  # `end_scope` removes the entries of a scope
        # The address of each name, and the name of each address. Never cleared: a client may keep an address for longer
        # than a scope lasts, and a process asks few providers.
        self._stand_ins: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def stand_in_for(self, host: str) -> str:
        """The IP address that names of providers are resolved to here: one of this machine, with nothing behind it.

        When a client connects to it, it tells which name was meant, whatever the port, and however much later.
        """
        host = normalize_host(host)
        with self._lock:
            if host not in self._stand_ins:
                number = len(self._stand_ins) + 1
                address = f"{_STAND_INS}.{number >> 8}.{number & 255}"
                # The name first: whoever knows a stand-in finds its name, also in a process that is forked just now.
                self._names[address], self._stand_ins[host] = host, address
            return self._stand_ins[host]

    def name_behind(self, address: str) -> str | None:
        """The name that was resolved to a stand-in."""
        return self._names.get(address)

    def address_for(self, scope: Scope, host: str, port: int) -> Address:
        """The address at which ``scope`` answers a connection that is meant for ``host`` and ``port``."""
        key = _Key(os.getpid(), scope.id, normalize_host(host), port)  # a forked process has no threads of its parent
        with self._lock:
            if key not in self._listeners:
                self._listeners[key] = _Listener(host, port)
                scope.note_listener()
            listener = self._listeners[key]
            listener.expected += 1
            return listener.address

    def expects(self, scope: Scope, host: str) -> bool:
        """Whether a connection for ``host`` was redirected here in ``scope`` and has not begun its handshake.

        A TLS handshake in memory does not say which connection it is for. It may be for one to a proxy.
        """
        host = normalize_host(host)
        with self._lock:
            for key, listener in self._listeners.items():
                if (key.scope, key.host) == (scope.id, host) and listener.expected:
                    listener.expected -= 1
                    return True
        return False

    def has_accepted(self, connection: socket.socket) -> bool:
        """Whether a socket of a client is connected to one of them."""
        try:
            peer = connection.getpeername()
        except OSError:
            return False
        with self._lock:
            for listener in self._listeners.values():
                if listener.address == peer:
                    listener.expected = max(0, listener.expected - 1)
                    return True
        return False

    def end_scope(self, scope: Scope) -> None:
        """Let the answers of a scope that are under way end, and close its listeners."""
        with self._lock:
            ended = [key for key in self._listeners if key.scope == scope.id and key.process == os.getpid()]
            listeners = [self._listeners.pop(key) for key in ended]
        for listener in listeners:
            listener.close()


class _Listener:
    """One address. Its threads answer in the context in which it was made, and so find the same scope."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self.expected = 0
        """How many clients were redirected here and have not begun their handshake."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind((_LOOPBACK, 0))
        self._socket.listen(128)
        self.address: Address = self._socket.getsockname()
        policy.own_servers().add(self.address)
        self._context = contextvars.copy_context()
        # fork: a child has listeners of its own, see `_Key`
        self._lock = threading.Lock()  # guards the next two: the thread that accepts, those that answer, and `close`
        self._is_closed = False
        # Each thread, and its connection as it is now: TLS puts another one in the place of the first.
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._thread = self._start(self._accept)
        self._thread.start()

    def close(self) -> None:
        """Accept no more. Wait a moment for the answers that are under way."""
        with self._lock:
            self._is_closed = True
        with contextlib.suppress(OSError):  # wakes the thread that accepts, on every system
            socket.create_connection(self.address, _PATIENCE).close()
        self._thread.join(_PATIENCE)
        self._socket.close()
        policy.own_servers().discard(self.address)
        self._shut_down(socket.SHUT_RD)  # one that asks nothing now hears that nothing more is read
        deadline = time.monotonic() + _PATIENCE
        for thread in self._threads():
            thread.join(max(0.0, deadline - time.monotonic()))
        self._shut_down(socket.SHUT_RDWR)
        for thread in self._threads():
            thread.join(_LAST_MOMENT)

    def _threads(self) -> list[threading.Thread]:
        with self._lock:
            return list(self._connections)

    def _shut_down(self, how: int) -> None:
        with self._lock:
            connections = list(self._connections.values())
        for connection in connections:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, how)  # not that of TLS, which would go on in clear

    def _start(self, target: Callable[..., None], *arguments: object) -> threading.Thread:
        run = self._context.copy().run  # a copy for each thread: one context cannot be entered by two at once
        return threading.Thread(target=run, args=(target, *arguments), name="aquila-provider", daemon=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = self._start(self._answer, connection)
            with self._lock:
                if self._is_closed:
                    connection.close()
                    return
                self._connections[thread] = connection
            thread.start()

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):  # the client has left
                self._answer_client(connection)
        finally:
            with self._lock:
                self._connections.pop(threading.current_thread(), None)

    def _answer_client(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hello = connection.recv(_LONGEST_HELLO, socket.MSG_PEEK)
        if not hello.startswith(_HANDSHAKE_OF_TLS):
            self._answer_request(connection, "http")
            return
        safe = server_context().wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with safe:
            with self._lock:
                self._connections[threading.current_thread()] = safe
            try:
                safe.do_handshake()
            except OSError as error:
                # One that trusts the certificate has run out of time, or was told to stop.
                if not trusts_certificate(hello) and self._is_refusal(error):
                    why = "it checks the certificate of the provider in a way of its own"
                    policy.refuse_own_socket(self._host, self._port, why, speaks_http2=False)
                raise
            self._answer_request(safe, "https")

    def _is_refusal(self, error: OSError) -> bool:
        """Whether a handshake has failed because the client refuses the certificate.

        Twisted says so to its own program alone, and resets the connection.
        """
        if isinstance(error, ConnectionResetError):
            return True  # also while `close` waits for it, which resets nothing itself
        if isinstance(error, ssl.SSLEOFError | ConnectionError):
            return not self._is_closed  # else `close` has ended it
        return isinstance(error, ssl.SSLError) and (error.reason or "").endswith(_REFUSED_CERTIFICATE)

    def _answer_request(self, connection: socket.socket, scheme: str) -> None:
        address = guard.format_address(self._host, None if self._port == _PORTS[scheme] else self._port)
        try:
            socket_answers.answer_client(connection, f"{scheme}://{address}", self._ask)
        except socket_answers.NotHttp as error:
            speaks_http2 = isinstance(error, socket_answers.SpeaksHttp2)
            policy.refuse_own_socket(self._host, self._port, str(error), speaks_http2=speaks_http2)

    def _ask(self, request: Any) -> Any:
        if self._is_closed:
            raise SessionClosed("the use of the cassette had ended when this was asked, over a connection of before")
        url, network = request.url, LeavableUpstream(find_upstream("live"))
        answering = policy.find_answering_scope(request.method, url.scheme, url.host, url.port, url.path)
        if answering is None:
            return network.send_request(request)
        return route_for(*answering, network).answer(request)
