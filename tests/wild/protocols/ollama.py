"""Ollama's own API, whose streams are lines of JSON."""

from __future__ import annotations

import json
from typing import Any

from tests.support.upstream import Answer
from tests.wild.protocols.conversation import TEXT, WORDS, Asked, whole


def answer(asked: Asked) -> Answer:
    tools = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in asked.body.get("tools") or ()}
    call = asked.call(tools)
    head = {"model": asked.body["model"], "created_at": "2026-01-01T00:00:00Z"}
    counts = {"total_duration": 1, "load_duration": 1, "prompt_eval_count": 5, "eval_count": 3, "done_reason": "stop"}
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    if call:
        messages = [{**message, "tool_calls": [{"function": {"name": call.name, "arguments": call.arguments}}]}]
    elif asked.body.get("stream"):
        messages = [{**message, "content": word} for word in WORDS]
    else:
        messages = [{**message, "content": TEXT}]
    if not asked.body.get("stream"):
        return whole({**head, "message": messages[0], "done": True, **counts})
    lines = [{**head, "message": one, "done": False} for one in messages]
    lines.append({**head, "message": message, "done": True, **counts})
    chunks = [json.dumps(line).encode() + b"\n" for line in lines]
    return Answer(headers={"content-type": "application/x-ndjson"}, chunks=chunks)
