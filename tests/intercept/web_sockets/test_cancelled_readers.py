"""A reader that is cancelled while a recording writes what it has received: the message is for the next one."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
import warnings
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import connect

import aquila
from tests.intercept.web_sockets.conftest import HeldWriting
from tests.support.web_sockets import web_socket_server


@contextlib.asynccontextmanager
async def in_websockets(url: str) -> AsyncIterator[Callable[[], Any]]:
    async with connect(url) as connection:
        yield connection.recv


@contextlib.asynccontextmanager
async def in_legacy_websockets(url: str) -> AsyncIterator[Callable[[], Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        legacy: Any = importlib.import_module("websockets.legacy.client")
    async with legacy.connect(url) as connection:
        yield connection.recv


@contextlib.asynccontextmanager
async def in_aiohttp(url: str) -> AsyncIterator[Callable[[], Any]]:
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        yield socket.receive_str


@pytest.mark.parametrize("client", [in_websockets, in_legacy_websockets, in_aiohttp])
def test_a_message_is_read_by_the_next_one(client: Any, root: Path, held_writing: HeldWriting) -> None:
    is_read = threading.Event()

    def speak(connection: Any) -> None:
        is_read.wait(60)
        for number in range(2):
            connection.send(f'{{"type":"response.done","number":{number}}}')
        connection.recv(60)

    async def read(url: str) -> list[str]:
        async with client(url) as receive:
            reader = asyncio.create_task(receive())
            await asyncio.sleep(0)
            is_read.set()
            await asyncio.to_thread(held_writing.is_writing.wait, 60)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            held_writing.may_write.set()
            return [await asyncio.wait_for(receive(), 60) for _ in range(2)]

    with web_socket_server(speak) as provider, aquila.use_cassette("x", transport="record"):
        got = asyncio.run(read(f"{provider.url}/v1/realtime"))
    assert [message[-2] for message in got] == ["0", "1"]
