"""Connections that end in the midst of a conversation without a close of either side."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
import websocket

import aquila
from aquila.cassettes.model import RecordedResponse
from aquila.cassettes.storage.cassette_files import load_cassette
from tests.support.slow import slow_but
from tests.support.web_socket_clients import CLIENTS, Closed
from tests.support.web_sockets import Speak, web_socket_server


def say_hello_to(name: str, speak: Speak, root: Path) -> RecordedResponse:
    """Record a client that says hello and waits, and replay it: its connection must be lost in both."""

    def use(url: str) -> None:
        with CLIENTS[name](url) as talk:
            talk.send("hello")
            with pytest.raises((Closed, OSError)):
                talk.recv()

    with web_socket_server(speak, max_size=None) as provider:
        url = f"{provider.url}/v1/realtime"
        with aquila.use_cassette("x", transport="record"):
            use(url)
    with aquila.use_cassette("x"):
        use(url)
    (interaction,) = load_cassette(root / "x.yaml").interactions
    return interaction.response


def reset(connection: Any) -> None:
    connection.recv(60)
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # Linux resets nothing while a thread of the library reads from the socket. It takes the lock before it closes.
    with connection.protocol_mutex:
        connection.socket.shutdown(socket.SHUT_RD)
        connection.socket.close()


def say_too_much(connection: Any) -> None:
    connection.recv(60)
    connection.send("x" * 2**21)
    connection.recv(60)


@pytest.mark.parametrize("name", slow_but(["httpx-ws", "httpx-ws in a loop"], CLIENTS))
def test_a_connection_that_the_provider_resets_is_lost_again(name: str, root: Path) -> None:
    assert say_hello_to(name, reset, root).end == "broken"


def test_a_read_without_waiting_that_finds_nothing_is_no_loss(root: Path) -> None:
    may_answer = threading.Event()

    def speak(connection: Any) -> None:
        connection.recv(60)
        may_answer.wait(60)
        connection.send("hello yourself")
        connection.recv(60)

    def use(url: str) -> str | bytes:
        with contextlib.closing(websocket.create_connection(url, timeout=60)) as client:
            client.send("hello")
            client.settimeout(0)
            try:
                return client.recv()
            except BlockingIOError:
                may_answer.set()
            client.settimeout(60)
            return client.recv()

    with web_socket_server(speak) as provider:
        url = f"{provider.url}/v1/realtime"
        with aquila.use_cassette("x", transport="record"):
            assert use(url) == "hello yourself"
    with aquila.use_cassette("x"):
        assert use(url) == "hello yourself"


@pytest.mark.parametrize("name", [name for name in CLIENTS if name.startswith("websockets")])
def test_a_connection_that_the_library_ends_for_too_large_a_message_is_lost_again(name: str, root: Path) -> None:
    """The close is none of the program's."""
    assert say_hello_to(name, say_too_much, root).end == "broken"
