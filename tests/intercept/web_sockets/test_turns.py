"""Programs that send from several tasks or threads: which of them is quicker differs from run to run."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect as connect_in_loop
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_in_thread

import aquila
from aquila.errors import CassetteMiss
from aquila.intercept.web_sockets import replayed
from tests.support.web_sockets import WebSocketProvider, web_socket_server


@pytest.fixture
def provider() -> Iterator[WebSocketProvider]:
    def greet_and_echo(connection: Any) -> None:
        connection.send('{"type":"session.created"}')
        while True:
            connection.send(connection.recv(60))

    with web_socket_server(greet_and_echo) as running:
        running.url = f"{running.url}/v1/realtime"
        yield running


async def talk_in_tasks(url: str, first: str | None = None) -> list[str]:
    """One task asks while another one answers what it has read. ``first`` says which of them sends first, if any must.

    Return what was read, in the order of reading.
    """
    seen: list[str] = []
    has_sent = {"asker": asyncio.Event(), "reader": asyncio.Event()}

    async def send(who: str, message: str) -> None:
        if first not in (None, who):
            await has_sent[str(first)].wait()
        await connection.send(message)
        has_sent[who].set()

    async def read() -> None:
        seen.append(str(await connection.recv()))
        await send("reader", '{"type":"session.update"}')
        seen.extend([str(await connection.recv()), str(await connection.recv())])

    async with connect_in_loop(url) as connection:
        reader = asyncio.create_task(read())
        await send("asker", '{"type":"ask"}')
        await reader
    return seen


def talk_in_threads(url: str, first: str | None = None) -> list[str]:
    """``talk_in_tasks`` in threads."""
    seen: list[str] = []
    has_sent = {"asker": threading.Event(), "reader": threading.Event()}

    def send(who: str, message: str) -> None:
        if first not in (None, who):
            assert has_sent[str(first)].wait(60)
        connection.send(message)
        has_sent[who].set()

    def read() -> None:
        seen.append(str(connection.recv(60)))
        send("reader", '{"type":"session.update"}')
        seen.extend([str(connection.recv(60)), str(connection.recv(60))])

    with connect_in_thread(url) as connection:
        reader = threading.Thread(target=read)
        reader.start()
        send("asker", '{"type":"ask"}')
        reader.join()
    return seen


@pytest.mark.parametrize("first", ["asker", "reader"])
@pytest.mark.parametrize(
    "talk", [lambda *given: asyncio.run(talk_in_tasks(*given)), talk_in_threads], ids=["tasks", "threads"]
)
def test_they_send_in_the_order_in_which_they_were_recorded(
    talk: Callable[..., list[str]], first: str, provider: WebSocketProvider, root: Path
) -> None:
    with aquila.use_cassette("x", transport="record"):
        recorded = talk(provider.url, first)
    with aquila.use_cassette("x"):
        assert talk(provider.url) == recorded


class Waiting:
    """What a message does that waits for its turn: it lets the others begin, of which none had been seen yet."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()

    def __iter__(self) -> Iterator[float]:
        self.has_begun.set()
        yield from itertools.repeat(0.01, 1000)


def test_tasks_wait_for_those_that_begin_later(
    provider: WebSocketProvider, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(*, second_is_quicker: bool) -> list[str]:
        async def send_first() -> None:
            if second_is_quicker:
                await asyncio.to_thread(waiting.has_begun.wait, 60)
            await connection.send("first")
            has_sent.set()

        async def send_second() -> None:
            if not second_is_quicker:
                await has_sent.wait()
            await connection.send("second")

        has_sent = asyncio.Event()
        async with connect_in_loop(provider.url) as connection:
            await asyncio.gather(send_first(), send_second())
            return [str(await connection.recv()) for _ in range(3)]

    waiting = Waiting()
    monkeypatch.setattr(replayed, "_WHILE_OTHERS_WORK", waiting)
    with aquila.use_cassette("x", transport="record"):
        recorded = asyncio.run(talk(second_is_quicker=False))
    with aquila.use_cassette("x"):
        assert asyncio.run(talk(second_is_quicker=True)) == recorded


@pytest.mark.parametrize(
    ("has_read", "waits"),
    [
        pytest.param(False, "_WHILE_OTHERS_WORK", id="and none has read"),
        pytest.param(True, "_UNTIL_OTHERS_BEGIN", id="and one has read"),
    ],
)
def test_threads_wait_for_those_that_begin_later(
    has_read: bool, waits: str, provider: WebSocketProvider, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def talk(*, second_is_quicker: bool) -> list[str]:
        read: list[str] = []

        def send_second() -> None:
            if has_read:
                read.append(str(connection.recv(60)))
            connection.send("second")

        with connect_in_thread(provider.url) as connection:
            second = threading.Thread(target=send_second)
            if second_is_quicker:
                second.start()
                assert waiting.has_begun.wait(60)
            connection.send("first")
            if not second_is_quicker:
                second.start()
            second.join()
            while len(read) < 3:
                read.append(str(connection.recv(60)))
            return read

    waiting = Waiting()
    monkeypatch.setattr(replayed, waits, waiting)
    with aquila.use_cassette("x", transport="record"):
        recorded = talk(second_is_quicker=False)
    with aquila.use_cassette("x"):
        assert talk(second_is_quicker=True) == recorded


def test_a_single_task_that_leaves_a_message_out_misses_at_once(provider: WebSocketProvider, root: Path) -> None:
    """Nobody else could send it."""

    async def talk(*messages: str) -> None:
        async with connect_in_loop(provider.url) as connection:
            await connection.recv()
            for message in messages:
                await connection.send(f'{{"type":"{message}"}}')
                await connection.recv()

    with aquila.use_cassette("x", transport="record"):
        asyncio.run(talk("one", "two", "three"))
    with aquila.use_cassette("x"), pytest.raises(CassetteMiss, match="message 2 of 3"):
        asyncio.run(talk("one", "three"))


@pytest.mark.slow
def test_a_message_that_no_task_sends_is_a_miss_after_a_wait(provider: WebSocketProvider, root: Path) -> None:
    async def talk(*messages: str) -> None:
        async with connect_in_loop(provider.url) as connection:

            async def read() -> None:
                with contextlib.suppress(ConnectionClosed):
                    async for _ in connection:
                        pass

            reader = asyncio.create_task(read())
            await asyncio.sleep(0)
            try:
                for message in messages:
                    await connection.send(f'{{"type":"{message}"}}')
            finally:
                await connection.close()
                await reader

    with aquila.use_cassette("x", transport="record"):
        asyncio.run(talk("one", "two", "three"))
    with aquila.use_cassette("x"), pytest.raises(CassetteMiss, match="message 2 of 3"):
        asyncio.run(talk("one", "three"))
