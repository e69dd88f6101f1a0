"""The live transport: proxies of the environment, and nothing left open behind a test."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator

import httpx2
import pytest

import aquila
from tests.support.upstream import Answer, Upstream, upstream


@pytest.fixture
def server() -> Iterator[Upstream]:
    with upstream(lambda path, body: Answer(chunks=[b"live"])) as running:
        yield running


def test_a_request_goes_out_as_it_is(server: Upstream) -> None:
    with aquila.http_client(transport="live") as http:
        assert http.post(f"{server.url}/v1/x", content=b"hi", headers={"x-own": "1"}).content == b"live"
    assert server.requests == [("/v1/x", b"hi")]
    assert server.headers[0]["x-own"] == "1"


def test_the_environments_proxy_is_used_and_its_exceptions_kept(
    server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("http_proxy", server.url)
    with aquila.http_client(transport="live") as http:
        assert http.get("http://provider.invalid/v1/models").content == b"live"
        assert server.requests == [("http://provider.invalid/v1/models", b"")]
        assert http.get(f"{server.url}/direct").content == b"live"  # 127.0.0.1 is in NO_PROXY
    assert server.requests[1][0] == "/direct"


def test_no_connection_outlives_a_test_and_its_event_loop(server: Upstream) -> None:
    async def ask() -> bytes:
        async with aquila.async_http_client(transport="live") as http:
            return (await http.get(f"{server.url}/v1/x")).content

    assert asyncio.run(ask()) == b"live"
    assert asyncio.run(ask()) == b"live"
    with aquila.http_client(transport="live") as http:
        http.get(f"{server.url}/v1/x")
    gc.collect()  # an open socket would be a ResourceWarning now, and so an error


def test_threads_share_the_pool(server: Upstream) -> None:
    answers: list[bytes] = []
    with aquila.http_client(transport="live") as http:
        threads = [
            threading.Thread(target=lambda: answers.append(http.get(f"{server.url}/v1/x").content)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [b"live"] * 8


def test_a_server_that_is_not_there_is_a_connection_error(unused_tcp_port_url: str) -> None:
    with aquila.http_client(transport="live") as http, pytest.raises(httpx2.ConnectError):
        http.get(unused_tcp_port_url)


@pytest.fixture
def unused_tcp_port_url() -> str:
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listening.getsockname()[1]}/"
