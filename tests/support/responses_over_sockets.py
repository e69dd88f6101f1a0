"""A provider of the Responses API over WebSockets that sends the answers of a test.

Each request gets the next answer, whatever its connection is::

    with answering(responses_events("Hi"), error_event(429), break_off) as provider:
        engine.ask("Hi", **over_socket(provider))
        assert provider.asked == [...]
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

from websockets.exceptions import ConnectionClosed

from tests.support.provider import call_item, responses_events
from tests.support.web_sockets import WebSocketProvider, web_socket_server

SocketAnswer: TypeAlias = Sequence[dict[str, Any]] | Callable[[Any], object]
"""The events to send, or a function that answers over the connection."""


class SocketProvider:
    """The running provider: its requests, its connections, and how the connections have ended."""

    def __init__(self, answers: Sequence[SocketAnswer]) -> None:
        self._answers = iter(answers)
        self.asked: list[dict[str, Any]] = []
        self.closed: list[int | None] = []
        """The close code of each connection that has ended; None for a connection that ended without a close."""
        self.ended = threading.Event()
        self.server: WebSocketProvider

    @property
    def url(self) -> str:
        return self.server.url.replace("ws:", "http:") + "/v1"

    @property
    def connections(self) -> int:
        return len(self.server.paths)

    def speak(self, connection: Any) -> None:
        try:
            while True:
                self.asked.append(json.loads(connection.recv(60)))
                answer = next(self._answers)
                if callable(answer):
                    answer(connection)
                else:
                    say(connection, answer)
        except ConnectionClosed as closed:
            self.closed.append(closed.rcvd.code if closed.rcvd else None)
        except StopIteration:
            connection.close(4000, "the test has no more answers")
            raise
        finally:
            self.ended.set()


def say(connection: Any, events: Sequence[dict[str, Any]]) -> None:
    for event in events:
        connection.send(json.dumps(event))


def then(events: Sequence[dict[str, Any]], end: Callable[[Any], object]) -> Callable[[Any], None]:
    """An answer that sends ``events`` and then calls ``end`` with the connection."""

    def answer(connection: Any) -> None:
        say(connection, events)
        end(connection)

    return answer


def close_with(code: int) -> Callable[[Any], None]:
    return lambda connection: connection.close(code, "so it is")


def fall_silent(connection: Any) -> None:
    """Send nothing until the client leaves."""
    connection.recv(60)


def called(*names_and_arguments: tuple[str, str], id: str = "resp_1") -> list[dict[str, Any]]:
    """An answer that calls tools."""
    items = [call_item(name, arguments, f"call_{id}_{n}") for n, (name, arguments) in enumerate(names_and_arguments)]
    return responses_events(items=items, id=id)


def error_event(status: int | None, code: str = "", message: str = "no", **more: Any) -> list[dict[str, Any]]:
    """An error as the Responses API sends it over a WebSocket."""
    error = {"type": "invalid_request_error", "code": code or None, "message": message, "param": None, **more}
    return [{"type": "error", "error": error} | ({} if status is None else {"status": status})]


@contextlib.contextmanager
def answering(*answers: SocketAnswer) -> Iterator[SocketProvider]:
    provider = SocketProvider(answers)
    with web_socket_server(provider.speak) as provider.server:
        yield provider


class HasUrl(Protocol):
    @property
    def url(self) -> str: ...


def over_socket(provider: HasUrl, **options: Any) -> dict[str, Any]:
    return {"endpoint": "responses", "websocket": True, "base_url": provider.url, **options}
