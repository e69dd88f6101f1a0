"""A server that fails: before it has answered anything, or with a status that clients try again after."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

FAILURES = ("refused", "reset", "timeout", "garbage", "closed", "429", "500", "503")
"""``timeout`` says nothing until the client gives up; ``closed`` closes the connection instead of answering."""

ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":'
    b'"stop","message":{"role":"assistant","content":"hello"}}]}'
)


class FailingServer:
    """Fails in one way. ``failures`` are the ways of the next requests, then comes ``always``; "" is an answer."""

    def __init__(self, always: str) -> None:
        self.always = always
        self.failures: list[str] = []
        self.headers: dict[str, str] = {"retry-after": "0"}
        self.requests = 0
        self._asked = threading.Condition()
        self._listening = socket.socket()
        self._listening.bind(("127.0.0.1", 0))  # kept, and so nobody else's, also where it refuses connections
        self.port = self._listening.getsockname()[1]
        self._over = threading.Event()
        self._accepting: threading.Thread | None = None
        if always != "refused":
            self._listening.listen()
            self._accepting = threading.Thread(target=self._accept, daemon=True)
            self._accepting.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def wait_until_asked(self, times: int) -> None:
        """Wait for requests, which clients that give up may have sent without having been heard yet."""
        with self._asked:
            assert self._asked.wait_for(lambda: self.requests >= times, 60)

    def close(self) -> None:
        """Stop answering: from now on connections are refused."""
        if self._accepting is not None:
            self._over.set()
            with contextlib.suppress(OSError):  # wakes the thread that accepts
                socket.create_connection(("127.0.0.1", self.port), timeout=60).close()
            self._accepting.join()
        self._listening.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            connection, _ = self._listening.accept()
            if not self._over.is_set():
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
            else:
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if not _read_request(connection):
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
            self._over.wait(600)
        elif failure == "garbage":
            connection.sendall(b"\x15\x03\x01 this is no HTTP\r\n\r\n")
        elif failure != "closed":
            status, body = failure or "200", b'{"error":{"message":"busy"}}' if failure else ANSWER
            fields = {"content-type": "application/json", "connection": "close", "content-length": str(len(body))}
            lines = [f"{name}: {value}" for name, value in {**fields, **(self.headers if failure else {})}.items()]
            connection.sendall("\r\n".join([f"HTTP/1.1 {status} Said", *lines, "", ""]).encode() + body)


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        received = connection.recv(65536)
        if not received:
            return b""
        data += received
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head + body


@contextlib.contextmanager
def failing_server(always: str) -> Iterator[FailingServer]:
    """A server that fails in one way until the block ends."""
    server = FailingServer(always)
    try:
        yield server
    finally:
        server.close()
