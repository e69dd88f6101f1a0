"""A handshake that nobody answers ends in a replay as it ended when it was recorded: by the client's own limit."""

from __future__ import annotations

import asyncio
import inspect
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import aquila
from aquila.cassettes.model import Cassette, Interaction, RecordedRequest, RecordedResponse
from aquila.cassettes.storage.cassette_files import load_cassette, save_cassette
from tests.support.alike import alike, replayed_alike
from tests.support.slow import slow_but

LIMIT = 0.5
"""Seconds that a client waits."""


@pytest.fixture
def url() -> Iterator[str]:
    """A server that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"ws://127.0.0.1:{server.getsockname()[1]}/v1/realtime?model=m"


@pytest.fixture(params=[b""])
def closing_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that reads a request, sends its parameter, which is nothing or not valid, and closes the connection."""

    def read_and_close() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                if not connection.recv(65536):
                    return
                connection.sendall(request.param)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=read_and_close)
        thread.start()
        yield f"ws://127.0.0.1:{server.getsockname()[1]}/v1/realtime?model=m"
        socket.create_connection(server.getsockname()).close()
        thread.join()


@pytest.fixture
def busy_url() -> Iterator[str]:
    """A server with which no connection is made: as many wait as it lets wait, and nobody takes one."""
    if sys.platform != "linux":
        pytest.skip("elsewhere the system refuses what is too many")
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, socket.create_connection(server.getsockname()):
        yield f"ws://127.0.0.1:{server.getsockname()[1]}/v1/realtime?model=m"


def in_threads(url: str) -> None:
    from websockets.sync.client import connect

    connect(url, open_timeout=LIMIT)


async def in_a_loop(url: str) -> None:
    from websockets.asyncio.client import connect

    await connect(url, open_timeout=LIMIT)


async def in_a_loop_cancelled(url: str) -> None:
    from websockets.asyncio.client import connect

    await asyncio.wait_for(connect(url, open_timeout=60).__aenter__(), LIMIT)


async def of_old(url: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        from websockets.legacy.client import connect
    await connect(url, open_timeout=LIMIT, close_timeout=LIMIT)


async def aiohttp_limited(url: str) -> None:
    import aiohttp

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT)) as session:
        await session.ws_connect(url)


async def aiohttp_reading(url: str) -> None:
    import aiohttp

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(sock_read=LIMIT)) as session:
        await session.ws_connect(url)


async def aiohttp_connecting(url: str) -> None:
    import aiohttp

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(sock_connect=LIMIT)) as session:
        await session.ws_connect(url)


async def aiohttp_cancelled(url: str) -> None:
    import aiohttp

    async with aiohttp.ClientSession() as session:
        await asyncio.wait_for(session.ws_connect(url), LIMIT)


def websocket_client(url: str) -> None:
    import websocket

    websocket.create_connection(url, timeout=LIMIT)


def httpx_ws(url: str) -> None:
    import httpx
    import httpx_ws as library

    with httpx.Client(timeout=LIMIT, trust_env=False) as client, library.connect_ws(url, client):
        pass


async def httpx_ws_in_a_loop(url: str) -> None:
    import httpx
    import httpx_ws as library

    async with httpx.AsyncClient(timeout=LIMIT, trust_env=False) as client, library.aconnect_ws(url, client):
        pass


async def httpx_ws_cancelled(url: str) -> None:
    import httpx
    import httpx_ws as library

    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        await asyncio.wait_for(library.aconnect_ws(url, client).__aenter__(), LIMIT)


def failure_of(connect: Callable[[str], Any], url: str) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 (whatever the client has for it)
        if inspect.iscoroutinefunction(connect):
            asyncio.run(connect(url))
        else:
            connect(url)
    return caught.value


def describe(error: BaseException) -> list[str]:
    """The class of an error, and that of what caused it."""
    return [type(each).__qualname__ for each in (error, error.__cause__) if each is not None]


CLIENTS = {
    connect.__name__: connect
    for connect in (
        *(in_threads, in_a_loop, in_a_loop_cancelled, of_old, aiohttp_limited, aiohttp_reading, aiohttp_connecting),
        *(aiohttp_cancelled, websocket_client, httpx_ws, httpx_ws_in_a_loop, httpx_ws_cancelled),
    )
}
HANDSHAKING = [name for name in CLIENTS if name != "aiohttp_connecting"]
CONNECTING = [name for name in CLIENTS if name != "aiohttp_reading"]


