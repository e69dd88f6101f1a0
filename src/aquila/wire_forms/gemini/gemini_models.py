"""Gemini's list of models and description of one, at Google AI and Google's cloud. Source: ai.google.dev/api/models."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit

from aquila.cassettes.model import Headers, RecordedRequest
from aquila.wire_forms.answer import Answer, AnsweredError
from aquila.wire_forms.form import Written, write_json
from aquila.wire_forms.gemini.gemini_errors import GeminiForm, write_gemini_error
from aquila.wire_forms.sent import SentRequest

_PATH = re.compile(r".*/(v1\w*)/(?:(?:projects/[^/]+/locations/[^/]+/)?(publishers/google/))?models(?:/([^/:]+))?")
_METHODS = ["generateContent", "countTokens", "embedContent", "batchEmbedContents"]


class GeminiModels(GeminiForm):
    """``GET …/v1beta/models`` and ``…/models/NAME``. Header fields tell ``v1`` paths from OpenAI's, which are equal."""

    name = "Gemini models"
    kind = "models"

    def matches(self, method: str, path: str, headers: Headers) -> bool:
        found = _PATH.fullmatch(path) if method == "GET" else None
        if found is None:
            return False
        return found[1] != "v1" or found[2] is not None or any(name.startswith("x-goog-") for name, _ in headers)

    def read(self, request: RecordedRequest) -> SentRequest:
        return SentRequest(self.name, model=unquote(_groups_of(request)[2] or ""), http=request)

    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        publisher = _groups_of(sent.http)[1]
        if sent.model and sent.model not in answer.models:
            return write_gemini_error(AnsweredError(404, f"models/{sent.model} is not found"))
        write = _write_model if publisher is None else _write_published
        if sent.model:
            return write_json(write(sent.model))
        key = "models" if publisher is None else "publisherModels"
        return write_json({key: [write(name) for name in answer.models]})


def _groups_of(request: RecordedRequest) -> tuple[str | None, ...]:
    found = _PATH.fullmatch(urlsplit(request.url).path.rstrip("/"))
    return found.groups() if found is not None else (None, None, None)


def _write_model(name: str) -> dict[str, Any]:
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name,
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": _METHODS,
    }


def _write_published(name: str) -> dict[str, Any]:
    return {"name": f"publishers/google/models/{name}", "versionId": "default", "launchStage": "GA"}
