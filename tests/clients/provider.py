"""A local server that speaks the protocols of two providers: answers, streams, tool calls and an error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.support.upstream import Answer, sse

USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
WORDS = ("an ", "eagle ", "flies")
FACT = "it flies high"


def script(path: str, body: bytes) -> Answer:
    """Answer as the provider would whose protocol the path belongs to."""
    asked = json.loads(body)
    said = json.dumps(asked.get("messages"))
    if "fail" in said:
        error = {"message": "the prompt is not wanted", "type": "invalid_request_error", "param": None, "code": None}
        return Answer(400, chunks=[json.dumps({"type": "error", "error": error}).encode()])
    wants_tool = bool(asked.get("tools")) and "tool_result" not in said and '"role": "tool"' not in said
    if path.endswith("/messages"):
        return _messages(asked, wants_tool)
    return _chat(asked, wants_tool)


def _chat(asked: dict[str, Any], wants_tool: bool) -> Answer:
    call = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"animal": "eagle"}'}}
    message: dict[str, Any] = {"role": "assistant", "content": None if wants_tool else "".join(WORDS)}
    if wants_tool:
        message["tool_calls"] = [call]
    head = {"id": "chatcmpl-1", "created": 1, "model": asked["model"]}
    finish = "tool_calls" if wants_tool else "stop"
    if not asked.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": finish}
        answer = {**head, "object": "chat.completion", "choices": [choice], "usage": USAGE}
        return Answer(chunks=[json.dumps(answer).encode()])

    def events() -> Iterator[dict[str, Any]]:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"tool_calls": [{"index": 0, **call}]}] if wants_tool else [{"content": word} for word in WORDS]
        for delta, reason in [*((delta, None) for delta in deltas), ({}, finish)]:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            yield {**head, "object": "chat.completion.chunk", "choices": [choice]}
        yield {**head, "object": "chat.completion.chunk", "choices": [], "usage": USAGE}

    return Answer(headers={"content-type": "text/event-stream"}, chunks=sse(*events()))


def _messages(asked: dict[str, Any], wants_tool: bool) -> Answer:
    call = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"animal": "eagle"}}
    content: list[dict[str, Any]] = [call] if wants_tool else [{"type": "text", "text": "".join(WORDS)}]
    usage = {"input_tokens": 5, "output_tokens": 3}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"], "stop_sequence": None}
    stop = "tool_use" if wants_tool else "end_turn"
    if not asked.get("stream"):
        answer = {**head, "content": content, "stop_reason": stop, "usage": usage}
        return Answer(chunks=[json.dumps(answer).encode()])

    def events() -> Iterator[dict[str, Any]]:
        yield {"type": "message_start", "message": {**head, "content": [], "stop_reason": None, "usage": usage}}
        empty = {**call, "input": {}} if wants_tool else {"type": "text", "text": ""}
        yield {"type": "content_block_start", "index": 0, "content_block": empty}
        deltas: list[dict[str, Any]] = [{"type": "text_delta", "text": word} for word in WORDS]
        if wants_tool:
            deltas = [{"type": "input_json_delta", "partial_json": '{"animal": "eagle"}'}]
        yield from ({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas)
        yield {"type": "content_block_stop", "index": 0}
        yield {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage}
        yield {"type": "message_stop"}

    chunks = [
        b"event: " + event["type"].encode() + b"\n" + chunk
        for event, chunk in zip(events(), sse(*events(), done=False), strict=True)
    ]
    return Answer(headers={"content-type": "text/event-stream"}, chunks=chunks)
