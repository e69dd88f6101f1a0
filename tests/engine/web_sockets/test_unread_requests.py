"""A call over a WebSocket can be cancelled although the provider does not read what it sends."""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from websockets.server import ServerProtocol

import aquila
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import ConnectionFailed, StreamClosed, StreamTimeout
from tests.support.accepting_server import AcceptingServer, read_request
from tests.support.engines import KEY, Engine, live
from tests.support.responses_over_sockets import over_socket
from tests.support.runs import separate_run

LARGE = "x" * 12_000_000
"""More than a connection holds whose other side does not read."""


class UnreadingProvider(AcceptingServer):
    """Accepts a handshake, and reads nothing after it. A library's server would: it reads ahead in a thread."""

    def __init__(self) -> None:
        super().__init__()
        self.is_sending = threading.Event()
        """A message is being sent to it."""
        self.then: Callable[[socket.socket], object] = lambda connection: self.over.wait(60)
        """What it does once a message is on its way."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def serve(self, connection: socket.socket) -> None:
        protocol = ServerProtocol()
        protocol.receive_data(read_request(connection) + b"\r\n\r\n")
        (handshake,) = protocol.events_received()
        protocol.send_response(protocol.accept(handshake))
        connection.sendall(b"".join(protocol.data_to_send()))
        select.select([connection], [], [], 60)
        self.is_sending.set()
        self.then(connection)


@pytest.fixture
def provider() -> Iterator[UnreadingProvider]:
    running = UnreadingProvider()
    running.listen()
    yield running
    running.close()


def test_a_time_limit_ends_the_sending(engine: Engine, provider: UnreadingProvider) -> None:
    with pytest.raises(StreamTimeout, match="idle"):
        engine.ask(LARGE, timeout=aquila.Timeouts(idle=0.2), max_retries=0, **over_socket(provider))


def test_a_provider_that_closes_while_a_message_is_sent_is_a_connection_error(
    engine: Engine, provider: UnreadingProvider
) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.sendall(b"\x88\x02" + struct.pack("!H", 1009))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1_000_000):  # so that what the client has kept leaves it after all
            pass

    provider.then = refuse
    with pytest.raises(ConnectionFailed, match="1009"):
        engine.ask(LARGE, max_retries=0, **over_socket(provider))


def test_closing_the_stream_from_another_thread_ends_the_sending(provider: UnreadingProvider) -> None:
    stream = aquila.stream(LARGE, sink=aquila.Sink.collector(), **live(over_socket(provider)))
    assert provider.is_sending.wait(60)
    stream.close()
    with pytest.raises(StreamClosed):
        stream.result(timeout=60)


@pytest.mark.slow
def test_the_recording_is_marked_as_closed_by_the_caller(tmp_path: Path, provider: UnreadingProvider) -> None:
    with separate_run(tmp_path):
        options = over_socket(provider, transport="record", api_key=KEY, model="m", cassette="x")
        stream = aquila.stream(LARGE, sink=aquila.Sink.collector(), **options)
        assert provider.is_sending.wait(60)
        stream.close()
        with pytest.raises(StreamClosed):
            stream.result(timeout=60)
    (path,) = (tmp_path / "cassettes").glob("x*.yaml")
    (stored,) = load_cassette(path).interactions
    assert stored.response.end == "closed"
