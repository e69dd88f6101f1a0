"""A sender that is cancelled before its message is on the wire: the conversation goes on as it did then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx_ws

import aquila
from tests.support.web_sockets import web_socket_server


def test_a_message_that_was_cancelled_on_its_way_holds_up_no_answer(root: Path) -> None:
    def speak(connection: Any) -> None:
        connection.send(connection.recv(60).upper())
        connection.recv(60)

    async def talk(url: str) -> str:
        async with httpx.AsyncClient(trust_env=False) as client, httpx_ws.aconnect_ws(url, client) as session:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await session.send_text("one")
            await session.send_text("two")
            return await session.receive_text()

    with web_socket_server(speak) as provider:
        url = f"{provider.url}/v1/realtime"
        with aquila.use_cassette("x", transport="record"):
            assert anyio.run(talk, url) == "TWO"
    with aquila.use_cassette("x", silence=1) as cassette:
        assert anyio.run(talk, url) == "TWO"
        assert cassette.all_played
