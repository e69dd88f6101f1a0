"""Anthropic's list of models, and its description of one. Source: docs.claude.com/en/api/models-list."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit

from aquila.cassettes.model import Headers, RecordedRequest
from aquila.wire_forms.answer import Answer, AnsweredError
from aquila.wire_forms.anthropic.anthropic_errors import AnthropicForm, request_headers, write_anthropic_error
from aquila.wire_forms.form import Written, write_json
from aquila.wire_forms.sent import SentRequest

_PATH = re.compile(r".*/v1/models(?:/([^/]+))?")
_RELEASED = "2023-11-14T22:13:20Z"


class AnthropicModels(AnthropicForm):
    """``GET …/v1/models`` and ``GET …/v1/models/NAME``.

    OpenAI has the same paths, but no header ``anthropic-version``.
    """

    name = "Anthropic models"
    kind = "models"

    def matches(self, method: str, path: str, headers: Headers) -> bool:
        if method != "GET" or not any(name == "anthropic-version" for name, _ in headers):
            return False
        return _PATH.fullmatch(path) is not None

    def read(self, request: RecordedRequest) -> SentRequest:
        found = _PATH.fullmatch(urlsplit(request.url).path.rstrip("/"))
        return SentRequest(self.name, model=unquote(found[1] or "") if found else "", http=request)

    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        if sent.model and sent.model not in answer.models:
            return write_anthropic_error(AnsweredError(404, f"model: {sent.model}"), number)
        if sent.model:
            return write_json(_write_model(sent.model), headers=request_headers(number))
        body = {
            "data": [_write_model(name) for name in answer.models],
            "has_more": False,
            "first_id": answer.models[0],
            "last_id": answer.models[-1],
        }
        return write_json(body, headers=request_headers(number))


def _write_model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": _RELEASED, "lifecycle": "active"}
