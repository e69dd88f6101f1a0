"""What the protocols over WebSockets have in common: they read messages, and tell answers in messages."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from aquila.cassettes.frames.frame import Close, Frame
from aquila.cassettes.model import RecordedRequest, RecordedResponse
from aquila.wire_forms.answer import compact_json

Value = dict[str, Any]


class NotUnderstood(ValueError):
    """A message of a client that is not part of a protocol, or asks for what no written answer can express."""


@dataclass(frozen=True, slots=True)
class Question:
    """A message that asks the model to answer.

    ``request`` is what it asks, as it would be sent without a WebSocket. ``write`` tells the answer to that in
    messages, and the close that may end them; it changes nothing. What belongs to the same ``lane`` comes one after the
    other, lanes are independent.
    """

    request: RecordedRequest
    write: Callable[[RecordedResponse], Sequence[Frame | Close]]
    lane: str | None = None


class ConversationForm(ABC):
    """The provider's side of one conversation in a protocol: what it knows of it, and no answers."""

    name: ClassVar[str]
    """Its name in messages, such as ``OpenAI Realtime``."""
    tells_events: ClassVar[bool] = False
    """Whether an answer is told in the events of a stream as it would come without a WebSocket."""

    def __init__(self, handshake: RecordedRequest) -> None:
        self.handshake = handshake

    def greet(self) -> list[Frame]:
        """Return what the provider says unasked, when the conversation begins."""
        return []

    @abstractmethod
    def ask(self, value: Value) -> RecordedRequest:
        """Return the request for what is asked with the JSON ``value``."""

    @abstractmethod
    def take(self, message: Value) -> Question | list[Frame]:
        """Take a message of the client: it asks something, or is answered at once. Raises ``NotUnderstood``."""

    def note_answer(self, frames: Sequence[Frame]) -> None:  # noqa: B027  most need not know
        """Take note of what will be told of an answer."""

    @abstractmethod
    def write_failure(self, *, stream_id: str | None = None) -> Frame | None:
        """Return how the provider says in the midst of an answer that it has failed, None if it cannot say so."""

    def cancel(self, message: Value, untold: Sequence[Frame]) -> list[Frame]:
        """Return the frames to send in place of ``untold`` where a message ``cancels`` an answer among them.

        The times of both are milliseconds from now.
        """
        raise NotImplementedError

    def cancels(self, message: Value) -> bool:
        """Whether a message ends the answer that is being told."""
        return False


def read_message(data: bytes) -> Value:
    """Return the JSON object that a message is. Raises ``NotUnderstood``."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise NotUnderstood("the message is no JSON object")
    return value


def write_message(value: object, at: int = 0) -> Frame:
    """Return the message of a provider that is a JSON value."""
    return Frame(compact_json(value).encode(), sent=False, at=at)


def read_events(response: RecordedResponse) -> Iterator[tuple[Value, int]]:
    """Yield the JSON of each event of an answer that is written as a stream of them, and when it comes."""
    for chunk in response.chunks:
        for line in chunk.data.split(b"\n"):
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: ")), chunk.at


def read_error(response: RecordedResponse) -> Value:
    """Return what an answer with an error status says: the object under ``error``, and its header fields."""
    try:
        body = json.loads(response.body)
    except (ValueError, RecursionError):
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {"type": "server_error", "message": f"status {response.status}"}
