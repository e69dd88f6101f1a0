"""Anthropic's messages at Bedrock: with events in Amazon's binary frames, and Amazon's errors.

Source: docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages, and what the anthropic
SDK 2.14 demands of ``AnthropicBedrock``.
"""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from aquila.cassettes.model import Headers, RecordedRequest
from aquila.wire_forms.answer import Answer, AnsweredError
from aquila.wire_forms.anthropic.anthropic_messages import AnthropicMessages
from aquila.wire_forms.bedrock import FRAMES_TYPE, request_headers, write_bedrock_error, write_event
from aquila.wire_forms.form import JSON_TYPE, Piece, Written
from aquila.wire_forms.sent import SentRequest

_PATH = re.compile(r"/model/([^/]*anthropic[^/]*)/(invoke|invoke-with-response-stream)$")


class AnthropicAtBedrock(AnthropicMessages):
    """``POST …/model/NAME/invoke`` and ``…/invoke-with-response-stream`` of a model whose name says ``anthropic``."""

    name = "Bedrock Anthropic messages"

    def matches(self, method: str, path: str, headers: Headers) -> bool:
        return method == "POST" and _PATH.search(path) is not None

    def read(self, request: RecordedRequest) -> SentRequest:
        """Read a request. The path, not the body, holds the model and whether the answer is streamed."""
        found = _PATH.search(urlsplit(request.url).path.rstrip("/"))
        model, way = (unquote(found[1]), found[2]) if found else ("", "")
        return replace(super().read(request), model=model, is_streamed=way == "invoke-with-response-stream")

    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        written = super().write(answer, sent, number)
        if not sent.is_streamed:
            return replace(written, headers=(JSON_TYPE, *request_headers(number)))
        return Written(200, (FRAMES_TYPE, *request_headers(number)), [_in_frame(piece) for piece in written.pieces])

    def write_error(self, error: AnsweredError, sent: SentRequest, number: int) -> Written:
        return write_bedrock_error(error, number)


def _in_frame(piece: Piece) -> Piece:
    """Return a server-sent event with one line of data as a frame of Bedrock."""
    # Bedrock wraps each of Anthropic's events, in base64, into an event of its own of the type "chunk".
    _, _, data = piece.data.partition(b"data: ")
    held = {"bytes": base64.b64encode(data.strip()).decode()}
    return write_event("chunk", held, is_content=piece.is_content)
