"""Listeners on this machine that stand in for providers: a scope answers the clients that connect."""

from __future__ import annotations

import contextlib
import contextvars
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from aquila.errors import SessionClosed
from aquila.fork_locks import renewed_in_child
from aquila.intercept import policy
from aquila.intercept.own_sockets.handshakes import server_context, trusts_certificate
from aquila.recording.network import guard
from aquila.recording.network.host_names import normalize_host
from aquila.recording.scope import Scope
from aquila.transports.callers import socket_answers
from aquila.transports.callers.disconnected_caller import LeavableUpstream
from aquila.transports.callers.intercepted_requests import route_for
from aquila.transports.upstreams import find_upstream

Address = tuple[str, int]

_LOOPBACK = "127.0.0.1"
_STAND_INS = "127.83"
"""The first half of each stand-in. All of 127.0.0.0/8 is this machine; the second number has no meaning."""
_HANDSHAKE_OF_TLS = b"\x16"
"""The first byte that a TLS client sends."""
_LONGEST_HELLO = 16384
"""The largest size of the first message of a TLS client, in bytes."""
_REFUSED_CERTIFICATE = ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN")
"""The endings of OpenSSL's reasons when a client refuses a certificate."""
_PAUSE = 0.05
"""The seconds between a failed ``accept`` and the next one."""
_PATIENCE = 2.0
"""How many seconds the end of a scope waits for answers that are under way."""
_LAST_MOMENT = 0.2
"""How many further seconds it waits for each thread whose connection it has shut down."""


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
        """Return the stand-in for a provider: an IP address of this machine on which nothing listens.

        Each provider has its own, so a later connection to any port of it shows which name was meant.
        """
        host = normalize_host(host)
        with self._lock:
            if host not in self._stand_ins:
                number = len(self._stand_ins) + 1
                address = f"{_STAND_INS}.{number >> 8}.{number & 255}"
                # The name first: a stand-in always has its name, also in a process that is forked at this moment.
                self._names[address], self._stand_ins[host] = host, address
            return self._stand_ins[host]

    def name_behind(self, address: str) -> str | None:
        """Return the name of the provider for which ``address`` stands in; None if it is no stand-in."""
        return self._names.get(address)

    def address_for(self, scope: Scope, host: str, port: int) -> Address:
        """Return the address at which ``scope`` answers a connection that is meant for ``host`` and ``port``."""
        key = _Key(os.getpid(), scope.id, normalize_host(host), port)  # a fork lacks its parent's threads
        with self._lock:
            if key not in self._listeners:
                self._listeners[key] = _Listener(host, port)
                scope.note_listener()
            listener = self._listeners[key]
            listener.expected += 1
            return listener.address

    def take_expected(self, scope: Scope, host: str) -> bool:
        """Return whether a connection for ``host`` was redirected in ``scope`` and has not begun its handshake.

        It is then taken to begin it now: a TLS handshake in memory does not show its connection, which may be one
        to a proxy.
        """
        host = normalize_host(host)
        with self._lock:
            for key, listener in self._listeners.items():
                if (key.scope, key.host) == (scope.id, host) and listener.expected:
                    listener.expected -= 1
                    return True
        return False

    def take_connected(self, connection: socket.socket) -> bool:
        """Return whether a client's socket, which begins its handshake, is connected to one of the listeners."""
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
        """Close the listeners of a scope. Answers that are under way may end first."""
        with self._lock:
            ended = [key for key in self._listeners if key.scope == scope.id and key.process == os.getpid()]
            listeners = [self._listeners.pop(key) for key in ended]
        for listener in listeners:
            listener.close()


class _Listener:
    """Listens on one address. Its threads run in the context in which it was made, and so find the same scope."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self.expected = 0
        """How many clients were redirected to this listener and have not begun their handshake."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind((_LOOPBACK, 0))
        self._socket.listen(128)
        self.address: Address = self._socket.getsockname()
        policy.own_servers().add(self.address)
        self._context = contextvars.copy_context()
        # fork: a child has listeners of its own, see `_Key`
        self._closed = threading.Event()
        self._lock = threading.Lock()  # guards `_connections`, and that none is added once `_closed` is set
        # Each thread that answers, with its connection. The TLS connection replaces the plain one.
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._thread = self._start(self._accept)
        self._thread.start()

    def close(self) -> None:
        """Accept no more clients, and wait a moment for the answers that are under way."""
        with self._lock:
            self._closed.set()
        with contextlib.suppress(OSError):  # a connection wakes the thread that accepts, on every system
            socket.create_connection(self.address, _PATIENCE).close()
        self._thread.join(_PATIENCE)
        self._socket.close()
        policy.own_servers().discard(self.address)
        self._shut_down(socket.SHUT_RD)  # ends the threads that still wait for a request
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
                socket.socket.shutdown(connection, how)  # not the method of TLS, after which bytes go out unencrypted

    def _start(self, target: Callable[..., None], *arguments: object) -> threading.Thread:
        run = self._context.copy().run  # a copy for each thread: one context cannot be entered by two at once
        return threading.Thread(target=run, args=(target, *arguments), name="aquila-provider", daemon=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # too many open files, or a client that has left: others may follow
                if self._closed.wait(_PAUSE):
                    return
                continue
            thread = self._start(self._answer, connection)
            with self._lock:
                if self._closed.is_set():
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
                # If the client trusts the certificate, it has run out of time, or has stopped.
                if not trusts_certificate(hello) and self._is_refusal(error):
                    why = "it checks the certificate of the provider in a way of its own"
                    policy.refuse_own_socket(self._host, self._port, why, speaks_http2=False)
                raise
            self._answer_request(safe, "https")

    def _is_refusal(self, error: OSError) -> bool:
        """Whether a handshake has failed because the client refuses the certificate.

        Twisted reports that only to its own program, and resets the connection.
        """
        if isinstance(error, ConnectionResetError):
            return True  # also while `close` waits: `close` itself resets no connection
        if isinstance(error, ssl.SSLEOFError | ConnectionError):
            return not self._closed.is_set()  # otherwise `close` has ended the connection
        return isinstance(error, ssl.SSLError) and (error.reason or "").endswith(_REFUSED_CERTIFICATE)

    def _answer_request(self, connection: socket.socket, scheme: str) -> None:
        origin = guard.format_origin(scheme, self._host, self._port)
        try:
            socket_answers.answer_client(connection, origin, self._ask)
        except socket_answers.NotHttp as error:
            speaks_http2 = isinstance(error, socket_answers.SpeaksHttp2)
            policy.refuse_own_socket(self._host, self._port, str(error), speaks_http2=speaks_http2)

    def _ask(self, request: Any) -> Any:
        if self._closed.is_set():
            raise SessionClosed("the cassette was closed before this request, which came over an older connection")
        url, network = request.url, LeavableUpstream(find_upstream("live"))
        answering = policy.find_answering_scope(request.method, url.scheme, url.host, url.port, url.path)
        if answering is None:
            return network.send_request(request)
        return route_for(*answering, network).answer(request)
