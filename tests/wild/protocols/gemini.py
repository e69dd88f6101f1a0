"""Gemini's generateContent. Its client refuses a stream with event names, or with a terminator."""

from __future__ import annotations

from typing import Any

from tests.support.upstream import Answer
from tests.wild.protocols.conversation import TEXT, WORDS, Asked, event_stream, whole


def answer(asked: Asked) -> Answer:
    offered = [one for tool in asked.body.get("tools") or () for one in tool.get("functionDeclarations") or ()]
    call = asked.call({one["name"]: _schema(one) for one in offered})
    if call:
        parts = [{"functionCall": {"name": call.name, "args": call.arguments}}]
    elif ":stream" in asked.path:
        parts = [{"text": word} for word in WORDS]
    else:
        parts = [{"text": TEXT}]
    chunks = [_chunk(part, last=part is parts[-1]) for part in parts]
    return event_stream(*chunks) if ":stream" in asked.path else whole(chunks[0])


def _schema(function: dict[str, Any]) -> dict[str, Any]:
    names = ("parameters", "parametersJsonSchema", "parameters_json_schema")
    return next((function[name] for name in names if name in function), {})


def _chunk(part: dict[str, Any], *, last: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [part]}, "index": 0}
    if last:
        candidate["finishReason"] = "STOP"
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "r1"}
