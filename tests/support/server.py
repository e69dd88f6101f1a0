"""A loopback HTTP server that sends scripted responses: whole, in odd pieces, or broken off."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.http_server import LoopbackServer

Piece = bytes | threading.Event


@dataclass
class Answer:
    """A response. ``pieces`` are sent one after the other. The server waits for each event among them.

    ``broken`` closes the connection before the end of the body.
    """

    pieces: Iterable[Piece] = ()
    status: int = 200
    content_type: str = "text/event-stream"
    headers: dict[str, str] = field(default_factory=dict)
    broken: bool = False


@dataclass
class Seen:
    """A request as the server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """The running server. ``url`` is a base URL for a client, and ``seen`` has the requests so far."""

    def __init__(self, answers: Iterator[Answer] | Callable[[Seen], Answer]) -> None:
        self.seen: list[Seen] = []
        self.left = threading.Event()
        """Set when a client has closed its connection before the end of a response."""
        self._answers = answers
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._http = LoopbackServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def answer(self, seen: Seen) -> Answer:
        with self._lock:
            self.seen.append(seen)
            if callable(self._answers):
                return self._answers(seen)
            return next(self._answers, Answer([b'{"error": {"message": "script is over"}}'], 418, "application/json"))

    def _handler(server) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

            def handle_one(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = server.answer(Seen(self.command, self.path, headers, self.rfile.read(length)))
                try:
                    self.send_answer(answer)
                except (BrokenPipeError, ConnectionResetError):
                    server.left.set()
                    self.close_connection = True

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

            def send_answer(self, answer: Answer) -> None:
                self.send_response(answer.status)
                if answer.content_type:
                    self.send_header("content-type", answer.content_type)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                for piece in answer.pieces:
                    if isinstance(piece, threading.Event):
                        if not server.wait(piece, self.connection):
                            raise ConnectionResetError
                    elif piece:
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                        self.wfile.flush()
                if answer.broken:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                else:
                    self.wfile.write(b"0\r\n\r\n")

        return Handler

    def wait(self, event: threading.Event, connection: socket.socket) -> bool:
        """Wait for an event. Returns False if the client leaves or the server stops first."""
        connection.settimeout(0.01)
        try:
            while not event.is_set():
                if self._stopping.is_set():
                    return False
                try:
                    if connection.recv(1, socket.MSG_PEEK) == b"":
                        return False
                except TimeoutError:
                    continue
                except OSError:
                    return False
        finally:
            connection.settimeout(None)
        return True

    def __enter__(self) -> Server:
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@contextmanager
def serving(*answers: Answer | bytes, by: Callable[[Seen], Answer] | None = None) -> Iterator[Server]:
    """Serve these answers in turn, or the answers that ``by`` makes for each request."""
    script = (answer if isinstance(answer, Answer) else Answer([answer]) for answer in answers)
    with Server(by or script) as server:
        yield server


def cut(body: bytes, sizes: Iterable[int] = (1, 7, 64, 3, 500)) -> list[bytes]:
    """Cut a body into pieces of these sizes, over and over. The pieces do not follow the lines of the body."""
    pieces = []
    at = 0
    order = list(sizes)
    while at < len(body):
        size = order[len(pieces) % len(order)]
        pieces.append(body[at : at + size])
        at += size
    return pieces


def sse(*data: Any, done: bool = True, event: bool = False) -> bytes:
    """Server-sent events of JSON values; ``event`` names each by its ``type``, as the Responses API does."""
    lines = []
    for each in data:
        name = f"event: {each['type']}\n" if event else ""
        lines.append(f"{name}data: {json.dumps(each, ensure_ascii=False)}\n\n")
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


def json_answer(value: Any, status: int = 200, **headers: str) -> Answer:
    """An answer of one JSON value."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer([json.dumps(value).encode()], status, "application/json", named)
