"""Equal requests that a program makes at once get their recordings in the order in which they were made."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import uvloop
from websockets.asyncio.client import connect as connect_async
from websockets.sync.client import connect

import aquila
from aquila.transports.routes.opening_turns import open_in_turn
from tests.support.upstream import Answer, upstream
from tests.support.web_sockets import web_socket_server

COUNT = 20
"""So many that they are hardly in order by chance."""

BODY = {"model": "m", "messages": [{"role": "user", "content": "again"}]}

Ask = Callable[[Any, str], Awaitable[int]]


async def ask_by_httpx(client: Any, url: str) -> int:
    return int((await client.post(url, json=BODY)).json()["number"])


async def ask_by_aiohttp(client: Any, url: str) -> int:
    async with client.post(url, json=BODY) as response:
        return int((await response.json())["number"])


@pytest.mark.parametrize(
    ("make_client", "ask"),
    [
        pytest.param(lambda: httpx.AsyncClient(trust_env=False), ask_by_httpx, id="httpx"),
        pytest.param(aquila.async_http_client, ask_by_httpx, id="a client of Aquila's"),
        pytest.param(aiohttp.ClientSession, ask_by_aiohttp, id="aiohttp"),
    ],
)
def test_requests_are_answered_in_their_order(make_client: Callable[[], Any], ask: Ask, root: Path) -> None:
    numbers = itertools.count()

    def answer(path: str, body: bytes) -> Answer:
        return Answer(chunks=[json.dumps({"number": next(numbers)}).encode()])

    with (
        upstream(answer) as server,
        aquila.use_cassette("x", transport="record"),
        httpx.Client(trust_env=False) as client,
    ):
        for _ in range(COUNT):
            client.post(f"{server.url}/v1/chat/completions", json=BODY)

    async def ask_at_once() -> list[int]:
        async with make_client() as client:
            return await asyncio.gather(*[ask(client, f"{server.url}/v1/chat/completions") for _ in range(COUNT)])

    with aquila.use_cassette("x", transport="replay"):
        assert asyncio.run(ask_at_once()) == list(range(COUNT))


def run_on_uvloop(coroutine: Coroutine[Any, Any, Any]) -> Any:
    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)  # so that no Python function calls the tasks
    finally:
        loop.close()


@pytest.mark.parametrize("run", [asyncio.run, run_on_uvloop])
def test_each_task_gets_the_answer_that_it_got_when_it_asked_again_by_itself(
    run: Callable[[Coroutine[Any, Any, Any]], Any], root: Path
) -> None:
    """In a replay nobody waits, so the tasks ask in another order than they did when they were recorded."""
    numbers = itertools.count()

    def answer(path: str, body: bytes) -> Answer:
        number = next(numbers)
        return Answer(429 if number < 2 else 200, chunks=[json.dumps({"number": number}).encode()])

    async def ask_all(url: str, *, in_turn: bool) -> list[int]:
        is_answered = asyncio.Event()

        async def ask(client: httpx.AsyncClient) -> int:
            for _ in range(2):
                response = await client.post(f"{url}/v1/chat/completions", json=BODY)
                if response.status_code == 200:
                    is_answered.set()
                    return int(response.json()["number"])
                if in_turn:
                    await is_answered.wait()
            raise AssertionError("refused twice")

        async with httpx.AsyncClient(trust_env=False) as client:
            return await asyncio.gather(*[ask(client) for _ in range(3)])

    with upstream(answer) as server:
        with aquila.use_cassette("x", transport="record"):
            recorded = run(ask_all(server.url, in_turn=True))
        for in_turn in (False, True):
            with aquila.use_cassette("x", transport="replay"):
                assert run(ask_all(server.url, in_turn=in_turn)) == recorded


def test_conversations_are_answered_in_their_order(root: Path) -> None:
    numbers = itertools.count()

    def speak(connection: Any) -> None:
        connection.recv(60)
        connection.send(str(next(numbers)))
        connection.recv(60)

    with web_socket_server(speak) as server, aquila.use_cassette("x", transport="record"):
        for _ in range(COUNT):
            with connect(f"{server.url}/v1/responses") as connection:
                connection.send("again")
                connection.recv(60)

    async def ask() -> int:
        async with connect_async(f"{server.url}/v1/responses") as connection:
            await connection.send("again")
            return int(await connection.recv())

    async def ask_at_once() -> list[int]:
        return await asyncio.gather(*[ask() for _ in range(COUNT)])

    with aquila.use_cassette("x", transport="replay"):
        assert asyncio.run(ask_at_once()) == list(range(COUNT))


def test_a_request_does_not_overtake_one_that_came_before_the_cassette_was_open() -> None:
    order: list[str] = []
    is_open, may_go_on = threading.Event(), threading.Event()

    def read() -> None:
        is_open.set()
        may_go_on.wait(60)

    async def ask(name: str) -> None:
        await open_in_turn(read, is_open.is_set)
        order.append(name)

    async def ask_all() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ask("first"))
            await asyncio.to_thread(is_open.wait, 60)
            may_go_on.set()
            await ask("second")

    asyncio.run(ask_all())
    assert order == ["first", "second"]


def test_no_event_loop_is_needed_while_the_cassette_is_open() -> None:
    """As for a program that drives its coroutines by hand."""
    with pytest.raises(StopIteration, match="opened"):
        open_in_turn(lambda: "opened", lambda: True).send(None)
