"""A loopback WebSocket server that a test scripts, also under the host names of providers.

::

    def speak(connection):
        connection.send("hello")
        ...

    with web_socket_provider("api.openai.com", speak=speak) as provider:
        ...
        assert provider.paths == ["/v1/realtime"]
"""

from __future__ import annotations

import contextlib
import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from tests.support.real_hosts import authority, reachable

Speak = Callable[[ServerConnection], object]


class WebSocketProvider:
    """The running server: its URL, and the paths, headers and messages that it has received."""

    def __init__(self, speak: Speak) -> None:
        self.url = ""
        self.speak = speak
        self.refuse: Callable[[ServerConnection, Any], Any] = lambda connection, request: None
        """Returns a response that refuses the handshake, or None to accept it."""
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.heard: list[str | bytes] = []

    def serve(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed, OSError):
            self.speak(connection)

    def see_handshake(self, connection: ServerConnection, request: Any) -> Any:
        self.paths.append(request.path)
        self.headers.append({name.lower(): value for name, value in request.headers.raw_items()})
        return self.refuse(connection, request)

    def hear(self, connection: ServerConnection) -> str | bytes:
        """Receive the next message, and note it in ``heard``."""
        message = connection.recv(60)
        self.heard.append(message)
        return message


@contextlib.contextmanager
def web_socket_server(
    speak: Speak, *, tls: ssl.SSLContext | None = None, **options: Any
) -> Iterator[WebSocketProvider]:
    """Serve on loopback until the block ends."""
    running = WebSocketProvider(speak)
    silent = logging.Logger("silent", logging.CRITICAL + 1)
    with serve(
        running.serve, "127.0.0.1", 0, ssl=tls, process_request=running.see_handshake, logger=silent, **options
    ) as server:
        port = server.socket.getsockname()[1]
        running.url = f"{'wss' if tls else 'ws'}://127.0.0.1:{port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield running
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def web_socket_provider(*hosts: str, speak: Speak, **options: Any) -> Iterator[WebSocketProvider]:
    """Serve these hosts over TLS until the block ends. The ``url`` is that of the first host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # A ticket that arrives while a client writes in another thread can block the client for ever.
    context.num_tickets = 0
    authority().issue_cert(*hosts).configure_cert(context)
    with web_socket_server(speak, tls=context, **options) as running:
        port = int(running.url.rpartition(":")[2])
        running.url = f"wss://{hosts[0]}"
        with reachable(dict.fromkeys(hosts, port)):
            yield running


def break_off(connection: ServerConnection) -> None:
    """Break a connection without a close."""
    connection.close_socket()
