"""The libraries are patched while somebody needs it, whoever bound their names, and are as they were afterwards."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import websockets.asyncio.client

import aquila
from aquila.intercept.patching import ImportHooks, PatchSet
from aquila.intercept.web_sockets.clients import WebSocketClients
from tests.support.web_socket_clients import CLIENTS
from tests.support.web_sockets import web_socket_server


def test_names_that_were_bound_before_are_caught(root: Path) -> None:
    """As where openai has subclassed ``connect`` in an earlier test."""
    connecting = websockets.asyncio.client.connect

    class Subclass(connecting):  # type: ignore[misc, valid-type]
        pass

    async def talk(url: str) -> Any:
        async with Subclass(url) as connection:
            return await connection.recv()

    with web_socket_server(lambda connection: connection.send("hello") or connection.recv(60)) as provider:
        url = provider.url + "/v1/realtime"
        with aquila.use_cassette("x", transport="record"):
            asyncio.run(talk(url))
    with aquila.use_cassette("x"):
        assert asyncio.run(talk(url)) == "hello"


PROGRAM = """
import asyncio, sys
import aquila

def contents():
    # What is imported within stays as it is made there. What was imported before is as it was.
    client, threads = sys.modules["websockets.asyncio.client"], sys.modules["websockets.sync.client"]
    return [dict(vars(client.connect)), dict(vars(getattr(threads, "reconnect", object))), threads.connect.__code__]

early = sys.argv[2] == "early"
if early:
    import websockets.asyncio.client, websockets.sync.client
    before = contents()
with aquila.use_cassette("x"):
    import websockets.asyncio.client, websockets.sync.client
    class Subclass(websockets.asyncio.client.connect):
        pass
    async def talk():
        async with Subclass(sys.argv[1]) as connection:
            print(await connection.recv())
    asyncio.run(talk())
    with websockets.sync.client.connect(sys.argv[1]) as connection:
        print(connection.recv())
    within = contents()
if early:
    assert within != before
    assert contents() == before
assert contents() != within
"""


@pytest.mark.parametrize("when", ["early", "late"])
@pytest.mark.slow
def test_clients_are_caught_whenever_they_are_imported_and_left_as_they_were(when: str, root: Path) -> None:
    with web_socket_server(lambda connection: connection.send("hello") or connection.recv(60)) as provider:
        url = provider.url + "/v1/realtime"
        with aquila.use_cassette("x", transport="record"):
            for connect in ("websockets in a loop", "websockets in threads"):
                with CLIENTS[connect](url) as talk:
                    talk.recv()
                    talk.close()
    program = [sys.executable, "-W", "error", "-c", PROGRAM, url, when]
    # Not as a child of this run, which would be guarded.
    surroundings = {name: value for name, value in os.environ.items() if name != "AQUILA_RUN"}
    surroundings["AQUILA_CASSETTE_DIR"] = str(root)
    done = subprocess.run(program, capture_output=True, text=True, env=surroundings, timeout=300, check=False)
    assert done.stdout.split() == ["hello", "hello"], done.stderr
    assert not done.returncode, done.stderr


def test_a_version_without_a_method_that_connects_is_left_to_the_guard() -> None:
    """As 13.0 is, which came before the oldest that is caught."""
    module: Any = ModuleType("websockets.asyncio.client")
    module.connect = type("connect", (), {})
    assert list(WebSocketClients(PatchSet(ImportHooks(), {})).patch_library(module)) == []
