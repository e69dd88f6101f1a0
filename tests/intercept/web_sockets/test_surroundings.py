"""What is around a program: other event loops, proxies that the environment names, redirects of a handshake."""

from __future__ import annotations

import asyncio
import http
import importlib
import socket
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import trio
import uvloop
import websockets.sync.client
from httpx_ws import aconnect_ws
from websockets.asyncio.client import connect as connect_in_loop
from websockets.sync.client import connect as connect_in_thread

import aquila
from aquila.intercept.web_sockets.libraries import aiohttp_sockets
from tests.support.web_socket_clients import CLIENTS
from tests.support.web_sockets import WebSocketProvider, web_socket_server

PATH = "/v1/realtime?model=m"


@pytest.fixture
def provider() -> Iterator[WebSocketProvider]:
    def echo(connection: Any) -> None:
        while True:
            connection.send(connection.recv(60))

    with web_socket_server(echo) as running:
        running.url += PATH
        yield running


async def say_by_websockets(url: str) -> Any:
    async with connect_in_loop(url) as connection:
        await connection.send("hello")
        return await connection.recv()


async def say_by_legacy(url: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        legacy: Any = importlib.import_module("websockets.legacy.client")
    async with legacy.connect(url) as connection:
        await connection.send("hello")
        return await connection.recv()


async def say_by_aiohttp(url: str) -> Any:
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as connection:
        await connection.send_str("hello")
        return await connection.receive_str()


async def say_by_httpx_ws(url: str, *, trust_env: bool = False) -> Any:
    client: Any = httpx.AsyncClient(trust_env=trust_env)
    async with client, aconnect_ws(url, client) as connection:
        await connection.send_text("hello")
        return await connection.receive_text()


def in_both(provider: WebSocketProvider, say: Callable[[], Any]) -> None:
    with aquila.use_cassette("x", transport="record"):
        assert say() == "hello"
    asked = len(provider.paths)
    with aquila.use_cassette("x") as cassette:
        assert say() == "hello"
        assert cassette.all_played
    assert len(provider.paths) == asked


@pytest.mark.parametrize("say", [say_by_websockets, say_by_aiohttp, say_by_httpx_ws])
def test_it_works_in_uvloop(
    say: Callable[[str], Coroutine[Any, Any, Any]], provider: WebSocketProvider, root: Path
) -> None:
    in_both(provider, lambda: uvloop.run(say(provider.url)))


def test_httpx_ws_works_in_trio(provider: WebSocketProvider, root: Path) -> None:
    in_both(provider, lambda: trio.run(say_by_httpx_ws, provider.url))


def test_the_log_has_nothing_of_the_library_by_which_aquila_reads_frames(
    provider: WebSocketProvider, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    in_both(provider, lambda: asyncio.run(say_by_httpx_ws(provider.url)))
    assert "websockets" not in {record.name.partition(".")[0] for record in caplog.records}


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """A proxy that the environment names for everything. Gives the requests that reach it, which it refuses."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(65536))
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

        thread = threading.Thread(target=refuse)
        thread.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, address)
            monkeypatch.setenv(name.lower(), address)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield asked
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def recorded(root: Path) -> str:
    """A conversation with a provider, written by hand in ``x``. Gives where it is found."""
    root.mkdir(exist_ok=True)
    (root / "x.yaml").write_text(CASSETTE, "utf-8")
    return "wss://api.openai.com/v1/realtime?model=m"


@pytest.mark.parametrize("name", CLIENTS)
def test_a_replay_asks_no_proxy(name: str, proxy: list[bytes], recorded: str) -> None:
    with aquila.use_cassette("x") as cassette, CLIENTS[name](recorded) as talk:
        talk.send("hello")
        assert talk.recv(60) == "hello"
        talk.close()
    assert cassette.all_played
    assert not proxy


def test_a_replay_over_httpx_asks_no_proxy(proxy: list[bytes], recorded: str) -> None:
    with aquila.use_cassette("x"):
        assert asyncio.run(say_by_httpx_ws(recorded.replace("wss:", "https:"), trust_env=True)) == "hello"
    assert not proxy


@pytest.mark.parametrize("name", CLIENTS)
def test_an_at_sign_in_a_query_ends_no_password(name: str, recorded: str, root: Path) -> None:
    url = "wss://api.openai.com?caller=acct://me@example.org"
    (root / "x.yaml").write_text(CASSETTE.replace(recorded, url), "utf-8")
    with aquila.use_cassette("x") as cassette, CLIENTS[name](url) as talk:
        talk.send("hello")
        assert talk.recv(60) == "hello"
        talk.close()
    assert cassette.all_played


def test_parameters_of_aiohttp_belong_to_the_address_with_an_older_yarl_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read_address() -> str:
        async with aiohttp.ClientSession() as session:
            return aiohttp_sockets._handshake_of(session, "wss://a.example/x?a=1", {"params": {"model": "m"}}).url

    monkeypatch.delattr("yarl.URL.extend_query")
    assert asyncio.run(read_address()) == "wss://a.example/x?a=1&model=m"


CASSETTE = """\
aquila: 1
interactions:
- kind: websocket
  request:
    method: GET
    url: wss://api.openai.com/v1/realtime?model=m
  response:
    status: 101
    frames:
    - '>': hello
    - '<': |
        =\thello
    - close: {by: client, code: 1000}
...
"""


FOLLOWS_IN_THREADS = hasattr(websockets.sync.client, "reconnect")
"""Whether the client for threads follows redirects. Older versions do not."""


@pytest.mark.parametrize("host", ["", "//localhost:PORT"])
@pytest.mark.parametrize("connect", ["loop", *["thread"] * FOLLOWS_IN_THREADS, "legacy", "aiohttp"])
def test_a_handshake_that_is_redirected_is_replayed(
    connect: str, host: str, provider: WebSocketProvider, root: Path
) -> None:
    def redirect(connection: Any, request: Any) -> Any:
        if "moved" in request.path:
            return None
        response = connection.respond(http.HTTPStatus.TEMPORARY_REDIRECT, "")
        response.headers["Location"] = host.replace("PORT", str(httpx.URL(provider.url).port)) + "/v1/realtime?moved=1"
        return response

    def say_in_thread() -> Any:
        with connect_in_thread(provider.url) as connection:
            connection.send("hello")
            return connection.recv()

    provider.refuse = redirect
    say = {
        "loop": lambda: asyncio.run(say_by_websockets(provider.url)),
        "thread": say_in_thread,
        "legacy": lambda: asyncio.run(say_by_legacy(provider.url)),
        "aiohttp": lambda: asyncio.run(say_by_aiohttp(provider.url)),
    }
    in_both(provider, say[connect])
    assert provider.paths == [PATH, "/v1/realtime?moved=1"]
