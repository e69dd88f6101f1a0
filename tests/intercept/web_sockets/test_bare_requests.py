"""A program that shakes hands through httpx2 itself, and then speaks over the bare connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.client import ClientProtocol
from websockets.protocol import State
from websockets.uri import parse_uri

import aquila
from aquila.errors import CassetteMiss
from tests.support.web_sockets import web_socket_server

HEADERS = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
    "sec-websocket-extensions": "permessage-deflate",
}


def say(url: str, message: str) -> str:
    protocol: Any = ClientProtocol(parse_uri("ws://localhost/"), state=State.OPEN)
    with httpx2.Client(trust_env=False) as client, client.stream("GET", url, headers=HEADERS) as response:
        assert response.status_code == 101
        stream = response.extensions["network_stream"]
        protocol.send_text(message.encode())
        stream.write(b"".join(protocol.data_to_send()))
        while not (events := protocol.events_received()):
            protocol.receive_data(stream.read(65536, 60))
        stream.close()
    return bytes(events[0].data).decode()


def test_it_is_recorded_and_replayed_too(root: Path) -> None:
    with web_socket_server(lambda connection: connection.send(connection.recv(60)) or connection.recv(60)) as provider:
        url = provider.url.replace("ws://", "http://") + "/v1/realtime"
        with aquila.use_cassette("x", transport="record"):
            assert say(url, "hello") == "hello"
    with aquila.use_cassette("x"):
        assert say(url, "hello") == "hello"
    with aquila.use_cassette("x"), pytest.raises(CassetteMiss):
        say(url, "good morning")
