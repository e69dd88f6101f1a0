"""``WebSocketApp`` of websocket-client: it is run for ever, and calls the program when something happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import websocket

import aquila
from aquila.errors import CassetteMiss
from tests.support.web_sockets import web_socket_provider


def speak(connection: Any) -> None:
    for message in connection:
        connection.send(f"to {message}")


def talk(*, second: bool = True) -> list[Any]:
    """Two questions, each asked when something has happened. Return what was called."""
    calls: list[Any] = []

    def hear(app: websocket.WebSocketApp, message: str) -> None:
        calls.append(message)
        if len(calls) == 2:
            app.close()
        elif second:
            app.send("second")

    app = websocket.WebSocketApp(
        "wss://api.openai.com/v1/realtime",
        on_open=lambda app: app.send("first"),
        on_message=hear,
        on_error=lambda app, error: calls.append(error),
    )
    app.run_forever()
    return calls


def test_callbacks_are_called_as_they_were_recorded(root: Path) -> None:
    with web_socket_provider("api.openai.com", speak=speak), aquila.use_cassette("x", transport="record"):
        recorded = talk()
    with aquila.use_cassette("x") as cassette:
        assert talk() == recorded == ["to first", "to second"]
        assert cassette.all_played


def test_an_application_that_waits_in_vain_is_told_what_the_recording_waits_for(root: Path) -> None:
    with web_socket_provider("api.openai.com", speak=speak), aquila.use_cassette("x", transport="record"):
        talk()
    with aquila.use_cassette("x", silence=0.1), pytest.raises(CassetteMiss, match="> second"):
        raise next(call for call in talk(second=False) if isinstance(call, Exception))
