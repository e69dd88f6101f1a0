"""A client that a module has made is used in the event loops of many tests, one after the other."""

from __future__ import annotations

import asyncio
import functools
import gc
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest

import aquila
from aquila.intercept.http_clients import httpx_clients
from tests.support.clients import body
from tests.support.runs import separate_run
from tests.support.server import Answer, serving


@pytest.mark.parametrize(("made", "under_pytest"), [("before", True), ("within", True), ("before", False)])
@pytest.mark.parametrize("library", [httpx2, httpx], ids=lambda library: library.__name__)
def test_an_async_client_records_in_one_event_loop_after_another(
    library: Any, made: str, under_pytest: bool, tmp_path: Path
) -> None:
    """The server keeps connections open, as providers do. In another loop one that was kept could not be used."""
    client = library.AsyncClient() if made == "before" else None

    async def ask(url: str, prompt: str) -> str:
        assert client is not None
        answers = await asyncio.gather(*(client.post(url, json=body(f"{prompt} {number}")) for number in range(3)))
        async with client.stream("POST", url, json=body(prompt)) as stream:
            return "".join([answer.text for answer in answers] + [text async for text in stream.aiter_text()])

    answering = serving(by=lambda seen: Answer([b"said ", b"so;"]))
    with separate_run(tmp_path, under_pytest=under_pytest), answering as server:
        for prompt in ("one", "two", "three"):
            with aquila.use_cassette(prompt, transport="record"):
                client = library.AsyncClient() if client is None else client
                assert asyncio.run(ask(f"{server.url}/chat/completions", prompt)) == "said so;" * 4
    assert len(server.seen) == 12


@pytest.mark.parametrize("library", [httpx2, httpx], ids=lambda library: library.__name__)
def test_a_client_of_an_application_keeps_connections_open_again_when_the_patches_are_undone(library: Any) -> None:
    class Sender:
        @staticmethod
        async def send(transport: Any, request: None) -> None:
            limits.append(transport._pool._max_keepalive_connections)

    transport, limits = library.AsyncHTTPTransport(), []
    limits.append(transport._pool._max_keepalive_connections)
    patch = httpx_clients.AsyncPatch(Sender, "send", lambda patch, send: functools.partial(patch.send, send))
    for _ in range(2):
        asyncio.run(Sender.send(transport, None))
    patch.undo()
    limits.append(transport._pool._max_keepalive_connections)
    assert limits == [limits[0], 0, 0, limits[0]]
    assert limits[0] > 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # nobody can close that connection
@pytest.mark.parametrize("library", [httpx2, httpx], ids=lambda library: library.__name__)
def test_connections_that_an_ended_loop_kept_open_for_something_else_are_in_nobodys_way(
    library: Any, tmp_path: Path
) -> None:
    async def ask(client: Any, url: str) -> str:
        text: str = (await client.post(url, json=body("hi"))).text
        return text

    with (
        separate_run(tmp_path, under_pytest=True),
        serving(by=lambda seen: Answer([b"not recorded"])) as other,
        serving(by=lambda seen: Answer([b"recorded"])) as server,
    ):
        client = library.AsyncClient()
        assert asyncio.run(ask(client, f"{other.url}/weather")) == "not recorded"
        with aquila.use_cassette("x", transport="record"):
            assert asyncio.run(ask(client, f"{server.url}/chat/completions")) == "recorded"
    del client
    gc.collect()
