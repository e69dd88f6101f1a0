"""The live transport: proxies of the environment, and nothing left open behind a test."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
import uvloop
from anyio import lowlevel

import aquila
from aquila.cassettes.body_file import LARGE, StoredRequest
from aquila.errors import ConfigError
from aquila.recording import runtime
from aquila.recording.reporting.exchange_watch import ExchangeWatch, WatchedExchange
from aquila.transports.live import AsyncLiveTransport, LiveTransport
from aquila.transports.upstreams import find_upstream
from tests.support.forked import do_in_child
from tests.support.http_server import LoopbackServer
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
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, server.url.removeprefix("http://"))  # an address with its port
        assert http.get(f"{server.url}/direct").content == b"live"
        assert http.get("http://127.0.0.1:1/v1/models").content == b"live"
    assert [path for path, _ in server.requests[1:]] == ["/direct", "/direct", "http://127.0.0.1:1/v1/models"]


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("HTTP_PROXY", "http://ann:secret@proxy:bar", "proxy.*Invalid port"),
        ("HTTP_PROXY", "gopher://ann:secret@proxy", "proxy.*Unknown scheme"),
        (
            "SSL_CERT_FILE",
            "none.pem",
            "^no connection to provider.invalid can be made with .*SSL_CERT_FILE.*No such file",
        ),
    ],
)
def test_an_environment_that_allows_no_connection_is_explained_and_not_recorded(
    variable: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in (variable, variable.lower()):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(find_upstream("live"), "_made", {})  # pools of other tests are kept
    monkeypatch.setenv("AQUILA_CASSETTE_DIR", str(tmp_path))
    url = "http://provider.invalid/v1/models"

    async def ask() -> None:
        async with aquila.async_http_client() as http:
            await http.get(url)

    with aquila.use_cassette("none", transport="record") as cassette:
        with aquila.http_client() as http, pytest.raises(ConfigError, match=told) as refused:
            http.get(url)
        with pytest.raises(ConfigError, match=told):
            asyncio.run(ask())
        assert cassette.record_count == 0
    assert "secret" not in str(refused.value)


@pytest.mark.slow
def test_no_connection_outlives_a_test_and_its_event_loop(server: Upstream) -> None:
    async def ask() -> bytes:
        async with aquila.async_http_client(transport="live") as http:
            return (await http.get(f"{server.url}/v1/x")).content

    assert asyncio.run(ask()) == b"live"
    assert asyncio.run(ask()) == b"live"
    with aquila.http_client(transport="live") as http:
        http.get(f"{server.url}/v1/x")
    gc.collect()  # an open socket would be a ResourceWarning now, and so an error


class _KeepsOpen(BaseHTTPRequestHandler):
    """Answers any number of requests on one connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "4")
        self.end_headers()
        self.wfile.write(b"live")

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def keeping_url() -> Iterator[str]:
    with LoopbackServer(("127.0.0.1", 0), _KeepsOpen) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
        thread.join()


def _run_without_shutdown(function: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """End a loop as old programs do: its generators are never closed."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(function())
    loop.close()


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(lambda function: asyncio.run(function()), id="asyncio"),
        pytest.param(lambda function: uvloop.run(function()), id="uvloop", marks=pytest.mark.slow),
        pytest.param(trio.run, id="trio", marks=pytest.mark.slow),
        pytest.param(
            _run_without_shutdown,
            id="closed only",
            marks=[pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.slow],
        ),
    ],
)
def test_idle_connections_of_a_program_are_used_again_and_end_with_their_event_loop(
    run: Callable[[Callable[[], Coroutine[Any, Any, None]]], None], keeping_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "is_under_pytest", lambda: False)
    transports = [AsyncLiveTransport()]
    loops: list[weakref.ref[Any]] = []
    ports: list[list[int]] = []

    async def ask_twice() -> None:
        loops.append(weakref.ref(lowlevel.current_token().native_token))
        ports.append([])
        for _ in range(2):
            response = await transports[0].handle_async_request(httpx2.Request("GET", keeping_url))
            ports[-1].append(response.extensions["network_stream"].get_extra_info("client_addr")[1])
            assert await response.aread() == b"live"
            await response.aclose()

    for _ in range(4):  # each makes a TLS context, which takes a while
        run(ask_twice)
    gc.collect()  # an open socket would be a ResourceWarning now, and so an error
    assert [first for first, second in ports if first != second] == []
    assert sum(loop() is not None for loop in loops) <= 1
    transports.clear()  # with the sockets of the last loop that was only closed: each is a warning
    gc.collect()


def test_threads_share_a_pool_and_a_forked_child_has_its_own() -> None:
    transport, url = LiveTransport(), httpx2.URL("http://127.0.0.1/")
    all_are_there = threading.Barrier(4)

    def ask(_: int) -> httpx2.HTTPTransport:
        all_are_there.wait(60)
        return transport.pool_for(url)

    with ThreadPoolExecutor(4) as threads:
        (pool,) = set(threads.map(ask, range(4)))

    def look() -> None:
        assert transport.pool_for(url) is not pool

    if hasattr(os, "fork"):
        assert do_in_child(look) == 0


def test_a_server_that_is_not_there_is_a_connection_error(refusing_url: str) -> None:
    with aquila.http_client(transport="live") as http, pytest.raises(httpx2.ConnectError):
        http.get(refusing_url)


@pytest.fixture
def refusing_url() -> Iterator[str]:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen
        yield f"http://127.0.0.1:{silent.getsockname()[1]}/"


def test_a_large_upload_that_a_report_tells_stays_out_of_memory(
    server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[WatchedExchange] = []
    watch = ExchangeWatch(lambda several, *_: noted.extend(several), lambda told: None)
    monkeypatch.setattr(runtime.current_run(), "exchange_watch", watch)
    pieces = [b"x" * LARGE, b"end"]
    size = {"content-length": str(LARGE + 3)}

    async def come() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def ask() -> bytes:
        async with aquila.async_http_client(transport="live") as http:
            return (await http.post(f"{server.url}/v1/x", content=come(), headers=size)).content

    with aquila.http_client(transport="live") as http:
        assert http.post(f"{server.url}/v1/x", content=iter(pieces), headers=size).content == b"live"
    assert asyncio.run(ask()) == b"live"
    watch.end_test()
    assert [body for _, body in server.requests] == [b"".join(pieces)] * 2
    assert [type(each.request) for each in noted] == [StoredRequest] * 2
