"""Gemini's embeddings: for one text, for several, and for several at Google's cloud.

Source: ai.google.dev/api/embeddings, and for ``predict`` cloud.google.com/vertex-ai/generative-ai/docs/model-reference.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from aquila.cassettes.model import Headers, RecordedRequest
from aquila.json_fields import mapping, mappings
from aquila.wire_forms.answer import Answer
from aquila.wire_forms.form import Written, write_json
from aquila.wire_forms.gemini.gemini_errors import GeminiForm
from aquila.wire_forms.gemini.gemini_requests import model_of, read_gemini_path, text_of_content
from aquila.wire_forms.sent import SentMessage, SentRequest, read_json, text_of

_METHODS = ("embedContent", "batchEmbedContents")


class GeminiEmbeddings(GeminiForm):
    """``POST …/models/NAME:embedContent``, ``…:batchEmbedContents``, and ``…:predict`` of an embedding model."""

    name = "Gemini embeddings"
    kind = "embeddings"

    def matches(self, method: str, path: str, headers: Headers) -> bool:
        model, asked = read_gemini_path(path)
        return method == "POST" and (asked in _METHODS or (asked == "predict" and "embedding" in model))

    def read(self, request: RecordedRequest) -> SentRequest:
        raw = read_json(request)
        return SentRequest(
            self.name,
            model=model_of(request),
            messages=tuple(SentMessage("user", text) for text in _read_inputs(_method_of(request), mapping(raw))),
            raw=raw,
            http=request,
        )

    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        vectors = answer.vectors_for(len(sent.messages))
        usage = answer.usage_for(sent.http.size)
        method = _method_of(sent.http)
        if method == "predict":
            tokens = 0 if usage is None else usage.input_tokens
            statistics = {"token_count": tokens, "truncated": False}
            return write_json(
                {"predictions": [{"embeddings": {"values": each, "statistics": statistics}} for each in vectors]}
            )
        body: dict[str, Any] = {"embeddings": [{"values": each} for each in vectors]}
        if method == "embedContent":
            body = {"embedding": {"values": vectors[0] if vectors else answer.vectors[0]}}
        if usage is not None:
            body["usageMetadata"] = {"promptTokenCount": usage.input_tokens}
        return write_json(body)


def _method_of(request: RecordedRequest) -> str:
    return read_gemini_path(urlsplit(request.url).path.rstrip("/"))[1]


def _read_inputs(method: str, asked: dict[str, Any]) -> list[str]:
    """Return the texts for which a request wants vectors."""
    if method == "predict":
        return [text_of(instance.get("content")) for instance in mappings(asked.get("instances"))]
    if method == "batchEmbedContents":
        return [text_of_content(each.get("content")) for each in mappings(asked.get("requests"))]
    return [text_of_content(asked.get("content"))]
