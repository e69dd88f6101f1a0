"""What the protocols over WebSockets share: reading messages, and writing answers as messages."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from aquila.cassettes.model import RecordedRequest, RecordedResponse
from aquila.cassettes.web_socket_frames.frame import Close, Frame
from aquila.wire_forms.answer import compact_json
from aquila.wire_forms.sent import parse_json

Value = dict[str, Any]


class NotUnderstood(ValueError):
    """A client's message does not belong to the protocol, or asks for something that no scripted answer can express."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question: a message that asks the model for an answer.

    ``request`` is the question as it would be sent over plain HTTP. ``write`` turns the answer to that into messages,
    and a close that may end them; it has no side effects. Answers in the same ``lane`` follow each other; lanes are
    independent.
    """

    request: RecordedRequest
    write: Callable[[RecordedResponse], Sequence[Frame | Close]]
    lane: str | None = None


class ConversationForm(ABC):
    """The provider's side of one conversation in a protocol: its state, but not the answers.

    An object belongs to one conversation, and is used by one thread or task at a time.
    """

    name: ClassVar[str]
    """The name for error messages, such as ``OpenAI Realtime``."""
    answers_in_events: ClassVar[bool] = False
    """Whether the messages of an answer are the events that it would have as a stream over HTTP."""

    def __init__(self, handshake: RecordedRequest) -> None:
        self.handshake = handshake

    def greet(self) -> list[Frame]:
        """Return the messages that the provider sends when the conversation begins."""
        return []

    @abstractmethod
    def ask(self, value: Value) -> RecordedRequest:
        """Return the HTTP request for a question with the JSON ``value``."""

    @abstractmethod
    def take(self, message: Value) -> Question | list[Frame]:
        """Read a message of the client.

        Returns its question, or the messages that answer it. Raises ``NotUnderstood``.
        """

    def note_answer(self, frames: Sequence[Frame]) -> None:  # noqa: B027 - most protocols need not know
        """Note the messages of an answer that will be sent, so that later questions include it."""

    @abstractmethod
    def write_failure(self, *, stream_id: str | None = None) -> Frame | None:
        """Return the message by which the provider reports a failure within an answer; None if it has none."""

    def cancel(self, message: Value, undelivered: Sequence[Frame]) -> list[Frame]:
        """Return the frames that replace the ``undelivered`` ones after a ``message`` that cancels an answer.

        The times of both are milliseconds from now.
        """
        raise NotImplementedError

    def cancels(self, message: Value) -> bool:
        """Whether a message cancels the answer that is being sent."""
        return False


def read_message(data: bytes) -> Value:
    """Return the JSON object in a message. Raises ``NotUnderstood`` if it holds anything else."""
    try:
        value = parse_json(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise NotUnderstood("the message is no JSON object")
    return value


def write_message(value: object, at: int = 0) -> Frame:
    """Return a JSON value as a message of the provider. ``at`` is its time in milliseconds."""
    return Frame(compact_json(value).encode(), sent=False, at=at)


def read_events(response: RecordedResponse) -> Iterator[tuple[Value, int]]:
    """Yield the JSON of each event in a streamed answer that was written here, and its time in milliseconds."""
    for chunk in response.chunks:
        for line in chunk.data.split(b"\n"):
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: ")), chunk.at


def read_error(response: RecordedResponse) -> Value:
    """Return the object under ``error`` in an answer with an error status; a made-up one if it has none."""
    try:
        body = json.loads(response.body)
    except (ValueError, RecursionError):
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {"type": "server_error", "message": f"status {response.status}"}
