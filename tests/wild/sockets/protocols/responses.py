"""OpenAI's Responses API over a WebSocket: the events of its streams, each a message."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.wild.protocols.conversation import Asked
from tests.wild.protocols.responses import list_events


def speak(connection: Any, mishap: Callable[[Any, str], None]) -> None:
    while True:
        text = connection.recv(60)
        asked = json.loads(text)
        if "Fail." in text:
            error = {"type": "server_error", "code": "model_busy", "message": "not now", "param": None}
            connection.send(json.dumps({"type": "error", "status": 503, "error": error}))
            continue
        first, *others = list_events(Asked("", asked, text))
        connection.send(json.dumps(first))
        mishap(connection, text)
        for event in others:
            connection.send(json.dumps(event))
