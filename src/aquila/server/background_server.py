"""Running the application: on a socket of its own, in this thread or in another."""

from __future__ import annotations

import socket
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType

import uvicorn
from starlette.applications import Starlette

from aquila.errors import ConfigError
from aquila.intercept.policy import own_servers
from aquila.intercept.provider_data import is_loopback
from aquila.recording.scope import Scope


def listening(host: str, port: int, *, token: str | None = None) -> socket.socket:
    """A socket that listens; port 0 takes a free one. Raises ``ConfigError`` for an address that cannot be had.

    On any other address than this machine's own a token is required: whoever reaches the server may spend its key.
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


def server_for(app: Starlette) -> uvicorn.Server:
    """The ASGI server, quiet, without what a proxy needs not."""
    config = uvicorn.Config(
        app, log_level="error", access_log=False, lifespan="off", ws="none", http="h11", timeout_graceful_shutdown=2
    )
    return uvicorn.Server(config)


class Running:
    """The server in a thread, until the block ends. ``url`` is its root, ``base_url`` what clients are told."""

    def __init__(self, app: Starlette) -> None:
        self._socket = listening("127.0.0.1", 0)
        self._address = self._socket.getsockname()[:2]
        self._server = server_for(app)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="aquila-server")
        self.url = f"http://{self._address[0]}:{self._address[1]}"
        self.base_url = f"{self.url}/v1"

    def __enter__(self) -> Running:
        own_servers.add(self._address)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()
        own_servers.discard(self._address)


class Renewed:
    """A scope that can be ended and begun anew while the server runs. ``make`` makes one."""

    def __init__(self, make: Callable[[], Scope]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self.scope = make()

    def current(self) -> Scope:
        """The scope that counts now."""
        return self.scope

    @property
    def reset(self) -> Callable[[], Awaitable[object]]:
        """For the application: ends the scope in a thread, since that stores what was recorded."""

        async def reset() -> None:
            import anyio.to_thread

            await anyio.to_thread.run_sync(self._renew)

        return reset

    def _renew(self) -> None:
        with self._lock:
            before, self.scope = self.scope, self._make()
            before.close()

    def close(self) -> int:
        """End it for good and return how many answers were recorded. Raises ``CassetteWriteError``."""
        return self.scope.close().recorded
