"""Run the application on a listening socket, in this thread or in another one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import TracebackType

import anyio.to_thread
import uvicorn
from starlette.applications import Starlette

from aquila.errors import ConfigError
from aquila.intercept.policy import own_servers
from aquila.recording.model_hosts import is_loopback
from aquila.recording.scope import Scope


def open_listening_socket(host: str, port: int, *, token: str | None = None) -> socket.socket:
    """Open a socket that listens on ``host`` and ``port``; port 0 takes a free one.

    An address that other machines can reach needs a ``token`` of 16 characters or more, because whoever reaches the
    server may spend its API key. Raises ``ConfigError`` without one, and for an address that cannot be bound.
    """
    if not is_loopback(host) or host in ("0.0.0.0", "::"):
        if token is None:
            raise ConfigError(
                f"{host} can be reached from other machines: set a token with AQUILA_SERVER_TOKEN, or listen on "
                "127.0.0.1"
            )
        if len(token) < 16:
            raise ConfigError("the token is too short to keep strangers out: use 16 characters or more")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio looks at it: only then does it turn off Nagle's algorithm, which would hold
    # back the small pieces of a stream by 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return bound


def make_server(app: Starlette) -> uvicorn.Server:
    """Make an ASGI server that logs errors only and speaks plain HTTP/1.1, without lifespan events or WebSockets."""
    config = uvicorn.Config(
        app, log_level="error", access_log=False, lifespan="off", ws="none", http="h11", timeout_graceful_shutdown=2
    )
    return uvicorn.Server(config)


class BackgroundServer:
    """The server in a thread until the block ends. ``url`` is its root; ``base_url`` ends in ``/v1``, for clients."""

    def __init__(self, app: Starlette) -> None:
        self._socket = open_listening_socket("127.0.0.1", 0)
        self._address = self._socket.getsockname()[:2]
        self._server = make_server(app)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="aquila-server")
        self.url = f"http://{self._address[0]}:{self._address[1]}"
        self.base_url = f"{self.url}/v1"

    def __enter__(self) -> BackgroundServer:
        own_servers().add(self._address)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
        own_servers().discard(self._address)


class RenewableScope:
    """Holds the scope of a running server and can replace it by a new one. ``make`` makes a scope.

    Owns ``scope``: it changes only in ``reset_scope``, under the lock.
    """

    def __init__(self, make: Callable[[], Scope]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self.scope = make()

    def current_scope(self) -> Scope:
        """The scope that requests use now."""
        return self.scope

    async def reset_scope(self) -> None:
        """End the scope and begin a new one. Runs in a thread, because ending stores what was recorded."""
        await anyio.to_thread.run_sync(self._renew_scope)

    def _renew_scope(self) -> None:
        with self._lock:
            before, self.scope = self.scope, self._make()
            before.close()

    def close(self) -> int:
        """End the scope and return how many answers it recorded. Raises ``CassetteWriteError``."""
        return self.scope.close().recorded
