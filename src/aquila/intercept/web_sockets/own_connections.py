"""Makes and ends the connections of Aquila itself, for ``ask`` and ``stream``, and reads their errors."""

from __future__ import annotations

import contextlib
import functools
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from aquila.intercept import activation
from aquila.intercept.web_sockets.dropping import drop_connection
from aquila.intercept.web_sockets.opening_handshakes import SILENT, fields_of
from aquila.optional import import_optional
from aquila.transports.own_requests import own_request
from aquila.transports.routes.route import PlainRoute, Route

_CLOSE_TIMEOUT = 2.0
"""How many seconds the provider has to answer a close. By then all its answers have arrived."""


class ConnectionAttempt:
    """Makes one connection of the library ``websockets``; ``connection`` is None before that.

    ``within_loop`` chooses the client for event loops. Raises ``MissingDependency`` with the ``purpose``.
    """

    def __init__(self, *, within_loop: bool, purpose: str) -> None:
        module = "websockets.asyncio.client" if within_loop else "websockets.sync.client"
        self._library = import_optional(module, "websockets", purpose=purpose)
        self.connection: Any = None

    def options(self, seconds: float | None) -> dict[str, Any]:
        """Return the options of the library's ``connect``. Connecting may take ``seconds``; None is no limit."""
        given = {"create_connection": self._create, "open_timeout": seconds, "close_timeout": _CLOSE_TIMEOUT}
        # The library logs an error where something arrives while the connection is being closed.
        return {**given, "logger": SILENT}

    def _create(self, *args: Any, **kwargs: Any) -> Any:
        self.connection = self._library.ClientConnection(*args, **kwargs)
        # Newer versions warn if no `with` block closes the connection. Here its maker does.
        self.connection.pending_legacy_warning = False
        if hasattr(self.connection, "close_socket"):  # the client for threads
            # A recording wraps this in turn, and notes first that the program leaves.
            self.connection.close_socket = functools.partial(
                _wake_and_close, self.connection, self.connection.close_socket
            )
        return self.connection


def _wake_and_close(connection: Any, close_socket: Callable[[], None]) -> None:
    """Shut down and close the socket of a connection. Closing alone does not wake a thread that is sending."""
    # By another descriptor: after a shutdown of a TLS socket itself, the thread might send on unencrypted.
    with contextlib.suppress(OSError), socket.socket(fileno=socket.dup(connection.socket.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)
    close_socket()


@contextlib.contextmanager
def connecting_on(route: Route) -> Iterator[None]:
    """Let connections that are made within the block, in this context, take a route."""
    if isinstance(route, PlainRoute) and route.source == "live":
        with own_request():
            yield
    else:
        with activation.interception().clients_caught(), route.activate():
            yield


def leave_connection(connection: Any) -> None:
    """End a connection at once, without sending the rest."""
    connection.close_socket()
    connection.close()  # sends nothing, but writes a recording


async def leave_async(connection: Any) -> None:
    """``leave_connection`` for a connection in an event loop."""
    drop_connection(connection.transport)
    await connection.wait_closed()


class RefusedHandshake(NamedTuple):
    """The answer to a handshake that was refused. The names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def read_refusal(error: BaseException) -> RefusedHandshake | None:
    """Return the answer that refused a handshake, if ``error`` has one."""
    response: Any = getattr(error, "response", None)
    if not hasattr(response, "status_code"):
        return None
    return RefusedHandshake(response.status_code, dict(fields_of(response.headers.raw_items())), response.body or b"")


def read_headers(connection: Any) -> Mapping[str, str]:
    """Return the header fields of the answer to the handshake, their names in lower case."""
    response = getattr(connection, "response", None)
    return {} if response is None else dict(fields_of(response.headers.raw_items()))


def is_lost(error: BaseException) -> bool:
    """Whether an error says that no connection was made, or that it broke."""
    if isinstance(error, NotImplementedError):  # older versions cannot read some answers to a handshake
        return True
    return isinstance(error, (OSError, EOFError)) or type(error).__module__.partition(".")[0] == "websockets"
