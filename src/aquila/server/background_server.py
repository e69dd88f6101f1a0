"""Runs the application on a listening socket, in this thread or in another."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import anyio.to_thread
import uvicorn
from starlette.types import ASGIApp

from aquila.errors import ConfigError
from aquila.fork_locks import renewed_in_child
from aquila.intercept.policy import own_servers
from aquila.recording.network.host_names import ANY_ADDRESS, is_loopback, normalize_host
from aquila.recording.scope import Scope
from aquila.server.connection import BoundedConnection
from aquila.transports import upstreams

_LARGEST_PORT = 65535
_TICK, _PAUSE = 0.1, 0.005
"""The seconds between two looks whether a signal has come, and between two looks whether all clients have left."""
_LEAVING_SECONDS = 2
"""The seconds that answers may take when the server ends."""
_MOST_CONNECTIONS = 1000
"""The greatest number of connections. A request on a further connection gets a 503."""


def can_be_reached(host: str) -> bool:
    """Whether other machines can reach a server that listens on ``host``."""
    return not is_loopback(host) or normalize_host(host) in ANY_ADDRESS


def open_listening_socket(host: str, port: int) -> socket.socket:
    """Open a socket that listens on ``host`` and ``port``; port 0 takes a free one.

    Raises ``ConfigError`` for an address that cannot be bound.
    """
    if not 0 <= port <= _LARGEST_PORT:
        raise ConfigError(f"there is no port {port}: the largest is {_LARGEST_PORT}, and 0 takes a free one")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns off Nagle's algorithm only for sockets whose protocol is given explicitly. With it, the small pieces
    # of a stream would be delayed by 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":  # there, two servers would listen on one port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(128)
    except (OSError, ValueError) as error:  # ValueError: not a host name
        bound.close()
        reason = error.strerror if isinstance(error, OSError) else None
        # EACCES: the port is one of the lowest, or, on Windows, kept by a program or the system.
        is_held = isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES)
        way_out = "; name another port with --port, or take a free one with --port 0" if is_held else ""
        raise ConfigError(f"cannot listen on {host}:{port}: {reason or error}{way_out}") from error
    return bound


@contextmanager
def listen_until_interrupted(host: str, port: int) -> Iterator[socket.socket]:
    """Open a listening socket for a command that serves in the block until Ctrl-C or SIGTERM ends it.

    Raises as ``open_listening_socket``.
    """
    # Not restored: the command owns the process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt), open_listening_socket(host, port) as bound:
        yield bound


def url_of(bound: socket.socket, *, is_tls: bool = False) -> str:
    """Return the URL by which clients on this machine reach a listening socket."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    scheme = "https" if is_tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def check_certificate(path: Path) -> None:
    """Raise ``ConfigError`` unless a PEM file has a certificate and its key, without a password."""
    # An empty password, because Python would otherwise ask for one on the terminal.
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path, password="")
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise ConfigError(f"--tls {path} is not a PEM file with a certificate and its key: {error}") from error


def make_server(
    app: ASGIApp,
    connection: type[BoundedConnection] = BoundedConnection,
    *,
    certificate: Path | None = None,
    before_cut: Callable[[], None] = lambda: None,
) -> _Server:
    """Make an ASGI server that logs errors only and speaks HTTP/1.1, without lifespan events.

    ``connection`` is the class of its connections, which sets their limits and handles WebSockets. ``certificate`` is
    a PEM file with a certificate and its key, for TLS. ``before_cut`` is called when the server ends, before the
    answers that are still under way are cut.
    """
    config = uvicorn.Config(
        app,
        http=connection,
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        proxy_headers=False,  # a client must not be able to claim another address by X-Forwarded-For
        # An answer has these fields from its provider, and must not have them twice.
        server_header=False,
        date_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        ssl_certfile=certificate,
    )
    server = _Server(config)
    server.before_cut = before_cut
    return server


class _Server(uvicorn.Server):
    """A server that ends as soon as nothing is to be waited for. Uvicorn's own takes 0.2 seconds for each test."""

    before_cut: Callable[[], None]
    _loop: asyncio.AbstractEventLoop | None = None
    _told: asyncio.Event

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        # Uvicorn does this in its coroutine. A signal that came before would end the process with the warning that the
        # coroutine was never awaited.
        with self.capture_signals():
            super().run(sockets)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await self._serve(sockets)  # private to uvicorn; its own `serve` captures the signals around it

    def end(self) -> None:
        """End soon. Any thread may call it, at any time."""
        self.should_exit = True
        loop = self._loop
        if loop is not None:  # else it has not begun, and looks at `should_exit` first
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._told.set)

    async def main_loop(self) -> None:
        self._told = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        while not self.should_exit:  # also set by uvicorn's handlers of signals, which cannot wake the loop
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), _TICK)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        # What clients have sent by now over accepted connections is read, and answered or missed: it is in the log,
        # whatever ends first. No event says that nothing is unread: each turn of the loop begins with asking the
        # system. And asyncio does not say which tasks have something to do. So there are as many turns as a message
        # needs on its way.
        for _ in range(3):  # reading it; waking the task that waits for it; running that task
            await asyncio.sleep(0)
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        deadline = time.monotonic() + _LEAVING_SECONDS
        while (state.connections or state.tasks) and not self.force_exit and time.monotonic() < deadline:
            await asyncio.sleep(_PAUSE)
        self.before_cut()
        for task in list(state.tasks):
            task.cancel()
        # Connections that were accepted during the shutdown. Nothing else closes their sockets.
        for connection in list(state.connections):
            connection.transport.abort()
        await upstreams.close_network()  # uvloop fails to close a loop with open connections


class BackgroundServer:
    """The server in a thread of its own until the block ends.

    ``url`` is its root; ``base_url`` ends in ``/v1``, for clients. ``address`` is its host and port. A client
    that sends ``token`` as its API key uses the API key of this process. ``certificate``: see ``make_server``.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str = "",
        connection: type[BoundedConnection] = BoundedConnection,
        certificate: Path | None = None,
    ) -> None:
        self.token = token
        self._socket = open_listening_socket("127.0.0.1", 0)
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        self._server = make_server(app, connection, certificate=certificate)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="aquila-server")
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://{self.address[0]}:{self.address[1]}"
        self.base_url = f"{self.url}/v1"

    def __enter__(self) -> BackgroundServer:
        # The guard of network access must let clients of this process reach it; removed when the block ends.
        own_servers().add(self.address)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.end()
        self._thread.join()
        self._socket.close()
        own_servers().discard(self.address)


class RenewableScope:
    """Holds the scope of a running server, and can replace it by a new one from ``make``.

    It owns ``scope``, which changes only in ``reset_scope``, under ``_lock``. Readers need no lock: they get the old or
    the new scope. The recordings of earlier scopes are counted too.
    """

    def __init__(self, make: Callable[[], Scope]) -> None:
        self._make = make
        self._lock = renewed_in_child(threading.Lock())
        self.scope = make()
        self._recorded_before = 0

    async def reset_scope(self) -> None:
        """End the scope and begin a new one. In a thread, because ending writes files."""
        await anyio.to_thread.run_sync(self._renew_scope)

    def _renew_scope(self) -> None:
        with self._lock:
            before, self.scope = self.scope, self._make()
            before.forget_unfinished()
            self._recorded_before += before.close().recorded

    def forget_unfinished(self) -> None:
        """Store no part of an answer that is still arriving."""
        self.scope.forget_unfinished()

    def close(self) -> int:
        """End the scope and return how many answers were recorded, resets or not. Raises ``CassetteWriteError``."""
        return self._recorded_before + self.scope.close().recorded
