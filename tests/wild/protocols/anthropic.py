"""Anthropic's Messages API. Its client reads nothing of a stream whose events have no name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.upstream import Answer
from tests.wild.protocols.conversation import TEXT, WORDS, Asked, Call, event_stream, whole

USAGE = {"input_tokens": 5, "output_tokens": 3}


def answer(asked: Asked) -> Answer:
    call = asked.call({tool["name"]: tool["input_schema"] for tool in asked.body.get("tools") or ()})
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": asked.body["model"], "stop_sequence": None}
    stop = "tool_use" if call else "end_turn"
    if asked.body.get("stream"):
        return event_stream(*_events(head, call, stop), names=True)
    return whole({**head, "content": [_block(call)], "stop_reason": stop, "usage": USAGE})


def _block(call: Call | None) -> dict[str, Any]:
    if call:
        return {"type": "tool_use", "id": f"toolu_{call.name}", "name": call.name, "input": call.arguments}
    return {"type": "text", "text": TEXT}


def _events(head: dict[str, Any], call: Call | None, stop: str) -> Iterator[dict[str, Any]]:
    yield {"type": "message_start", "message": {**head, "content": [], "stop_reason": None, "usage": USAGE}}
    block = {**_block(call), **({"input": {}} if call else {"text": ""})}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    deltas: list[dict[str, Any]] = [{"type": "text_delta", "text": word} for word in WORDS]
    if call:
        deltas = [{"type": "input_json_delta", "partial_json": text} for text in ("", call.json)]
    for delta in deltas:
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    yield {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": USAGE}
    yield {"type": "message_stop"}
