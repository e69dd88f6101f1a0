"""OpenAI's list of models, and its description of one. Most other servers offer them, too.

Source: platform.openai.com/docs/api-reference/models.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit

from aquila.cassettes.model import Headers, RecordedRequest
from aquila.wire_forms.answer import Answer, AnsweredError
from aquila.wire_forms.form import CREATED, Written, write_json
from aquila.wire_forms.openai.openai_common import OpenAIForm, openai_headers, write_openai_error
from aquila.wire_forms.sent import SentRequest

_PATH = re.compile(r"(?:^|/v\d+|/openai)/models(?:/(.+))?$")


class Models(OpenAIForm):
    """``GET …/models`` and ``GET …/models/NAME``."""

    name = "OpenAI models"
    kind = "models"

    def matches(self, method: str, path: str, headers: Headers) -> bool:
        return method == "GET" and _PATH.search(path) is not None

    def read(self, request: RecordedRequest) -> SentRequest:
        """Return the content of a request. ``model`` is the model that it names, empty for the list."""
        found = _PATH.search(urlsplit(request.url).path.rstrip("/"))
        return SentRequest(self.name, model=unquote(found[1] or "") if found else "", http=request)

    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        headers = openai_headers(number)
        if not sent.model:
            return write_json({"object": "list", "data": [*map(_describe, answer.models)]}, headers=headers)
        if sent.model in answer.models:
            return write_json(_describe(sent.model), headers=headers)
        message = f"The model '{sent.model}' does not exist"
        return write_openai_error(AnsweredError(404, message, code="model_not_found"), number)


def _describe(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "scripted"}
