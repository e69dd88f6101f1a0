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
from tests.support.accepting_server import AcceptingServer, read_request


class RawServer(AcceptingServer):
    """Answers ``/client/number-of-case`` as the table says. What it is asked is counted for each client and case."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self._at: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.listen()

    def take_counts(self) -> dict[str, int]:
        """How many requests there were for each client and case since the last call."""
        with self._lock:
            counts = dict(self.asked)
            self.asked.clear()
            self._at.clear()
        return counts

    def serve(self, connection: socket.socket) -> None:
        connection.settimeout(60)
        while request := read_request(connection):
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
            connection.sendall(answer.sent, getattr(socket, "MSG_MORE", 0))  # Linux alone can wait for more to send
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


@contextlib.contextmanager
def raw_server() -> Iterator[RawServer]:
    """The server, until the block ends."""
    server = RawServer()
    try:
        yield server
    finally:
        server.close()
