"""Connections that Aquila makes itself, for ``ask`` and ``stream``: how they are made, left, and why they fail."""

from __future__ import annotations

import contextlib
import functools
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from aquila.intercept import activation
from aquila.intercept.web_sockets.dropping import drop_connection
from aquila.intercept.web_sockets.opening_handshakes import fields_of
from aquila.optional import import_optional
from aquila.transports.own_requests import own_request
from aquila.transports.routes.route import PlainRoute, Route

_CLOSE_TIMEOUT = 2.0
"""How many seconds the provider has to answer a close. All answers have arrived before."""


class ConnectionAttempt:
    """Makes one connection of the library, which is ``connection`` once it is made."""

    def __init__(self, module: str, *, purpose: str) -> None:
        self._library = import_optional(module, "websockets", purpose=purpose)
        self.connection: Any = None

    def options(self, seconds: float | None) -> dict[str, Any]:
        """Return the options of the library's ``connect``; ``seconds`` is how long it may take."""
        return {"create_connection": self._create, "open_timeout": seconds, "close_timeout": _CLOSE_TIMEOUT}

    def _create(self, *args: Any, **kwargs: Any) -> Any:
        self.connection = self._library.ClientConnection(*args, **kwargs)
        # It is closed by whoever made it, and not at the end of a block, of which newer versions would remind us.
        self.connection.pending_legacy_warning = False
        if hasattr(self.connection, "close_socket"):  # that of threads
            # Within what a recording puts there: it notes first that the program leaves.
            self.connection.close_socket = functools.partial(
                _wake_and_close, self.connection, self.connection.close_socket
            )
        return self.connection


def _wake_and_close(connection: Any, close_socket: Callable[[], None]) -> None:
    """Close the socket of a connection. A thread that sends over it is not woken by closing alone."""
    # By another descriptor: TLS gives up encrypting where its own socket is shut down, and the thread may send on.
    with contextlib.suppress(OSError), socket.socket(fileno=socket.dup(connection.socket.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)
    close_socket()


def begin_attempt(*, within_loop: bool, purpose: str) -> ConnectionAttempt:
    """Return what makes the next connection. Raises ``MissingDependency``, which says what the ``purpose`` needs."""
    return ConnectionAttempt("websockets.asyncio.client" if within_loop else "websockets.sync.client", purpose=purpose)


@contextlib.contextmanager
def connecting_on(route: Route) -> Iterator[None]:
    """Let a connection that is made within the block, in this context, take a route."""
    if isinstance(route, PlainRoute) and route.source == "live":
        with own_request():
            yield
    else:
        with activation.interception().clients_caught(), route.activate():
            yield


def leave_connection(connection: Any) -> None:
    """End a connection at once, whatever is on its way."""
    connection.close_socket()
    connection.close()  # nothing is sent any more; a recording is written here


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
    """Return the answer that refused a handshake, if that is what an error of the library says."""
    response: Any = getattr(error, "response", None)
    if not hasattr(response, "status_code"):
        return None
    return RefusedHandshake(response.status_code, dict(fields_of(response.headers)), response.body or b"")


def read_headers(connection: Any) -> Mapping[str, str]:
    """Return the header fields of the answer to the handshake, their names in lower case."""
    response = getattr(connection, "response", None)
    return {} if response is None else dict(fields_of(response.headers))


def is_lost(error: BaseException) -> bool:
    """Whether an error says that no connection was made, or that it broke."""
    if isinstance(error, NotImplementedError):  # an answer to the handshake that older versions cannot read
        return True
    return isinstance(error, (OSError, EOFError)) or type(error).__module__.partition(".")[0] == "websockets"
