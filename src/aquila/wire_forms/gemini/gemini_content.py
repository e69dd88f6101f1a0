"""Gemini's ``generateContent``, and its endpoint that counts tokens, at Google AI and at Google's cloud.

Source: ai.google.dev/api/generate-content, and the google-genai SDK 3.6, which reads only ``data`` lines of events.
There is no ``finishReason`` for tool calls, which end with ``STOP``. A refused prompt has no candidate, and an answer
that a filter cut off ends with ``SAFETY``: ai.google.dev/gemini-api/docs/safety-settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aquila.cassettes.model import Headers, RecordedRequest
from aquila.wire_forms.answer import Answer, AnsweredError, Finish, WrittenUsage, compact_json
from aquila.wire_forms.form import (
    JSON_TYPE,
    SIGNATURE,
    Piece,
    Written,
    answering_model,
    call_id,
    read_arguments_object,
    write_event,
    write_events,
    write_json,
)
from aquila.wire_forms.gemini.gemini_errors import GeminiForm, write_gemini_error
from aquila.wire_forms.gemini.gemini_requests import read_gemini_path, read_gemini_request
from aquila.wire_forms.sent import SentRequest

_FINISH_REASONS: dict[Finish, str] = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
}
_STREAMED = "streamGenerateContent"


class GeminiContent(GeminiForm):
    """``POST …/models/NAME:generateContent`` and ``…:streamGenerateContent``."""

    name = "Gemini generateContent"

    def matches(self, method: str, path: str, headers: Headers) -> bool:
        return method == "POST" and read_gemini_path(path)[1] in ("generateContent", _STREAMED)

    def read(self, request: RecordedRequest) -> SentRequest:
        return read_gemini_request(self.name, request, is_streamed=f":{_STREAMED}" in request.url)

    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        usage = answer.usage_for(sent.http.size)
        parts = _write_parts(answer, number, self.name)
        tail = {
            "modelVersion": answering_model(answer, sent),
            "responseId": f"scripted-{number}",
        }
        if answer.refusal is not None:
            feedback = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": answer.refusal}
            values = [{"promptFeedback": feedback, **_write_usage(usage, 0), **tail}]
        elif not sent.is_streamed:
            whole = _join_texts(parts)
            values = [{**_write_candidate(whole, _finish_of(answer)), **_write_usage(usage, None), **tail}]
        else:
            last = max(0, len(parts) - 1)
            values = [
                {
                    **_write_candidate(parts[at : at + 1], _finish_of(answer) if at == last else None),
                    **_write_usage(usage, None if at == last else at + 1),
                    **tail,
                }
                for at in range(last + 1)
            ]
        if not sent.is_streamed:
            return write_json(values[0])
        if _is_of_events(sent):
            return write_events([write_event(value, is_content=True) for value in values])
        return Written(200, (JSON_TYPE,), list(_write_array(values)))

    def write_error(self, error: AnsweredError, sent: SentRequest, number: int) -> Written:
        return write_gemini_error(error, in_array=sent.is_streamed and not _is_of_events(sent))


class GeminiTokenCount(GeminiForm):
    """``POST …/models/NAME:countTokens``."""

    name = "Gemini count of tokens"
    kind = "token_count"

    def matches(self, method: str, path: str, headers: Headers) -> bool:
        return method == "POST" and read_gemini_path(path)[1] == "countTokens"

    def read(self, request: RecordedRequest) -> SentRequest:
        return read_gemini_request(self.name, request)

    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        details = [{"modality": "TEXT", "tokenCount": answer.token_count}]
        return write_json({"totalTokens": answer.token_count, "promptTokensDetails": details})


def _is_of_events(sent: SentRequest) -> bool:
    """Whether a stream should consist of server-sent events; otherwise it is a JSON array, sent element by element."""
    return parse_qs(urlsplit(sent.url).query).get("alt") == ["sse"]


def _write_array(values: Sequence[dict[str, Any]]) -> Iterator[Piece]:
    for at, value in enumerate(values):
        yield Piece(f"{',' if at else '['}{compact_json(value)}\n".encode(), is_content=True)
    yield Piece(b"]\n")


def _write_parts(answer: Answer, number: int, form: str) -> list[dict[str, Any]]:
    """Return the parts of an answer, with a part for each piece of its text."""
    parts: list[dict[str, Any]] = [{"text": text, "thought": True} for text in answer.reasoning]
    parts += [{"text": text} for text in answer.texts]
    for at, call in enumerate(answer.calls):
        said = {
            "id": call_id(call, number, at),
            "name": call.name,
            "args": read_arguments_object(call, form),
        }
        part: dict[str, Any] = {"functionCall": said}
        if answer.reasoning and at == 0:  # Gemini signs reasoning at the first tool call behind it
            part["thoughtSignature"] = SIGNATURE
        parts.append(part)
    return parts


def _join_texts(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts with adjacent pieces of one text joined."""
    joined: list[dict[str, Any]] = []
    for part in parts:
        if "text" in part and joined and "text" in joined[-1] and joined[-1].get("thought") == part.get("thought"):
            joined[-1]["text"] += part["text"]
        else:
            joined.append(dict(part))
    return joined


def _write_candidate(parts: Sequence[dict[str, Any]], finish: str | None) -> dict[str, Any]:
    content = {"parts": list(parts), "role": "model"} if parts else {"role": "model"}
    candidate: dict[str, Any] = {"content": content}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [{**candidate, "index": 0}]}


def _finish_of(answer: Answer) -> str:
    return _FINISH_REASONS[answer.finish_reason]


def _write_usage(usage: WrittenUsage | None, said: int | None) -> dict[str, Any]:
    """Return the usage after ``said`` tokens of a streamed answer; None for the whole answer."""
    if usage is None:
        return {}
    # Gemini counts reasoning separately, while in ``WrittenUsage`` it is part of the output.
    spoken = max(0, usage.output_tokens - usage.reasoning_tokens)
    thought = usage.reasoning_tokens
    if said is not None:
        thought = min(said, thought)
        spoken = min(said - thought, spoken)
    counts = {"promptTokenCount": usage.input_tokens}
    if spoken:
        counts["candidatesTokenCount"] = spoken
    counts["totalTokenCount"] = usage.input_tokens + spoken + thought
    if usage.cached_tokens:
        counts["cachedContentTokenCount"] = usage.cached_tokens
    if thought:
        counts["thoughtsTokenCount"] = thought
    details = [{"modality": "TEXT", "tokenCount": usage.input_tokens}]
    return {"usageMetadata": {**counts, "promptTokensDetails": details}}
