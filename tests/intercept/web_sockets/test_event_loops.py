"""Conversations in an event loop: cancelled, read by one task while another one speaks, and never in the loop's way."""

from __future__ import annotations

import asyncio
import importlib
import shutil
import warnings
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from websockets.asyncio.client import connect

import aquila
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import CassetteMiss
from tests.support.alike import replayed_alike
from tests.support.limits import with_a_limit_in_time
from tests.support.web_sockets import WebSocketProvider, web_socket_server

PATH = "/v1/realtime"


def echo(connection: Any) -> None:
    while True:
        connection.send(connection.recv(60))


@pytest.fixture
def provider() -> Iterator[WebSocketProvider]:
    with web_socket_server(echo) as running:
        yield running


def in_both(provider: WebSocketProvider, use: Callable[[Any], Awaitable[Any]]) -> Any:
    async def go() -> Any:
        async with connect(provider.url + PATH) as connection:
            return await use(connection)

    return replayed_alike(lambda: asyncio.run(go()))


def test_pings_of_a_client_do_not_put_off_its_miss(provider: WebSocketProvider, root: Path) -> None:
    async def ask(interval: float | None) -> str:
        async with connect(provider.url + PATH, ping_interval=interval) as connection:
            await connection.send("hello")
            await connection.recv()
            return str(await connection.recv()) if interval else ""

    with aquila.use_cassette("x", transport="record"):
        asyncio.run(ask(None))
    with aquila.use_cassette("x", silence=0.2), pytest.raises(CassetteMiss, match="the client left here"):
        asyncio.run(ask(0.05))


def test_one_task_reads_while_another_one_speaks(provider: WebSocketProvider, root: Path) -> None:
    async def use(connection: Any) -> list[str]:
        got: list[str] = []

        async def read() -> None:
            async for message in connection:
                got.append(message)
                if len(got) == 10:
                    return

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            for number in range(10):
                await connection.send(str(number))
        return got

    assert in_both(provider, use) == list(map(str, range(10)))


def test_a_reader_is_cancelled_and_its_conversation_goes_on(provider: WebSocketProvider, root: Path) -> None:
    async def use(connection: Any) -> str:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(connection.recv(), 0.05)
        await connection.send("hello")
        message: str = await connection.recv()
        return message

    assert in_both(provider, use) == "hello"


def test_a_task_is_cancelled_within_its_conversation(provider: WebSocketProvider, root: Path) -> None:
    async def go() -> None:
        async with connect(provider.url + PATH) as connection:
            await connection.send("hello")
            await connection.recv()
            await connection.recv()

    def scenario(seconds: float) -> None:
        async def cancel() -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(go(), seconds)

        shutil.rmtree(root, ignore_errors=True)
        replayed_alike(lambda: asyncio.run(cancel()))
        (stored,) = load_cassette(root / "x.yaml").interactions
        assert len(stored.response.chunks) == 3  # both messages, and the close with which it left

    with_a_limit_in_time(scenario, 0.3)


def test_messages_in_fragments_are_stored_whole(provider: WebSocketProvider, root: Path) -> None:
    async def use(connection: Any) -> list[Any]:
        async def pieces() -> Any:
            yield "one "
            yield "two"

        await connection.send(["a", "b"])
        await connection.send(pieces())
        await connection.send([b"c", b"d"])
        return [await connection.recv() for _ in range(3)]

    assert in_both(provider, use) == ["ab", "one two", b"cd"]


def test_the_loop_is_never_blocked(provider: WebSocketProvider, root: Path) -> None:
    async def use(connection: Any) -> str:
        await connection.send('{"type":"response.done"}')
        message: str = await connection.recv()
        return message

    with blockbuster_ctx("aquila"):
        in_both(provider, use)


def test_waiting_for_a_close_that_does_not_come_is_a_miss(provider: WebSocketProvider, root: Path) -> None:
    async def go(*, waits: bool) -> None:
        async with connect(provider.url + PATH) as connection:
            await connection.send("one")
            await connection.recv()
            if waits:
                await connection.wait_closed()
            await connection.send("two")

    with aquila.use_cassette("x", transport="record"):
        asyncio.run(go(waits=False))
    with aquila.use_cassette("x", silence=0.2) as cassette:
        with pytest.raises(CassetteMiss, match="waits for a message"):
            asyncio.run(go(waits=True))
        assert len(cassette.misses) == 1


@pytest.mark.parametrize("library", ["websockets.asyncio.client", "websockets.legacy.client"])
def test_a_miss_leaves_the_block_of_the_connection_as_itself(
    library: str, provider: WebSocketProvider, root: Path
) -> None:
    """At the end of the block the library closes a connection that has just broken."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the legacy one is deprecated
        client: Any = importlib.import_module(library)

    async def say(message: str) -> None:
        async with client.connect(provider.url + PATH) as connection:
            await connection.send(message)
            await connection.recv()

    with aquila.use_cassette("x", transport="record"):
        asyncio.run(say("hello"))
    with aquila.use_cassette("x"), pytest.raises(CassetteMiss):
        asyncio.run(say("good morning"))
