"""Conversations that race: the program takes the first answer, cancels those who wait for others, and closes these."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect

import aquila
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.cassettes.web_socket_frames.frame import Frame, read_frames
from tests.intercept.web_sockets.conftest import HeldWriting
from tests.support.web_sockets import web_socket_server

Talk = tuple[Callable[[str], Awaitable[None]], Callable[[], Awaitable[str]]]


@contextlib.asynccontextmanager
async def in_websockets(url: str) -> AsyncIterator[Talk]:
    async with connect(url) as connection:
        receive: Any = connection.recv
        yield connection.send, receive


@contextlib.asynccontextmanager
async def in_legacy_websockets(url: str) -> AsyncIterator[Talk]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        legacy: Any = importlib.import_module("websockets.legacy.client")
    async with legacy.connect(url) as connection:
        yield connection.send, connection.recv


@contextlib.asynccontextmanager
async def in_aiohttp(url: str) -> AsyncIterator[Talk]:
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        yield socket.send_str, socket.receive_str


def received_in(root: Path) -> list[list[bytes]]:
    """What the provider has said in each conversation of the cassette."""
    stored = load_cassette(root / "x.yaml").interactions
    conversations = [read_frames(each.response.chunks) for each in stored]
    return [[each.data for each in frames if isinstance(each, Frame) and not each.sent] for frames in conversations]


each_client = pytest.mark.parametrize("client", [in_websockets, in_legacy_websockets, in_aiohttp])


async def cancel(task: asyncio.Future[Any]) -> None:
    """Cancel a task, and wait until it has ended."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@each_client
def test_the_winner_wins_the_replay_where_the_answer_of_the_loser_had_come_too_late_for_it(
    client: Callable[[str], contextlib.AbstractAsyncContextManager[Talk]], root: Path, held_writing: HeldWriting
) -> None:
    def speak(connection: Any) -> None:
        connection.send(f'{{"type":"response.done","of":"{connection.recv(60)}"}}')
        connection.recv(60)

    async def ask(url: str, name: str) -> str:
        async with client(url) as (send, receive):
            await send(name)
            return await receive()

    async def lose_and_win(url: str) -> str:
        loser = asyncio.create_task(ask(url, "loser"))
        await asyncio.to_thread(
            held_writing.is_writing.wait, 60
        )  # the answer is there, and the program has not got it yet
        loser.cancel()
        held_writing.may_write.set()
        with pytest.raises(asyncio.CancelledError):
            await loser
        return await ask(url, "winner")

    async def race(url: str) -> list[str]:
        tasks = [asyncio.create_task(ask(url, name)) for name in ("loser", "winner")]
        done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        return [task.result() for task in done]

    with web_socket_server(speak) as provider:
        url = f"{provider.url}/v1/responses"
        with aquila.use_cassette("x", transport="record"):
            won = asyncio.run(lose_and_win(url))
    assert received_in(root) == [[], [won.encode()]]
    with aquila.use_cassette("x", transport="replay"):
        assert asyncio.run(race(url)) == [won]


@each_client
def test_a_message_whose_reader_is_cancelled_while_it_is_written_is_for_the_next_reader(
    client: Callable[[str], contextlib.AbstractAsyncContextManager[Talk]], root: Path, held_writing: HeldWriting
) -> None:
    is_read = threading.Event()

    def speak(connection: Any) -> None:
        is_read.wait(60)
        for number in range(2):
            connection.send(f'{{"type":"response.done","number":{number}}}')
        connection.recv(60)

    async def read(url: str) -> list[str]:
        async with client(url) as (_, receive):
            reader = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            is_read.set()
            await asyncio.to_thread(held_writing.is_writing.wait, 60)
            await cancel(reader)
            held_writing.may_write.set()
            return [await asyncio.wait_for(receive(), 60) for _ in range(2)]

    with web_socket_server(speak) as provider, aquila.use_cassette("x", transport="record"):
        got = asyncio.run(read(f"{provider.url}/v1/realtime"))
    assert [message[-2] for message in got] == ["0", "1"]


def test_what_comes_when_nobody_reads_any_more_is_not_recorded(root: Path) -> None:
    is_read, goes_on = threading.Event(), threading.Event()

    def speak(connection: Any) -> None:
        connection.send("read")
        goes_on.wait(60)
        connection.send("not read")
        is_read.set()
        connection.recv(60)

    async def leave(url: str) -> str:
        async with connect(url) as connection:
            message = await connection.recv()
            reader = asyncio.create_task(connection.recv())
            await asyncio.sleep(0)
            await cancel(reader)
            goes_on.set()
            await asyncio.to_thread(is_read.wait, 60)
            await (await connection.ping())  # what came before its pong has come, too
            return str(message)

    with web_socket_server(speak) as provider, aquila.use_cassette("x", transport="record"):
        assert asyncio.run(leave(f"{provider.url}/v1/responses")) == "read"
    assert received_in(root) == [[b"read"]]


def test_what_a_later_reader_is_given_is_recorded(root: Path) -> None:
    def speak(connection: Any) -> None:
        connection.recv(60)
        connection.send("one")
        connection.send("two")
        connection.recv(60)

    async def read_again(url: str) -> list[str]:
        async with connect(url) as connection:
            reader = asyncio.create_task(connection.recv())
            await asyncio.sleep(0)
            await cancel(reader)
            await connection.send("go on")
            return ["".join([str(part) async for part in connection.recv_streaming()]), str(await connection.recv())]

    with web_socket_server(speak) as provider, aquila.use_cassette("x", transport="record"):
        assert asyncio.run(read_again(f"{provider.url}/v1/responses")) == ["one", "two"]
    assert received_in(root) == [[b"one", b"two"]]
