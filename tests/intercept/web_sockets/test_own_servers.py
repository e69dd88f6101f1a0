"""A program's own WebSocket server on this machine: which connections to it a cassette answers."""

from __future__ import annotations

from typing import Any

import pytest

import tests.support.preloaded  # noqa: F401
from tests.support.web_sockets import WebSocketProvider, web_socket_server

TEST = """
from websockets.sync.client import connect

def ask(path):
    with connect({url!r} + path) as connection:
        return connection.recv()

def test_chat({fixture}):
    assert ask("/chat") == "hello"

def test_model({fixture}):
    assert ask("/v1/realtime") == "hello"
"""


def run(pytester: pytest.Pytester, server: WebSocketProvider, fixture: str, *arguments: str) -> dict[str, str]:
    """Say what became of each test."""
    pytester.makepyfile(test_it=TEST.format(url=server.url, fixture=fixture))
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist", "-rA", *arguments)
    rows = [line.split(" ") for line in result.outlines if line.startswith(("PASSED ", "FAILED "))]
    return {row[1].rpartition("::")[2]: row[0].lower() for row in rows}


@pytest.mark.parametrize(
    ("fixture", "loopback", "chat", "model"),
    [
        ("aquila_cassette", "models", "passed", "failed"),
        ("aquila_cassette", "all", "failed", "failed"),
        ("aquila_cassette", "none", "passed", "passed"),
        ("", "models", "passed", "passed"),
        ("", "all", "passed", "passed"),
    ],
)
def test_a_cassette_answers_what_the_setting_says_and_the_server_the_rest(
    fixture: str, loopback: str, chat: str, model: str, pytester: pytest.Pytester
) -> None:
    def speak(connection: Any) -> None:
        connection.send("hello")
        connection.recv(60)

    with web_socket_server(speak) as server:
        found = run(pytester, server, fixture, "-o", f"aquila_loopback={loopback}")
        let_through = [path for path, came in (("/chat", chat), ("/v1/realtime", model)) if came == "passed"]
        assert server.paths == let_through
    assert found == {"test_chat": chat, "test_model": model}
    assert not list(pytester.path.rglob("*.yaml"))
