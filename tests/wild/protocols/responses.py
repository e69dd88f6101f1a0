"""OpenAI's Responses API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.upstream import Answer
from tests.wild.protocols.conversation import TEXT, WORDS, Asked, Call, event_stream, whole

USAGE = {
    "input_tokens": 5,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 8,
}


def answer(asked: Asked) -> Answer:
    response, call = _respond(asked)
    return (
        event_stream(*_numbered(_events(response, call)), names=True) if asked.body.get("stream") else whole(response)
    )


def list_events(asked: Asked) -> list[dict[str, Any]]:
    """The events of an answer that is streamed."""
    return list(_numbered(_events(*_respond(asked))))


def _respond(asked: Asked) -> tuple[dict[str, Any], Call | None]:
    offered = (tool for tool in asked.body.get("tools") or () if tool["type"] == "function")
    call = asked.call({tool["name"]: tool.get("parameters") or {} for tool in offered})
    response = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": asked.body.get("instructions"),
        "model": asked.body["model"],
        "output": [_item(call)],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": asked.body.get("tools") or [],
        "usage": USAGE,
        "metadata": {},
    }
    return response, call


def _item(call: Call | None) -> dict[str, Any]:
    if call:
        head = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": f"call_{call.name}"}
        return {**head, "name": call.name, "arguments": call.json}
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [_part(TEXT)]}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _numbered(events: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for number, event in enumerate(events):
        yield {**event, "type": f"response.{event['type']}", "sequence_number": number}


def _events(response: dict[str, Any], call: Call | None) -> Iterator[dict[str, Any]]:
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    item = response["output"][0]
    yield {"type": "created", "response": begun}
    yield {"type": "in_progress", "response": begun}
    started = {**item, "status": "in_progress", **({"arguments": ""} if call else {"content": []})}
    yield {"type": "output_item.added", "output_index": 0, "item": started}
    place: dict[str, Any] = {"item_id": item["id"], "output_index": 0}
    if call:
        yield {"type": "function_call_arguments.delta", **place, "delta": call.json}
        yield {"type": "function_call_arguments.done", **place, "arguments": call.json, "name": call.name}
    else:
        place["content_index"] = 0
        yield {"type": "content_part.added", **place, "part": _part("")}
        for word in WORDS:
            yield {"type": "output_text.delta", **place, "delta": word, "logprobs": []}
        yield {"type": "output_text.done", **place, "text": TEXT, "logprobs": []}
        yield {"type": "content_part.done", **place, "part": _part(TEXT)}
    yield {"type": "output_item.done", "output_index": 0, "item": item}
    yield {"type": "completed", "response": response}
