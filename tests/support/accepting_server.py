"""A server that hands each connection to a thread of its own, as a socket: for what no HTTP server would send."""

from __future__ import annotations

import contextlib
import socket
import threading


class AcceptingServer:
    """Listens on a port of this machine from ``listen`` to ``close``. A subclass says in ``serve`` what comes of it."""

    def __init__(self) -> None:
        self._listening = socket.socket()
        self._listening.bind(("127.0.0.1", 0))  # kept, and so nobody else's, also before it listens
        self.port = self._listening.getsockname()[1]
        self.over = threading.Event()
        """Set when it closes."""
        self._accepting: threading.Thread | None = None

    def listen(self) -> None:
        """Accept connections from now on."""
        self._listening.listen(100)
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def serve(self, connection: socket.socket) -> None:
        """Serve a connection until one side has closed it."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop accepting: from now on connections are refused."""
        if self._accepting is not None:
            self.over.set()
            with contextlib.suppress(OSError):  # wakes the thread that accepts
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


def read_request(connection: socket.socket) -> bytes:
    """Return the next request of a connection, without the blank line behind its head; nothing at the end."""
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
        body += connection.recv(65536)
    return head + body
