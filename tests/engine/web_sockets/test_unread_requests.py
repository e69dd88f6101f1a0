"""A provider that does not read what a call over a WebSocket sends: the call can be left all the same."""

from __future__ import annotations

import contextlib
import select
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aquila
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import StreamClosed, StreamTimeout
from tests.support.engines import KEY, Engine, live
from tests.support.responses_over_sockets import SocketProvider, over_socket
from tests.support.runs import separate_run
from tests.support.web_sockets import web_socket_server

LARGE = "x" * 12_000_000
"""More than a connection holds whose other side does not read."""


@contextlib.contextmanager
def reading_nothing() -> Iterator[tuple[SocketProvider, threading.Event]]:
    """A provider that reads no message, and an event: one is being sent to it."""
    is_sending, is_over = threading.Event(), threading.Event()

    def speak(connection: Any) -> None:
        with connection.protocol_mutex:  # without which its thread stops reading
            select.select([connection.socket], [], [], 60)
            is_sending.set()
            is_over.wait(60)

    provider = SocketProvider(())
    with web_socket_server(speak) as provider.server:
        try:
            yield provider, is_sending
        finally:
            is_over.set()


def test_a_time_limit_ends_the_sending(engine: Engine) -> None:
    with reading_nothing() as (provider, _), pytest.raises(StreamTimeout, match="idle"):
        timeouts = aquila.Timeouts(idle=0.2)
        engine.ask(LARGE, timeout=timeouts, max_retries=0, **over_socket(provider))


def test_another_thread_that_closes_the_stream_ends_the_sending() -> None:
    with reading_nothing() as (provider, is_sending):
        stream = aquila.stream(LARGE, sink=aquila.Sink.collector(), **live(over_socket(provider)))
        assert is_sending.wait(60)
        stream.close()
        with pytest.raises(StreamClosed):
            stream.result(timeout=60)


@pytest.mark.slow
def test_a_recording_says_that_it_was_left(tmp_path: Path) -> None:
    with separate_run(tmp_path), reading_nothing() as (provider, is_sending):
        options = over_socket(provider, transport="record", api_key=KEY, model="m", cassette="x")
        stream = aquila.stream(LARGE, sink=aquila.Sink.collector(), **options)
        assert is_sending.wait(60)
        stream.close()
        with pytest.raises(StreamClosed):
            stream.result(timeout=60)
    (path,) = (tmp_path / "cassettes").glob("x*.yaml")
    (stored,) = load_cassette(path).interactions
    assert stored.response.end == "closed"