@pytest.mark.parametrize("name", slow_but(["in_a_loop", "httpx_ws_cancelled"], HANDSHAKING))
def test_a_handshake_that_was_not_answered_ends_by_the_same_limit(name: str, url: str, root: Path) -> None:
    replayed_alike(lambda: describe(failure_of(CLIENTS[name], url)))
    (interaction,) = load_cassette(root / "x.yaml").interactions
    assert (interaction.response.status, interaction.response.end) == (0, "silent")


@pytest.mark.parametrize("name", slow_but(["websocket_client", "aiohttp_connecting"], CONNECTING))
def test_a_connection_that_was_not_made_in_time_ends_in_the_same_error(name: str, busy_url: str, root: Path) -> None:
    replayed_alike(lambda: type(failure_of(CLIENTS[name], busy_url)))
    (interaction,) = load_cassette(root / "x.yaml").interactions
    assert not interaction.response.has_begun


@pytest.mark.parametrize(
    "name",
    slow_but(
        ["aiohttp_reading", "websocket_client", "httpx_ws"],
        [name for name in HANDSHAKING if not name.endswith(("cancelled", "limited"))],
    ),
)
def test_a_connection_that_is_closed_before_the_answer_is_closed_again(
    name: str, closing_url: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "LIMIT", 60)
    alike(lambda: describe(failure_of(CLIENTS[name], closing_url)))
    (interaction,) = load_cassette(root / "x.yaml").interactions
    assert interaction.response.end == "broken"
    assert interaction.response.error.startswith("RemoteProtocolError: ")


WRONGLY_SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"
)


@pytest.mark.parametrize("closing_url", [WRONGLY_SWITCHED], ids=["wrong"], indirect=True)
@pytest.mark.parametrize(
    "name", slow_but(["in_threads"], ["in_threads", "in_a_loop", "of_old", "aiohttp_reading", "websocket_client"])
)
def test_an_answer_that_the_client_refuses_is_refused_again(
    name: str, closing_url: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "LIMIT", 60)
    with aquila.use_cassette("x", transport="record"):
        failure_of(CLIENTS[name], closing_url)
    with aquila.use_cassette("x") as cassette:
        failure_of(CLIENTS[name], closing_url)
        assert not cassette.misses
        assert cassette.all_played
    (interaction,) = load_cassette(root / "x.yaml").interactions
    assert interaction.response.end == "broken"
    assert not interaction.response.has_begun


def mistaken(url: str) -> None:
    from websockets.sync.client import connect

    connect(url, no_option=1)


async def mistaken_in_a_loop(url: str) -> None:
    from websockets.asyncio.client import connect

    await connect(url, no_option=1)


@pytest.mark.parametrize("connect", [mistaken, mistaken_in_a_loop])
def test_a_mistake_of_the_program_is_no_failure_of_the_provider(
    connect: Callable[[str], Any], url: str, root: Path
) -> None:
    with aquila.use_cassette("x", transport="record"):
        assert isinstance(failure_of(connect, url), TypeError)
    assert not root.exists()


def test_a_name_that_was_not_found_is_the_librarys_own_error_in_a_replay_too(root: Path) -> None:
    import websocket

    request = RecordedRequest("GET", "ws://api.openai.invalid/v1/realtime")
    failed = RecordedResponse(0, error="ConnectError: [Errno -2] Name or service not known", end="broken")
    save_cassette(root / "x.yaml", Cassette.from_interactions([Interaction(request, failed)]))
    with aquila.use_cassette("x"), pytest.raises(websocket.WebSocketAddressException, match="Name or service"):
        websocket.create_connection(request.url)


def test_a_client_that_has_no_limit_any_more_is_a_miss_and_no_hang(url: str, root: Path) -> None:
    websocket = pytest.importorskip("websocket")
    with aquila.use_cassette("x", transport="record"):
        failure_of(websocket_client, url)
    with aquila.use_cassette("x", silence=0.2) as cassette:
        with pytest.raises((OSError, websocket.WebSocketException, aquila.errors.CassetteMiss)):
            websocket.create_connection(url)
        assert len(cassette.misses) == 1
        assert "aquila_silence" in str(cassette.misses[0])
        cassette.forget_misses()
