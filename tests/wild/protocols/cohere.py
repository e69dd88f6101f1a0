"""Cohere's chat, version 2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.upstream import Answer
from tests.wild.protocols.conversation import TEXT, WORDS, Asked, Call, event_stream, whole

USAGE = {"billed_units": {"input_tokens": 5, "output_tokens": 3}, "tokens": {"input_tokens": 5, "output_tokens": 3}}


def answer(asked: Asked) -> Answer:
    tools = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in asked.body.get("tools") or ()}
    call = asked.call(tools)
    finish = "TOOL_CALL" if call else "COMPLETE"
    if asked.body.get("stream"):
        return event_stream(*_events(call, finish), names=True)
    message: dict[str, Any] = {"role": "assistant"}
    if call:
        message["tool_calls"] = [_call(call)]
    else:
        message["content"] = [{"type": "text", "text": TEXT}]
    return whole({"id": "c1", "finish_reason": finish, "message": message, "usage": USAGE})


def _call(call: Call) -> dict[str, Any]:
    return {"id": f"call_{call.name}", "type": "function", "function": {"name": call.name, "arguments": call.json}}


def _events(call: Call | None, finish: str) -> Iterator[dict[str, Any]]:
    yield {"type": "message-start", "id": "c1", "delta": {"message": {"role": "assistant", "content": []}}}
    if call:
        yield {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": _call(call)}}}
        yield {"type": "tool-call-end", "index": 0}
    else:
        start = {"type": "text", "text": ""}
        yield {"type": "content-start", "index": 0, "delta": {"message": {"content": start}}}
        for word in WORDS:
            yield {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": word}}}}
        yield {"type": "content-end", "index": 0}
    yield {"type": "message-end", "delta": {"finish_reason": finish, "usage": USAGE}}
