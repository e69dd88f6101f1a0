"""Messages that a program reads fragment by fragment: ``recv_streaming`` of websockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect as connect_in_loop
from websockets.sync.client import connect as connect_in_thread

import aquila
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import CassetteMiss
from tests.support.alike import replayed_alike
from tests.support.web_sockets import WebSocketProvider, web_socket_server


@pytest.fixture
def provider() -> Iterator[WebSocketProvider]:
    def speak(connection: Any) -> None:
        connection.send(iter(['{"type":', '"session.created"}']))
        connection.send(connection.recv(60))
        connection.recv(60)

    with web_socket_server(speak) as running:
        running.url = f"{running.url}/v1/realtime"
        yield running


def read_in_thread(url: str, count: int) -> list[str]:
    with connect_in_thread(url) as connection:
        first = "".join(map(str, connection.recv_streaming()))
        connection.send("hello")
        return [first, *("".join(map(str, connection.recv_streaming())) for _ in range(count - 1))]


async def read_whole(connection: Any) -> str:
    return "".join([str(fragment) async for fragment in connection.recv_streaming()])


def read_in_loop(url: str, count: int) -> list[str]:
    async def read() -> list[str]:
        async with connect_in_loop(url) as connection:
            first = await read_whole(connection)
            await connection.send("hello")
            return [first, *[await read_whole(connection) for _ in range(count - 1)]]

    return asyncio.run(read())


@pytest.mark.parametrize("read", [read_in_thread, read_in_loop])
def test_they_replay_and_a_reader_that_waits_for_too_many_is_told(
    read: Any, provider: WebSocketProvider, root: Path
) -> None:
    assert replayed_alike(lambda: read(provider.url, 2)) == ['{"type":"session.created"}', "hello"]
    with aquila.use_cassette("x", silence=0.1), pytest.raises(CassetteMiss, match="waits for a message"):
        read(provider.url, 3)


def greet_in_thread(url: str) -> str | bytes:
    with connect_in_thread(url) as connection:
        connection.recv()
        connection.send(iter(()))
        connection.send("hello")
        return connection.recv()


def greet_in_loop(url: str) -> str | bytes:
    async def nothing() -> AsyncIterator[str]:
        for fragment in ():
            yield fragment

    async def greet() -> str | bytes:
        async with connect_in_loop(url) as connection:
            await connection.recv()
            await connection.send(nothing())
            await connection.send("hello")
            return await connection.recv()

    return asyncio.run(greet())


@pytest.mark.parametrize("greet", [greet_in_thread, greet_in_loop])
def test_a_message_of_no_fragments_is_none(greet: Any, provider: WebSocketProvider, root: Path) -> None:
    assert replayed_alike(lambda: greet(provider.url)) == "hello"


def test_a_recording_says_that_their_reader_was_waiting(provider: WebSocketProvider, root: Path) -> None:
    async def wait() -> None:
        connection = await connect_in_loop(provider.url)
        await read_whole(connection)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read_whole(connection), 0.05)
        connection.transport.abort()
        await connection.wait_closed()

    with aquila.use_cassette("x", transport="record"):
        asyncio.run(wait())
    (stored,) = load_cassette(root / "x.yaml").interactions
    assert stored.response.end == "silent"
