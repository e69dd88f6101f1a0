"""OpenAI's Responses API over a WebSocket.

Source: platform.openai.com/docs/guides/websocket-mode, and the types of the openai SDK 3.57. Each ``response.create``
is the body of a ``POST``, and the messages of its answer are the events of the stream, each with the ``stream_id`` of
the question.
"""

from __future__ import annotations

from typing import Any

from aquila.cassettes.model import RecordedRequest, RecordedResponse
from aquila.cassettes.web_socket_frames.frame import Frame
from aquila.json_fields import string
from aquila.wire_forms.answer import Answer, AnsweredError, compact_json
from aquila.wire_forms.conversations.conversation_form import (
    ConversationForm,
    NotUnderstood,
    Question,
    Value,
    read_error,
    read_events,
    write_message,
)
from aquila.wire_forms.form import JSON_TYPE
from aquila.wire_forms.openai.openai_common import write_openai_error
from aquila.wire_forms.openai.responses import write_warm_up

_MESSAGE_FIELDS = ("type", "event_id", "stream_id", "generate", "stream", "background")
"""Fields of a message that the body of an HTTP request does not have, or that have no meaning here."""


class ResponsesConversation(ConversationForm):
    """Answers each ``response.create`` as a streamed ``POST …/responses``."""

    name = "OpenAI Responses over a WebSocket"
    answers_in_events = True

    def __init__(self, handshake: RecordedRequest) -> None:
        super().__init__(handshake)
        self._warm_ups = 0

    def ask(self, value: Value) -> RecordedRequest:
        handshake = self.handshake
        body = compact_json({**value, "stream": True}).encode()
        return RecordedRequest("POST", handshake.url, (*handshake.headers, JSON_TYPE), body)

    def take(self, message: Value) -> Question | list[Frame]:
        kind = message.get("type")
        if kind != "response.create":
            raise NotUnderstood(f"a script only answers response.create, and this is {kind!r}")
        lane = message.get("stream_id")
        # Answers with different stream ids may overlap on one connection, so the id is the lane.
        added = {} if lane is None else {"stream_id": lane}
        request = self.ask({name: value for name, value in message.items() if name not in _MESSAGE_FIELDS})
        # A warm-up: the client only sends what a later question builds on.
        if message.get("generate") is False:
            self._warm_ups += 1
            return [write_message({**each, **added}) for each in write_warm_up(request, self._warm_ups)]
        return Question(request, lambda response: _write_messages(response, added), None if lane is None else str(lane))

    def write_failure(self, *, stream_id: str | None = None) -> Frame:
        added = {} if stream_id is None else {"stream_id": stream_id}
        (frame,) = _write_messages(write_openai_error(AnsweredError(500), 1).at_times(Answer()), added)
        return frame


def _write_messages(response: RecordedResponse, added: Value) -> list[Frame]:
    if response.status < 400:
        return [write_message({**value, **added}, at) for value, at in read_events(response)]
    error: dict[str, Any] = {"param": None, "code": None, **read_error(response)}
    error["message"] = string(error.get("message"))
    error["headers"] = {name: value for name, value in response.headers if name != "content-type"}
    return [write_message({"type": "error", "status": response.status, "error": error, **added}, response.ended)]
