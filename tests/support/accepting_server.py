"""A server that hands each connection, as a socket, to a thread of its own. Tests use it to send invalid HTTP."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class AcceptingServer:
    """Listens on a loopback port from ``listen`` to ``close``. A subclass defines ``serve``."""

    def __init__(self) -> None:
        self._listening = socket.socket()
        self._listening.bind(("127.0.0.1", 0))  # reserves the port before the server listens
        self.port = self._listening.getsockname()[1]
        self.over = threading.Event()
        """Set when the server closes."""
        self._accepting: threading.Thread | None = None

    def listen(self) -> None:
        """Start to accept connections."""
        self._listening.listen(100)
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def serve(self, connection: socket.socket) -> None:
        """Serve a connection until one side has closed it."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop accepting: further connections are refused."""
        if self._accepting is not None:
            self.over.set()
            with contextlib.suppress(OSError):  # wakes the accepting thread
                socket.create_connection(("127.0.0.1", self.port), timeout=60).close()
            self._accepting.join()
        self._listening.close()

    def _accept(self) -> None:
        while not self.over.is_set():
            connection, _ = self._listening.accept()
            if not self.over.is_set():
                threading.Thread(target=self._serve_and_close, args=(connection,), daemon=True).start()
            else:
                connection.close()

    def _serve_and_close(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self.serve(connection)


class SayingServer(AcceptingServer):
    """Answers a request with these bytes, in one piece, and closes the connection. A context manager, which listens."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.url = f"http://127.0.0.1:{self.port}"
        self._answer = answer

    def serve(self, connection: socket.socket) -> None:
        if read_request(connection):
            connection.sendall(self._answer)

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_request(connection: socket.socket) -> bytes:
    """Return the head and the body of the next request, without the blank line between them.

    Returns ``b""`` if the client closes the connection before the end of a request.
    """
    data = b""
    while b"\r\n\r\n" not in data:
        received = connection.recv(65536)
        if not received:
            return b""
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        received = connection.recv(65536)
        if not received:
            return b""
        body += received
    return head + body
