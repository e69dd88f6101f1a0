"""Requests and answers of the Responses API as messages of a WebSocket. Pure: messages in, events out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aquila.engine.calls.error_translation import ErrorContext, error_from_object, error_of_status
from aquila.engine.endpoints.protocol import EventParser
from aquila.errors import ProviderError
from aquila.events import Event

# ``stream`` exists over HTTP only; ``extra_body`` is the SDK's argument, whose fields are merged into the message.
_NOT_SENT = frozenset({"stream", "extra_body"})
# After one of these, OpenAI's protocol sends nothing more for a response.
_FINAL_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})


def write_message(request: Mapping[str, Any]) -> str:
    """Return the ``response.create`` message for the arguments of ``responses.create``.

    Raises ``UnicodeEncodeError`` for text that holds half of a surrogate pair.
    """
    body = {name: value for name, value in request.items() if name not in _NOT_SENT}
    message = {"type": "response.create", **body, **(request.get("extra_body") or {})}
    text = json.dumps(message, ensure_ascii=False)
    # Half of a surrogate pair is refused here: while it is sent it would break the connection.
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
        # In its ``status`` field an error over a WebSocket has the status code that it would have over HTTP.
        """Return the error that a message of type ``error`` reports, and keep its headers."""
        inner = message.get("error")
        body = inner if isinstance(inner, Mapping) else message
        headers = body.get("headers")
        if isinstance(headers, Mapping):
            self.headers = {str(name).lower(): str(value) for name, value in headers.items()}
        status = message.get("status")
        if isinstance(status, int) and status >= 400:
            return error_of_status(status, body, self._context)
        return error_from_object(message)
