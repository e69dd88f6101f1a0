"""``aquila serve`` ends, or is killed, during a conversation over a WebSocket."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection

from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.cassettes.web_socket_frames.frame import Frame, read_frames
from aquila.recording.storing.interrupted_runs import find_waiting_recordings, recover_journals
from tests.cli.test_serve import command
from tests.support.web_sockets import web_socket_server

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")

TURNS = 3
DONE = '{"type": "response.done"}'


@pytest.fixture
def provider(root: Path) -> Iterator[Any]:
    def speak(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(f'{{"type": "response.delta", "delta": "to {message!r}"}}')
            if message != "unanswered":
                connection.send(DONE)

    with web_socket_server(speak) as running:
        yield SimpleNamespace(url=running.url.replace("ws", "http", 1))


def said(root: Path) -> list[str]:
    (stored,) = load_cassette(root / "x.yaml").interactions
    assert (stored.kind, stored.response.status, stored.response.end) == ("websocket", 101, "closed")
    return [each.data.decode() for each in read_frames(stored.response.chunks) if isinstance(each, Frame) and each.sent]


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_no_finished_turn_is_lost(how: signal.Signals, provider: Any, root: Path, tmp_path: Path) -> None:
    with command(provider, tmp_path, "--record") as running:
        with connect(f"ws{running.url.removeprefix('http')}/realtime") as connection:
            for number in range(TURNS):
                connection.send(f"question {number}")
                while connection.recv(60) != DONE:
                    pass
            connection.send("unanswered")
            connection.recv(60)
            running.process.send_signal(how)
            printed, logged = running.process.communicate(timeout=240)
            with contextlib.suppress(ConnectionClosed):
                connection.recv(60)
        assert connection.close_code == (1001 if how is signal.SIGTERM else 1006)
    questions = [f"question {number}" for number in range(TURNS)]
    if how is signal.SIGTERM:
        assert (running.process.returncode, printed.strip()) == (0, "1 recorded")
        assert "GET /v1/realtime 101 recorded, server ended " in logged
        assert said(root) == [*questions, "unanswered"]
        return
    assert find_waiting_recordings(root) == [("x", 1)]
    assert recover_journals(root).failures == []
    assert said(root)[:TURNS] == questions
