"""Requests and answers of the Responses API as messages of a WebSocket, and how a conversation goes on there.

Pure: messages in, events out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aquila.engine.calls.error_translation import ErrorContext, error_from_object, error_of_status
from aquila.engine.endpoints.protocol import EventParser, Turn
from aquila.errors import ConnectionFailed, ProviderError
from aquila.events import Event
from aquila.messages import Message

# ``stream`` exists over HTTP only; ``extra_body`` is the SDK's argument, whose fields are merged into the message.
_NOT_SENT = frozenset({"stream", "extra_body"})
# After one of these, OpenAI's protocol sends nothing more for a response.
_FINAL_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
# OpenAI keeps a response that is not stored only in the memory of its connection, which it closes after an hour.
_LOST_CODES = frozenset({"previous_response_not_found", "websocket_connection_limit_reached"})
"""Error codes for an earlier response that the provider no longer has, and for a connection past its time limit."""


def write_message(request: Mapping[str, Any]) -> str:
    """Return the ``response.create`` message for the arguments of ``responses.create``.

    Raises ``UnicodeEncodeError`` for text that holds half of a surrogate pair.
    """
    body = {name: value for name, value in request.items() if name not in _NOT_SENT}
    message = {"type": "response.create", **body, **(request.get("extra_body") or {})}
    text = json.dumps(message, ensure_ascii=False)
    # Fails for half of a surrogate pair, which would break the connection if it were sent.
    text.encode()
    return text


class SocketAnswer:
    """Reads one answer, event by event.

    ``begun``: the answer has begun, so its request must not be sent again. ``is_over``: its last event has arrived.
    ``headers``: the header fields that OpenAI puts into an error message, such as ``retry-after``; names in lower case.
    """

    def __init__(self, parser: EventParser, context: ErrorContext) -> None:
        self._parser = parser
        self._context = context
        self.begun = False
        self.is_over = False
        self.headers: Mapping[str, str] = {}

    def feed(self, message: Any) -> Sequence[Event]:
        """Return the events in a message of the provider. Raises ``ProviderError`` for a message that reports one."""
        kind = message.type
        if kind == "error":
            self.is_over = True
            raise self._read_error(message if isinstance(message, dict) else message.to_dict(mode="json"))
        if not kind.startswith("response."):  # about the connection, not about this answer
            return ()
        self.begun = True
        self.is_over = kind in _FINAL_EVENTS
        return self._parser.feed(message)

    def _read_error(self, message: Mapping[str, Any]) -> ProviderError:
        """Return the error that a message of type ``error`` reports, and keep its headers."""
        # In its ``status`` field an error over a WebSocket has the status code that it would have over HTTP.
        inner = message.get("error")
        body = inner if isinstance(inner, Mapping) else message
        headers = body.get("headers")
        if isinstance(headers, Mapping):
            self.headers = {str(name).lower(): str(value) for name, value in headers.items()}
        status = message.get("status")
        if isinstance(status, int) and status >= 400:
            return error_of_status(status, body, self._context, headers=self.headers)
        return error_from_object(message)


class Continuation:
    """Continues a conversation of the Responses API by ``previous_response_id``, so that only new messages are sent.

    It remembers the last response, and how many messages the provider has. One ``ToolLoop`` owns it and alone changes
    it, so it needs no lock.
    """

    def __init__(self) -> None:
        self._response_id: str | None = None
        self._known = 0

    def remember(self, turn: Turn, messages: Sequence[Message]) -> None:
        """Note that the provider answered with ``turn``, whose message is the last of ``messages``."""
        # A message that is not the turn's own had its tool calls renumbered: the provider does not know their new ids,
        # so the conversation cannot refer to its response.
        self._response_id = turn.id if messages[-1] is turn.message else None
        self._known = len(messages)

    def forget(self) -> None:
        """Start over, because the connection is closed: the next request sends the whole conversation."""
        self._response_id = None

    def new_messages(self, messages: Sequence[Message]) -> Sequence[Message]:
        """Return the messages that the provider does not have yet."""
        return messages if self._response_id is None else messages[self._known :]

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a request body that refer to the earlier response; empty if there is none."""
        return {} if self._response_id is None else {"previous_response_id": self._response_id}

    def is_lost(self, error: BaseException) -> bool:
        """Whether ``error`` says that the provider has lost the earlier response, so all messages must be sent."""
        if self._response_id is None:
            return False
        body = error.body if isinstance(error, ProviderError) else None
        code = body.get("code") if isinstance(body, dict) else None
        return isinstance(error, ConnectionFailed) or code in _LOST_CODES
