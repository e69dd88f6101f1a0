"""One server of many protocols over WebSockets, which says the same in each: see ``tests/wild/protocols``.

What it is told decides what it does, so that a program with another prompt gets the same:

- "Fail." is answered with an error of the protocol, and the conversation goes on;
- "Break off." breaks the connection in the midst of an answer;
- "Close." closes it in the midst of an answer, with 1011.

A handshake whose path has "refused" in it is refused with 401.
"""

from __future__ import annotations

from typing import Any

from tests.support.web_sockets import break_off
from tests.wild.sockets.protocols import live, realtime, responses

PROTOCOLS = {
    "/v1/responses": responses.speak,
    "/v1/realtime": realtime.speak,
    "/ws/google.ai.generativelanguage.": live.speak,
}
"""The beginnings of paths, and what speaks there."""


def speak(connection: Any) -> None:
    """Speak over one connection until it ends."""
    path = f"/{connection.request.path.lstrip('/')}"  # google-genai asks for //ws/...
    speak = next(speak for beginning, speak in PROTOCOLS.items() if path.startswith(beginning))
    speak(connection, _let_happen)


def refuse(connection: Any, request: Any) -> Any:
    """Refuse a handshake, or return None."""
    if "refused" not in request.path:
        return None
    return connection.respond(401, '{"error": {"message": "no such key", "type": "invalid_request_error"}}')


def _let_happen(connection: Any, said: str) -> None:
    """Let happen what a client has asked for, in the midst of an answer."""
    if "Break off." in said:
        break_off(connection)
    elif "Close." in said:
        connection.close(1011, "the model has crashed")
    else:
        return
    connection.recv(0)  # raises that it is closed
