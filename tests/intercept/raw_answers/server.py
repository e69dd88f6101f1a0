"""A server that sends raw answers, and counts the requests that reach it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator

from tests.intercept.raw_answers.answers import CASES, JSON, Case, RawAnswer, sized
from tests.intercept.raw_answers.clients import THEN


class RawServer:
    """Answers ``/client/number-of-case`` as the table says. What it is asked is counted for each client and case."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._at: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self._listening.getsockname()[1]
        self._is_over = threading.Event()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def take_counts(self) -> dict[str, int]:
        """How many requests there were for each client and case since the last call."""
        with self._lock:
            counts = dict(self.asked)
            self.asked.clear()
            self._at.clear()
        return counts

    def close(self) -> None:
        self._is_over.set()
        with contextlib.suppress(OSError):  # wakes the thread that accepts
            socket.create_connection(("127.0.0.1", self.port), timeout=60).close()
        self._accepting.join()
        self._listening.close()

    def _accept(self) -> None:
        while not self._is_over.is_set():
            connection, _ = self._listening.accept()
            connection.settimeout(60)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while request := _read_request(connection):
                if not self._answer(connection, request):
                    return

    def _answer(self, connection: socket.socket, request: bytes) -> bool:
        """Answer a request. Return whether the connection stays."""
        _, client, number, *rest = request.split(b" ", 2)[1].decode().split("/")
        asked = f"{client}/{number}"
        if not number.isdigit() or rest[-1:] == [THEN]:
            answer = RawAnswer(sized(b"{}", JSON))
        else:
            answer = self._next_answer(asked, list(CASES.values())[int(number)])
        with self._lock:
            self.asked[asked] += 1
        if answer.after == "close":
            # The last bytes and the end come in one packet: a client must not meet one without the other.
            connection.sendall(answer.sent, socket.MSG_MORE)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
            return False
        connection.sendall(answer.sent)
        if answer.after == "reset":
            # Closing resets it now. What was sent before has arrived, and is read first.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return answer.after == "keep"

    def _next_answer(self, asked: str, case: Case) -> RawAnswer:
        """The next of the answers of a case. The last of them ends a call; then it begins anew."""
        with self._lock:
            at = self._at[asked]
            self._at[asked] = (at + 1) % len(case.answers)
        return case.answers[at]


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        received = connection.recv(65536)
        if not received:
            return b""
        data += received
    beginning, _, body = data.partition(b"\r\n\r\n")
    lines = beginning.lower().split(b"\r\n")
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return beginning + body


@contextlib.contextmanager
def raw_server() -> Iterator[RawServer]:
    """The server, until the block ends."""
    server = RawServer()
    try:
        yield server
    finally:
        server.close()
