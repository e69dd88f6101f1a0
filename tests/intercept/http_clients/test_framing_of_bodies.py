"""While it is recorded, a body goes out with its length or in chunks, as its client sends it without Aquila."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import urllib3

import aquila
from tests.support.accepting_server import AcceptingServer
from tests.support.slow import product_of
from tests.support.upstream import Answer, Upstream

PATH = "/v1/chat/completions"

BODIES: dict[str, Callable[[], Any]] = {
    "bytes": lambda: b"a tern",
    "nothing": lambda: None,
    "file": lambda: io.BytesIO(b"a tern"),
    "text file": lambda: io.TextIOWrapper(io.BytesIO(b"a tern")),
    "pieces": lambda: iter([b"a ", b"tern"]),
}


@contextlib.contextmanager
def connected(url: str) -> Iterator[http.client.HTTPConnection]:
    with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)) as connection:
        yield connection


def by_http_client(url: str, body: Any) -> bytes:
    with connected(url) as connection:
        connection.request("POST", PATH, body)
        return connection.getresponse().read()


def by_http_client_again(url: str, body: Any) -> bytes:
    with connected(url) as connection:
        connection.request("GET", PATH)
        connection.getresponse().read()
        connection.request("POST", PATH, body)
        return connection.getresponse().read()


def by_http_client_with_frames(url: str, body: Any) -> bytes:
    framed = b"6\r\na tern\r\n0\r\n\r\n"
    with connected(url) as connection:
        connection.request("POST", PATH, framed, {"transfer-encoding": "chunked"})
        return connection.getresponse().read()


def by_http_client_after_its_head(url: str, body: Any) -> bytes:
    with connected(url) as connection:
        connection.putrequest("POST", PATH)
        connection.putheader("content-length", "6")
        connection.endheaders()
        connection.send(body or b"a tern")
        return connection.getresponse().read()


def by_urllib(url: str, body: Any) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url + PATH, body, method="POST"), timeout=60) as answer:
        data: bytes = answer.read()
        return data


def by_urllib3(url: str, body: Any) -> bytes:
    with urllib3.PoolManager() as pool:
        return pool.request("POST", url + PATH, body=body).data


def by_urllib3_in_chunks(url: str, body: Any) -> bytes:
    with urllib3.connection_from_url(url) as pool:
        return pool.urlopen("POST", PATH, body, chunked=True).data


def by_requests(url: str, body: Any) -> bytes:
    return requests.post(url + PATH, data=body, timeout=60).content


SENDING = [
    by_http_client,
    by_http_client_again,
    by_http_client_with_frames,
    by_http_client_after_its_head,
    by_urllib,
    by_urllib3,
    by_urllib3_in_chunks,
    by_requests,
]


@pytest.mark.parametrize(("send", "kind"), product_of(SENDING, BODIES))
def test_a_body_is_framed_as_without_aquila(server: Upstream, send: Callable[[str, Any], bytes], kind: str) -> None:
    server.script = lambda path, body: Answer(chunks=[b"got ", body])

    def say_framing() -> dict[str, str]:
        fields = server.headers[-1]
        return {name: fields[name] for name in ("content-length", "transfer-encoding") if name in fields}

    answers, framing = [send(server.url, BODIES[kind]())], say_framing()
    with aquila.use_cassette("x", transport="record"):
        answers.append(send(server.url, BODIES[kind]()))
    assert say_framing() == framing
    with aquila.use_cassette("x") as cassette:
        answers.append(send(server.url, BODIES[kind]()))
        assert cassette.all_played
    assert len(set(answers)) == 1


class Refusing(AcceptingServer):
    """Answers 400 when it has read what no chunk begins with, and keeps what it read."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []

    def serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as file:
            head = list(iter(file.readline, b"\r\n"))
            assert b"transfer-encoding: chunked\r\n" in head
            self.bodies.append(file.readline())
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")


def test_a_body_without_the_frames_that_it_is_said_to_have_goes_out_as_it_is(root: Path) -> None:
    server = Refusing()
    server.listen()

    def send() -> int:
        with connected(f"http://127.0.0.1:{server.port}") as connection:
            connection.putrequest("POST", PATH)
            connection.putheader("transfer-encoding", "chunked")
            connection.endheaders()
            connection.send(b"a tern\r\n")
            return connection.getresponse().status

    with contextlib.closing(server):
        statuses = [send()]
        with aquila.use_cassette("x", transport="record"):
            statuses.append(send())
    with aquila.use_cassette("x") as cassette:
        statuses.append(send())
        assert cassette.all_played
    assert statuses == [400, 400, 400]
    assert server.bodies == [b"a tern\r\n", b"a tern\r\n"]
