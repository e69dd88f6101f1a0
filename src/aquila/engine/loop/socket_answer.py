"""Requests and answers of the Responses API as messages of a WebSocket. Pure: messages in, events out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aquila.engine.calls.error_translation import ErrorContext, error_from_object, error_of_status
from aquila.engine.endpoints.protocol import EventParser
from aquila.errors import ProviderError
from aquila.events import Event

_NOT_SENT = frozenset({"stream", "extra_body"})
_LAST = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})


def write_message(request: Mapping[str, Any]) -> str:
    """Return the message that asks what a request of ``responses.create`` asks. Raises ``UnicodeEncodeError``."""
    body = {name: value for name, value in request.items() if name not in _NOT_SENT}
    message = {"type": "response.create", **body, **(request.get("extra_body") or {})}
    text = json.dumps(message, ensure_ascii=False)
    text.encode()  # half a character is refused here: a connection would break by it
    return text


class SocketAnswer:
    """Reads one answer, event by event.

    ``begun``: the answer has begun, so nothing may be sent again. ``is_over``: its last event has come. ``headers`` are
    what a refusal says besides, in the form of header fields.
    """

    def __init__(self, parser: EventParser, context: ErrorContext) -> None:
        self._parser = parser
        self._context = context
        self.begun = False
        self.is_over = False
        self.headers: Mapping[str, str] = {}

    def feed(self, message: Any) -> Sequence[Event]:
        """Return the events in a message of the provider. Raises the ``ProviderError`` that it says."""
        kind = message.type
        if kind == "error":
            self.is_over = True
            raise self._read_error(message if isinstance(message, dict) else message.to_dict(mode="json"))
        if not kind.startswith("response."):  # about the connection, and not the answer
            return ()
        self.begun = True
        self.is_over = kind in _LAST
        return self._parser.feed(message)

    def _read_error(self, message: Mapping[str, Any]) -> ProviderError:
        """An error of the API over a WebSocket has the status that its answer over HTTP would have."""
        inner = message.get("error")
        body = inner if isinstance(inner, Mapping) else message
        headers = body.get("headers")
        if isinstance(headers, Mapping):
            self.headers = {str(name).lower(): str(value) for name, value in headers.items()}
        status = message.get("status")
        if isinstance(status, int) and status >= 400:
            return error_of_status(status, body, self._context)
        return error_from_object(message)
