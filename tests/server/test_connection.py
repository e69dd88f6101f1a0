"""Improper HTTP is refused; slow and endless requests, and many connections, are bounded. Over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import socket
import threading
import warnings
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from uvicorn.server import ServerState

from aquila.server.background_server import BackgroundServer
from aquila.server.connection import BoundedConnection
from tests.server.conftest import Serve
from tests.support.clients import PATH
from tests.support.slow import slow_but
from tests.support.upstream import Answer, Upstream, streamed

HEAD = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\n"
CHUNKED = f"{HEAD}transfer-encoding: chunked\r\n"


class Hasty(BoundedConnection):
    """Waits a moment where others wait for long."""

    head_seconds = 0.2
    body_seconds = 0.2


class HastyOnceItReads(Hasty):
    """Hasty from the first bytes on: however busy the machine, a request that comes whole is read."""

    head_seconds = BoundedConnection.body_seconds

    def data_received(self, data: bytes) -> None:
        self.head_seconds = Hasty.head_seconds
        super().data_received(data)


class Narrow(BoundedConnection):
    """Takes little, and only a few at once."""

    head_seconds = BoundedConnection.body_seconds
    largest_head = 2000
    most_waiting = 8


@contextlib.contextmanager
def connected(running: BackgroundServer) -> Iterator[socket.socket]:
    with socket.create_connection(running.address, timeout=60) as raw:
        yield raw


def read_to_end(raw: socket.socket) -> bytes:
    """What comes until the server ends the connection: by a reset, where it has not read all that was sent."""
    read = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while piece := raw.recv(65536):
            read += piece
    return bytes(read)


def exchange(running: BackgroundServer, sent: str | bytes) -> bytes:
    with connected(running) as raw:
        raw.sendall(sent.encode("latin-1") if isinstance(sent, str) else sent)
        return read_to_end(raw)


AMBIGUOUS = [
    f"{CHUNKED}content-length: 2\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n",
    f"{HEAD}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    f"{HEAD}content-length: 2\r\ncontent-length: 2\r\n\r\n{{}}",
    f"{HEAD}content-length: 2\r\ncontent-length: 3\r\n\r\n{{}} ",
    f"{HEAD}content-length: 2, 2\r\n\r\n{{}}",
    f"{HEAD}content-length: +2\r\n\r\n{{}}",
    f"{HEAD}content-length: -2\r\n\r\n{{}}",
    f"{HEAD}content-length: 0x2\r\n\r\n{{}}",
    f"{HEAD}content-length: 99999999999999999999999\r\n\r\n{{}}",
    f"{HEAD}transfer-encoding: identity\r\n\r\n",
    f"{HEAD}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    f"{HEAD}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    f"{CHUNKED}transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    f"{CHUNKED}\r\n0x2\r\n{{}}\r\n0\r\n\r\n",
    f"{CHUNKED}\r\n+2\r\n{{}}\r\n0\r\n\r\n",
    f"{CHUNKED}\r\n-2\r\n{{}}\r\n0\r\n\r\n",
    f"{CHUNKED}\r\n2 \r\n{{}}\r\n0\r\n\r\n",
    f"{CHUNKED}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n",
    f"{CHUNKED}\r\n2\n{{}}\r\n0\r\n\r\n",
    f"{CHUNKED}\r\n2;\n{{}}\r\n0\r\n\r\n",
    f"{CHUNKED}\r\n2\r\n{{}}xx0\r\n\r\n",
    f"{CHUNKED}\r\n{'f' * 20}\r\n{{}}\r\n0\r\n\r\n",
    f"{HEAD}x-folded: a\r\n b\r\ncontent-length: 2\r\n\r\n{{}}",
    f"{HEAD}content-length : 2\r\n\r\n{{}}",
    f"{HEAD}: x\r\n\r\n",
    f"{HEAD}x: a\0b\r\n\r\n",
    f"{HEAD}x: a\rhost: evil.example\r\n\r\n",
    f"{HEAD}x: y\ncontent-length: 2\r\n\r\n{{}}",
    HEAD.replace("\r\n", "\n") + "\n",
    f"POST {PATH} HTTP/1.1\r\n host: localhost\r\n\r\n",
    f"POST http://localhost{PATH} HTTP/1.1\r\nhost: localhost\r\n\r\n",
    f"POST http://evil.example{PATH} HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "POST @evil.example/v1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "POST evil.example/v1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "CONNECT evil.example:443 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\nconnection: close\r\n\r\n",
    f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    f"POST {PATH} HTTP/1.1\r\nconnection: close\r\n\r\n",
    f"POST {PATH} HTTP/1.0\r\n\r\n",
    f"POST {PATH}\r\n\r\n",
    f"POST {PATH} HTTP/2.0\r\nhost: localhost\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    f"POST {PATH}\0 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    f"POST {PATH}\xff HTTP/1.1\r\nhost: localhost\r\n\r\n",
    f"POST {PATH}\x1b[31m HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]


def test_what_can_be_read_in_two_ways_is_refused_and_sends_nothing(serve: Serve, provider: Upstream) -> None:
    with serve(record="all") as running:
        for sent in AMBIGUOUS:
            head, _, body = exchange(running, sent).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n"), sent
            assert json.loads(body)["error"]["code"] == "invalid_request", sent
    assert provider.requests == []


def test_trailers_are_no_header_fields(serve: Serve, provider: Upstream) -> None:
    with serve(record="all") as running:
        sent = f"{CHUNKED}connection: close\r\n\r\n2\r\n{{}}\r\n0\r\nhost: evil.example\r\nx-extra: 1\r\n\r\n"
        assert exchange(running, sent).startswith(b"HTTP/1.1 200 ")
    ((path, body),) = provider.requests
    assert (path, body) == (PATH, b"{}")
    assert "x-extra" not in provider.headers[0]


def test_a_client_that_offers_another_protocol_is_answered_in_this_one(serve: Serve, provider: Upstream) -> None:
    upgrade = f"{HEAD}connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    with serve(record="all") as running, connected(running) as raw:
        for request in (
            f"{upgrade}content-length: 2\r\n\r\n{{}}",
            f"{upgrade}transfer-encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
            f"{HEAD}content-length: 1\r\n\r\n0",
        ):
            raw.sendall(request.encode())
            answer = b""
            while not answer.endswith(b"0\r\n\r\n"):
                answer += raw.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")
        raw.sendall(f"{upgrade}content-length: 2\r\ncontent-length: 2\r\n\r\n{{}}".encode())
        assert read_to_end(raw).startswith(b"HTTP/1.1 400 ")
    assert [body for _, body in provider.requests] == [b"{}", b"[]", b"0"]


@pytest.mark.parametrize(
    ("sent", "trickle"),
    slow_but(
        [(HEAD, b""), (f"{HEAD}content-length: 1000\r\n\r\n{{", b""), (f"{CHUNKED}\r\n2\r\n{{}}\r\n", b"1\r\n \r\n")],
        [
            (HEAD, b""),
            (HEAD, b"x: y\r\n"),
            (f"POST {PATH}", b"x"),
            (f"{HEAD}content-length: 1000\r\n\r\n{{", b""),
            (f"{HEAD}content-length: 100000\r\n\r\n{{", b" "),
            (f"{CHUNKED}\r\n2\r\n{{}}\r\n", b"1\r\n \r\n"),
            (f"{CHUNKED}\r\n2\r\n{{}}\r\n0\r\n", b"x: y\r\n"),
            (f"{HEAD}connection: keep-alive\r\ncontent-length: 2\r\n\r\n{{}}", b"\r\n"),
        ],
        of_several_names=True,
    ),
)
def test_a_request_that_never_ends_is_ended_and_sends_nothing(
    sent: str, trickle: bytes, serve: Serve, provider: Upstream
) -> None:
    is_whole = sent.endswith("{}")
    connection = HastyOnceItReads if is_whole else Hasty
    with serve(record="all", connection=connection) as running, connected(running) as raw:
        raw.sendall(sent.encode())
        ended = threading.Event()

        def go_on() -> None:
            with contextlib.suppress(OSError):
                while trickle and not ended.wait(0.02):
                    raw.sendall(trickle)

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            answer = read_to_end(raw)
        finally:
            ended.set()
            thread.join()
    if is_whole:  # between two requests
        assert answer.startswith(b"HTTP/1.1 200 ")
    elif answer:  # it is lost where the client was still writing
        assert answer.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 431 "))
    assert len(provider.requests) == is_whole


@pytest.mark.slow
def test_a_refused_body_that_never_ends_is_ended(serve: Serve, provider: Upstream) -> None:
    with (
        serve(record="all", connection=Hasty) as running,
        connected(running) as raw,
        pytest.raises(ConnectionError),  # not a time-out
    ):
        raw.sendall(f"{CHUNKED}origin: http://evil.example\r\n\r\n".encode())
        while True:
            raw.sendall(b"2\r\n{}\r\n" * 1000)
    assert provider.requests == []


@pytest.mark.slow
def test_header_fields_are_bounded(serve: Serve, provider: Upstream) -> None:
    with serve(record="all", connection=Narrow) as running:
        assert exchange(running, HEAD.encode() + b"x: y\r\n" * 500).startswith(b"HTTP/1.1 431 ")
        # A body may be larger.
        sent = f"{HEAD}connection: close\r\ncontent-length: 20000\r\n\r\n" + " " * 19998 + "{}"
        assert exchange(running, sent).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("pieces", [[b'{"answer": ', b"42}"], []], ids=["in pieces", "empty"])
def test_a_client_of_http_1_0_reads_an_answer_without_chunks_to_its_end(
    serve: Serve, provider: Upstream, pieces: list[bytes]
) -> None:
    provider.script = lambda path, body: Answer(chunks=pieces)
    for record in ("all", None):
        with serve(record=record) as running:
            sent = f"POST {PATH} HTTP/1.0\r\nhost: localhost\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{{}}"
            head, _, body = exchange(running, sent).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"transfer-encoding" not in head
        assert body == b"".join(pieces)
    assert len(provider.requests) == 1


def test_a_client_of_http_1_0_is_told_that_an_answer_broke_off(serve: Serve, provider: Upstream) -> None:
    provider.script = lambda path, body: Answer(breaks=True)
    for record in ("all", None):
        with serve(record=record) as running, connected(running) as raw:
            raw.sendall(f"POST {PATH} HTTP/1.0\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{{}}".encode())
            with pytest.raises(ConnectionResetError):
                while raw.recv(65536):
                    pass


@pytest.mark.slow
def test_a_slow_answer_is_waited_for(serve: Serve, provider: Upstream) -> None:
    times = Hasty.head_seconds + Hasty.body_seconds
    provider.script = lambda path, body: streamed("one two", before_chunk=lambda n: threading.Event().wait(times / 2))
    with serve(record="all", connection=HastyOnceItReads) as running:
        second = "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        answer = exchange(running, f"{HEAD}content-length: 2\r\n\r\n{{}}{second}")
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert len(provider.requests) == 2


def test_many_that_wait_make_room_and_those_that_are_answered_stay(serve: Serve, provider: Upstream) -> None:
    release = threading.Event()
    provider.script = lambda path, body: Answer(chunks=[b"{}", b"!"], before_chunk=lambda n: n == 0 or release.wait(60))

    with serve(record="all", connection=Narrow) as running, contextlib.ExitStack() as stack:
        answered = stack.enter_context(connected(running))
        answered.sendall(f"{HEAD}connection: close\r\ncontent-length: 2\r\n\r\n{{}}".encode())
        assert answered.recv(1)
        waiting = [stack.enter_context(connected(running)) for _ in range(20)]
        for raw in waiting[:12]:
            assert read_to_end(raw) == b""
        for raw in waiting[12:]:
            raw.sendall(b"GET /_aquila/health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert raw.recv(12) == b"HTTP/1.1 200"
        release.set()
        assert read_to_end(answered).endswith(b"1\r\n!\r\n0\r\n\r\n")


def test_the_oldest_makes_room_also_among_those_that_come_at_once() -> None:
    class Still(asyncio.SelectorEventLoop):
        """An event loop takes in many connections while its clock stands still. This one's always does."""

        def time(self) -> float:
            return 0.0

    class Aborted(asyncio.Transport):
        at: int | None = None

        def abort(self) -> None:
            self.at = next(times)

    loop, times, state = Still(), itertools.count(), ServerState()
    config = uvicorn.Config(lambda *_: None, ws="none", lifespan="off")  # type: ignore[arg-type, return-value]
    config.load()
    transports = [Aborted() for _ in range(20)]
    for transport in transports:
        Narrow(config, state, {}, loop).connection_made(transport)
    loop.close()
    assert [transport.at for transport in transports] == [*range(12), *[None] * 8]


class Late(BoundedConnection):
    """A connection that was accepted when the others had been told that the server ends."""

    made = threading.Event()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.made.set()

    def shutdown(self) -> None:
        pass


def test_a_connection_that_came_too_late_is_closed_with_the_server() -> None:
    running = BackgroundServer(Starlette(), connection=Late)
    running._server.config.loop = "asyncio"  # uvloop closes them by itself
    with running, socket.create_connection(running.address, timeout=60) as raw:
        assert Late.made.wait(60)
        running._server.should_exit = running._server.force_exit = True
        assert read_to_end(raw) == b""
    del running
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        gc.collect()
    assert [str(one.message) for one in told] == []
