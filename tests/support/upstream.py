"""A loopback HTTP server that answers each request as a script says, chunk by chunk."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx2

from tests.support.http_server import LoopbackServer


@dataclass
class Answer:
    """A response. The server calls ``before_chunk(n)`` before chunk ``n``, from 0, so a test can delay it."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    chunks: Iterable[bytes] = (b"{}",)
    breaks: bool = False
    keeps_open: bool = False
    before_chunk: Callable[[int], object] = lambda number: None


Script = Callable[[str, bytes], Answer]


class Upstream:
    """The running server: its URL, and the requests that have reached it."""

    def __init__(self, url: str, script: Script) -> None:
        self.url = url
        self.script = script
        self.requests: list[tuple[str, bytes]] = []
        self.headers: list[dict[str, str]] = []
        self._asked = threading.local()

    @property
    def asked_host(self) -> str:
        """The host of the request that this thread answers."""
        host: str = self._asked.host
        return host

    @asked_host.setter
    def asked_host(self, host: str) -> None:
        self._asked.host = host

    def transport(self) -> Redirected:
        """Return a transport that sends any request to this server."""
        return Redirected(self.url)


class Redirected(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Sends every request to one server, whatever its host."""

    def __init__(self, url: str) -> None:
        self._url = httpx2.URL(url)

    def _there(self, request: httpx2.Request) -> httpx2.Request:
        url = request.url.copy_with(scheme="http", host=self._url.host, port=self._url.port)
        return httpx2.Request(
            request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        inner = httpx2.HTTPTransport(limits=httpx2.Limits(max_keepalive_connections=0))
        return inner.handle_request(self._there(request))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        inner = httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_keepalive_connections=0))
        return await inner.handle_async_request(self._there(request))


@contextlib.contextmanager
def upstream(script: Script, *, tls: ssl.SSLContext | None = None) -> Iterator[Upstream]:
    """Serve until the block ends, over TLS with ``tls``. ``script(path, body)`` returns each response."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self._read_body()
            running.requests.append((self.path, body))
            running.headers.append({name.lower(): value for name, value in self.headers.items()})
            running.asked_host = self.headers.get("host", "").partition(":")[0]
            answer = running.script(self.path, body)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("transfer-encoding", "chunked")
            if not answer.keeps_open:
                self.send_header("connection", "close")
            self.end_headers()
            self.wfile.flush()
            with contextlib.suppress(OSError):  # the client may have left
                for number, chunk in enumerate(answer.chunks):
                    answer.before_chunk(number)
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                    self.wfile.flush()
                if not answer.breaks:
                    self.wfile.write(b"0\r\n\r\n")
            self.close_connection = not answer.keeps_open

        do_GET = do_POST

        def _read_body(self) -> bytes:
            if self.headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length", 0)))
            pieces: list[bytes] = []
            for size in iter(self.rfile.readline, b"0\r\n"):
                if not size:
                    raise ConnectionAbortedError("the client has left within its body")
                pieces.append(self.rfile.read(int(size, 16)))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

        def log_message(self, *arguments: Any) -> None:
            pass

    class Server(LoopbackServer):
        def process_request_thread(self, request: Any, client_address: Any) -> None:
            if tls is not None:  # in the thread of this connection, so that a slow client holds up no other
                try:
                    request = tls.wrap_socket(request, server_side=True)
                except OSError:  # the client broke off, or refused the certificate
                    self.shutdown_request(request)
                    return
            super().process_request_thread(request, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    scheme = "http" if tls is None else "https"
    running = Upstream(f"{scheme}://127.0.0.1:{server.server_address[1]}", script)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sse(*events: Any, done: bool = True) -> list[bytes]:
    """Return a chunk with one event for each value, and ``[DONE]`` unless ``done`` is False."""
    chunks = [b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n" for event in events]
    return [*chunks, b"data: [DONE]\n\n"] if done else chunks


def chat_chunks(text: str, *, usage: bool = True) -> list[bytes]:
    """Return a chat completion stream of ``text``, with one word in each chunk."""

    def event(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}

    words = [word + " " for word in text.split(" ")]
    words[-1] = words[-1].removesuffix(" ")
    events = [
        event({"role": "assistant", "content": ""}),
        *(event({"content": word}) for word in words),
        event({}, "stop"),
    ]
    if usage:
        tokens = {"prompt_tokens": 5, "completion_tokens": len(words), "total_tokens": 5 + len(words)}
        events.append({**event({}), "choices": [], "usage": tokens})
    return sse(*events)


def streamed(text: str, **answer: Any) -> Answer:
    """Return a response that streams ``text`` as a chat completion."""
    return Answer(headers={"content-type": "text/event-stream"}, chunks=chat_chunks(text), **answer)


def cut_off(text: str, *, after: int) -> Answer:
    """Return a response that streams ``text`` as a chat completion, and whose connection breaks ``after`` words."""
    return replace(streamed(text, breaks=True), chunks=chat_chunks(text)[: after + 1])


def streaming(text: str) -> httpx2.MockTransport:
    """Return a transport that answers each request by streaming ``text`` as a chat completion, without a server."""
    content = b"".join(chat_chunks(text))
    kind = {"content-type": "text/event-stream"}
    return httpx2.MockTransport(lambda request: httpx2.Response(200, headers=kind, content=content))
