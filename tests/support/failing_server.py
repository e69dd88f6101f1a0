"""A server that fails: it sends no response, or a status after which clients retry."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

from tests.support.accepting_server import AcceptingServer, read_request

FAILURES = ("refused", "reset", "timeout", "garbage", "closed", "429", "500", "503")
"""``timeout`` sends nothing until the client gives up. ``closed`` closes the connection without a response."""

ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":'
    b'"stop","message":{"role":"assistant","content":"hello"}}]}'
)


class FailingServer(AcceptingServer):
    """Answers the next requests as ``failures`` says, and all others as ``always`` says. ``""`` is a success."""

    def __init__(self, always: str) -> None:
        super().__init__()
        self.always = always
        self.failures: list[str] = []
        self.headers: dict[str, str] = {"retry-after": "0"}
        self.requests = 0
        self._asked = threading.Condition()
        if always != "refused":
            self.listen()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def wait_until_asked(self, times: int) -> None:
        """Wait until so many requests have arrived. A client may give up before the server has read its request."""
        with self._asked:
            assert self._asked.wait_for(lambda: self.requests >= times, 60)

    def serve(self, connection: socket.socket) -> None:
        if not read_request(connection):
            return
        with self._asked:
            self.requests += 1
            self._asked.notify_all()
        self._answer(connection, self.failures.pop(0) if self.failures else self.always)

    def _answer(self, connection: socket.socket, failure: str) -> None:
        if failure == "reset":
            # Without lingering, closing resets the connection.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif failure == "timeout":
            self.over.wait(600)
        elif failure == "garbage":
            connection.sendall(b"\x15\x03\x01 this is no HTTP\r\n\r\n")
        elif failure != "closed":
            status, body = failure or "200", b'{"error":{"message":"busy"}}' if failure else ANSWER
            fields = {"content-type": "application/json", "connection": "close", "content-length": str(len(body))}
            lines = [f"{name}: {value}" for name, value in {**fields, **(self.headers if failure else {})}.items()]
            connection.sendall("\r\n".join([f"HTTP/1.1 {status} Said", *lines, "", ""]).encode() + body)


@contextlib.contextmanager
def failing_server(always: str) -> Iterator[FailingServer]:
    """Run a ``FailingServer`` until the block ends."""
    server = FailingServer(always)
    try:
        yield server
    finally:
        server.close()
