"""Clients on ``http.client``, and aiohttp, get an answer piece by piece while it is recorded, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.client
import shutil
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httplib2
import httpx2
import pytest
import requests
import urllib3

import aquila
from aquila.cassettes.model import RecordedResponse
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import CassetteMiss
from aquila.transports.callers.http_client_answers import ConnectionUpstream
from tests.support.accepting_server import SayingServer
from tests.support.alike import alike, replayed_alike
from tests.support.limits import with_a_limit_in_time
from tests.support.runs import name_upstream
from tests.support.slow import slow_but_each
from tests.support.upstream import Answer, Upstream, chat_chunks

PATH = "/v1/chat/completions"
CHUNKS = chat_chunks("one two three")
Read = Callable[[str], Iterator[bytes]]


def by_requests_content(url: str) -> Iterator[bytes]:
    with requests.post(url, stream=True, timeout=60) as answer:
        yield from answer.iter_content(None)


def by_requests_lines(url: str) -> Iterator[bytes]:
    with requests.post(url, stream=True, timeout=60) as answer:
        for line in answer.iter_lines():
            yield line + b"\n"


def by_urllib3_stream(url: str) -> Iterator[bytes]:
    with urllib3.request("POST", url, preload_content=False, retries=False) as answer:
        yield from answer.stream()


def by_urllib3_read1(url: str) -> Iterator[bytes]:
    with urllib3.request("POST", url, preload_content=False, retries=False) as answer:
        while data := answer.read1():
            yield data


def by_urllib_request(url: str) -> Iterator[bytes]:
    with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=60) as answer:
        while data := answer.read1():
            yield data


def by_http_client(url: str) -> Iterator[bytes]:
    with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)) as connection:
        connection.request("POST", urlsplit(url).path)
        with connection.getresponse() as answer:
            while data := answer.read1():
                yield data


def by_lines_of_http_client(url: str) -> Iterator[bytes]:
    with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)) as connection:
        connection.putrequest("POST", urlsplit(url).path)
        connection.putheader("content-length", "2")
        connection.endheaders()
        connection.send(b"{}")
        with connection.getresponse() as answer:
            yield from answer


async def by_aiohttp_any(url: str) -> AsyncIterator[bytes]:
    async with aiohttp.ClientSession() as session, session.post(url) as answer:
        async for piece in answer.content.iter_any():
            yield piece


async def by_aiohttp_lines(url: str) -> AsyncIterator[bytes]:
    async with aiohttp.ClientSession() as session, session.post(url) as answer:
        async for line in answer.content:
            yield line


async def by_aiohttp_chunks(url: str) -> AsyncIterator[bytes]:
    async with aiohttp.ClientSession() as session:
        answer = await session.post(url)
        try:
            async for piece, _ in answer.content.iter_chunks():
                yield piece
        finally:
            answer.close()


def in_a_loop(read: Callable[[str], AsyncIterator[bytes]]) -> Read:
    """The same for sync callers: a piece is asked for when the caller wants one."""

    @functools.wraps(read)
    def pieces(url: str) -> Iterator[bytes]:
        with asyncio.Runner() as runner:
            reading: Any = read(url)
            try:
                while True:
                    try:
                        piece = runner.run(anext(reading))
                    except StopAsyncIteration:
                        return
                    yield piece
            finally:
                runner.run(reading.aclose())

    return pieces


WAYS: list[Read] = [
    in_a_loop(by_aiohttp_any),
    in_a_loop(by_aiohttp_lines),
    in_a_loop(by_aiohttp_chunks),
    by_requests_content,
    by_requests_lines,
    by_urllib3_stream,
    by_urllib3_read1,
    by_urllib_request,
    by_http_client,
    by_lines_of_http_client,
]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def read(request: pytest.FixtureRequest) -> Read:
    way: Read = request.param
    return way


def stored_response(root: Path) -> RecordedResponse:
    (stored,) = load_cassette(root / "x.yaml").interactions
    return stored.response


def stream(chunks: list[bytes], **answer: Any) -> Callable[[str, bytes], Answer]:
    return lambda path, body: Answer(headers={"content-type": "text/event-stream"}, chunks=chunks, **answer)


def test_a_chunk_reaches_the_caller_before_the_next_one_is_sent(read: Read, server: Upstream, root: Path) -> None:
    arrived = threading.Semaphore(0)

    def hold_back(number: int) -> None:
        if number:
            assert arrived.acquire(timeout=60), "a chunk was held back"

    server.script = stream(CHUNKS, before_chunk=hold_back)
    got = b""
    with aquila.use_cassette("x", transport="record"):
        for piece in read(server.url + PATH):
            before = len(got.split(b"data: "))
            got += piece
            for _ in range(len(got.split(b"data: ")) - before):
                arrived.release()
    assert got == b"".join(CHUNKS)
    stored = stored_response(root)
    assert ([chunk.data for chunk in stored.chunks], stored.end) == (CHUNKS, "complete")
    with aquila.use_cassette("x"):
        assert b"".join(read(server.url + PATH)) == b"".join(CHUNKS)
    assert len(server.requests) == 1


def test_a_stream_that_the_caller_left_ends_where_it_left(read: Read, server: Upstream, root: Path) -> None:
    left = threading.Event()

    def hold_back(number: int) -> None:
        if number == 2:
            left.wait(60)

    server.script = stream(CHUNKS, before_chunk=hold_back)

    def first() -> bytes:
        reading = read(server.url + PATH)
        got = next(reading)
        while b"one" not in got:
            got += next(reading)
        reading.close()  # type: ignore[attr-defined]
        return got

    with aquila.use_cassette("x", transport="record"):
        recorded = first()
        left.set()
    stored = stored_response(root)
    assert stored.end == "closed"
    assert [chunk.data for chunk in stored.chunks] == CHUNKS[:2]
    with aquila.use_cassette("x"):
        assert first() == recorded
    with aquila.use_cassette("x", silence=0.1), pytest.raises(CassetteMiss, match="ends after 2 chunks"):
        list(read(server.url + PATH))


def outcome(read: Read, url: str) -> tuple[bytes, type[Exception] | None]:
    got = b""
    try:
        for piece in read(url):
            got += piece
    except Exception as error:  # noqa: BLE001 - whatever the client raises is compared
        return got, type(error)
    return got, None


@pytest.mark.parametrize("read", WAYS[3:], ids=lambda way: way.__name__)
def test_a_stream_that_breaks_does_so_in_the_clients_own_class_of_error(
    read: Read, server: Upstream, root: Path
) -> None:
    server.script = stream(CHUNKS[:3], breaks=True)
    plain = alike(lambda: outcome(read, server.url + PATH))
    # To read by lines is the one way that does not tell this end from another.
    assert (plain[1] is None) == (read is by_lines_of_http_client)
    stored = stored_response(root)
    assert (stored.body, stored.end) == (b"".join(CHUNKS[:3]), "broken")


@pytest.mark.parametrize("read", WAYS[:3], ids=lambda way: way.__name__)
def test_a_stream_that_breaks_under_aiohttp_does_so_after_what_came(read: Read, server: Upstream, root: Path) -> None:
    """aiohttp itself throws away what has arrived and was not read, so how much a program gets is chance."""
    server.script = stream(CHUNKS[:3], breaks=True)
    with aquila.use_cassette("x", transport="live"):
        assert outcome(read, server.url + PATH)[1] is aiohttp.ClientPayloadError
    with aquila.use_cassette("x", transport="record"):
        assert outcome(read, server.url + PATH)[1] is aiohttp.ClientPayloadError
    assert stored_response(root).end == "broken"
    with aquila.use_cassette("x"):
        got = (stored_response(root).body, aiohttp.ClientPayloadError)
        assert outcome(read, server.url + PATH) == got


def test_a_stream_that_falls_silent_does_so_in_the_clients_own_class_of_error(server: Upstream, root: Path) -> None:
    over = threading.Event()
    server.script = stream(CHUNKS[:2], before_chunk=lambda number: over.wait(60) if number == 1 else None)

    def scenario(limit: float) -> None:
        def read(url: str) -> Iterator[bytes]:
            with requests.post(url, stream=True, timeout=(60, limit)) as answer:
                yield from answer.iter_content(None)

        shutil.rmtree(root, ignore_errors=True)
        with aquila.use_cassette("x", transport="record"):
            assert outcome(read, server.url + PATH) == (CHUNKS[0], requests.exceptions.ConnectionError)
        assert stored_response(root).error.startswith("ReadTimeout")
        with aquila.use_cassette("x"):
            assert outcome(read, server.url + PATH) == (CHUNKS[0], requests.exceptions.ConnectionError)

    try:
        with_a_limit_in_time(scenario, 0.3)
    finally:
        over.set()


def by_httplib2(url: str) -> Iterator[bytes]:
    yield httplib2.Http(timeout=60).request(url, "POST")[1]


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 2"], ids=["nothing", "garbage", "a part"])
@pytest.mark.parametrize("read", slow_but_each(4, [*WAYS, by_httplib2]), ids=lambda way: way.__name__)
def test_recording_does_not_change_the_class_of_an_error_before_the_answer(
    read: Read, answer: bytes, root: Path
) -> None:
    with SayingServer(answer) as server:
        assert alike(lambda: outcome(read, server.url + PATH))[1] is not None


@pytest.mark.parametrize("read", slow_but_each(3, [*WAYS, by_httplib2]), ids=lambda way: way.__name__)
@pytest.mark.parametrize("host", ["127.0.0.1", "no.such.host.invalid"])
def test_recording_does_not_change_the_class_of_an_error_of_connecting(read: Read, host: str, root: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen: refused, and nobody else's meanwhile
        url = f"http://{host}:{silent.getsockname()[1]}{PATH}"
        assert alike(lambda: outcome(read, url))[1] is not None


def test_a_limit_for_connecting_is_met_in_the_clients_own_class_of_error(root: Path) -> None:
    def connect(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectTimeout("timed out", request=request)

    name_upstream("far away", httpx2.MockTransport(connect))
    for transport in ("record", "replay"):
        use = aquila.use_cassette("x", transport=transport, upstream="far away")
        with use, pytest.raises(requests.exceptions.ConnectTimeout):
            requests.post(f"http://api.example{PATH}", timeout=60)
    assert stored_response(root).error == "ConnectTimeout: timed out"


def test_an_answer_with_a_length_keeps_it_and_is_complete_without_a_further_read(root: Path) -> None:
    answer = b"HTTP/1.1 200 Very well\r\ncontent-length: 5\r\nx-own: a\r\n b\r\n\r\nhello"
    with SayingServer(answer) as answering, aquila.use_cassette("x", transport="record"):
        got = requests.get(answering.url + PATH, stream=True, timeout=60)
        assert (got.reason, got.headers["content-length"], got.headers["x-own"]) == ("Very well", "5", "a b")
        assert got.raw.read(5) == b"hello"
        got.close()
    stored = stored_response(root)
    assert (stored.body, stored.end) == (b"hello", "complete")


def by_requests_pieces(url: str) -> Iterator[bytes]:
    with requests.get(url, stream=True, timeout=60) as answer:
        yield from answer.iter_content(4)  # of a body with a length, a last piece that is shorter is thrown away


@pytest.mark.parametrize("read", [by_requests_content, by_requests_pieces, by_urllib3_stream, by_urllib_request])
@pytest.mark.parametrize("length", [b"content-length: 50\r\n", b"transfer-encoding: chunked\r\n"])
def test_an_answer_that_ends_too_early_is_kept_as_broken(read: Read, length: bytes, root: Path) -> None:
    body = b"hello" if b"length" in length else b"5\r\nhello\r\n"
    with SayingServer(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n" + body) as answering:
        alike(lambda: outcome(read, answering.url + PATH))
    assert stored_response(root).end == "broken"


@pytest.mark.parametrize("status", [200, 204, 304])
def test_an_answer_without_a_body_is_complete(status: int, root: Path) -> None:
    with (
        SayingServer(b"HTTP/1.1 %d OK\r\ncontent-length: 0\r\n\r\n" % status) as answering,
        SayingServer(b"HTTP/1.1 200 OK\r\ncontent-length: 70\r\n\r\n") as head,
    ):
        with aquila.use_cassette("x", transport="record"):
            assert requests.get(answering.url + PATH, timeout=60).content == b""
        with aquila.use_cassette("y", transport="record"):
            assert requests.head(head.url + PATH, timeout=10).status_code == 200
    for name in ("x", "y"):
        (stored,) = load_cassette(root / f"{name}.yaml").interactions
        assert stored.response.end == "complete"
    with aquila.use_cassette("x"):
        assert requests.get(answering.url + PATH, timeout=60).status_code == status
    with aquila.use_cassette("y"):
        assert requests.head(head.url + PATH, timeout=10).status_code == 200


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304)])
def test_nothing_is_missing_of_a_body_that_never_comes(method: str, status: int) -> None:
    """An answer of urllib3-future, on which niquests is built, has the length of such a body."""
    real: Any = SimpleNamespace(
        status=status,
        reason="",
        msg={"content-length": "9"},
        length=9,
        isclosed=bool,
        read1=lambda size: b"",
        close=bool,
    )
    upstream = ConnectionUpstream(bool, lambda: real, (OSError, http.client.HTTPException))
    answer: Any = upstream.send_request(httpx2.Request(method, "http://127.0.0.1/"))
    assert list(answer.stream) == []


def test_a_body_that_is_made_while_it_is_sent_goes_out_and_is_compared(server: Upstream) -> None:
    server.script = lambda path, body: Answer(chunks=[b"got ", body])

    def pieces() -> Iterator[bytes]:
        yield b"one "
        yield b"two"

    def send() -> list[bytes]:
        url = server.url + PATH
        by_urllib = urllib.request.urlopen(urllib.request.Request(url, data=pieces(), method="POST"), timeout=10)
        return [requests.post(url, data=pieces(), timeout=60).content, by_urllib.read()]

    assert alike(send) == 2 * [b"got one two"]


def test_a_body_whose_chunks_the_client_frames_goes_out_and_is_compared_without_the_frames(server: Upstream) -> None:
    """requests did so before 2.29, and urllib3 before 2."""
    server.script = lambda path, body: Answer(chunks=[b"got ", body])

    def send() -> bytes:
        with contextlib.closing(http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)) as connection:
            connection.putrequest("POST", PATH)
            connection.putheader("transfer-encoding", "chunked")
            connection.endheaders()
            for piece in (b"one ", b"two", b""):
                connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            return connection.getresponse().read()

    assert alike(send) == b"got one two"


def test_a_connection_is_used_again_and_works_after_the_cassette(server: Upstream) -> None:
    server.script = lambda path, body: Answer(chunks=[b"echo ", body])
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)

    def ask(body: str) -> bytes:
        connection.request("POST", PATH, body, {"content-type": "text/plain"})
        return connection.getresponse().read()

    assert ask("1") == b"echo 1"
    assert replayed_alike(lambda: [ask("2"), ask("3")]) == [b"echo 2", b"echo 3"]
    assert ask("4") == b"echo 4"
    connection.close()
    assert [body for _, body in server.requests] == [b"1", b"2", b"3", b"4"]
