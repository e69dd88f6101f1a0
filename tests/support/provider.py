"""Small hand-made streams and objects of both endpoints, as a provider sends them."""

from __future__ import annotations

from typing import Any

from tests.support.server import sse

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def chat_chunk(text: str | None = None, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    content = {} if text is None else {"content": text}
    return chat_frame([{"index": 0, "delta": content | delta, "finish_reason": finish}])


def chat_frame(choices: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "test-model"}
    return {**head, "choices": choices, **fields}


def chat_stream(*texts: str, finish: str = "stop", usage: dict[str, Any] | None = USAGE, done: bool = True) -> bytes:
    frames = [chat_chunk("", role="assistant"), *map(chat_chunk, texts), chat_chunk(finish=finish)]
    if usage is not None:
        frames.append(chat_frame([], usage=usage))
    return sse(*frames, done=done)


def tool_fragment(
    index: int | None, arguments: str = "", id: str | None = None, name: str | None = None
) -> dict[str, Any]:
    fragment: dict[str, Any] = {"function": {"arguments": arguments}}
    if index is not None:
        fragment["index"] = index
    if id is not None:
        fragment |= {"id": id, "type": "function"}
    if name is not None:
        fragment["function"]["name"] = name
    return fragment


def chat_calls(*fragments: dict[str, Any] | list[dict[str, Any]], usage: dict[str, Any] | None = USAGE) -> bytes:
    """A stream that calls tools. Each argument is the tool call fragment, or the fragments, of one chunk."""
    frames = [chat_chunk(tool_calls=each if isinstance(each, list) else [each]) for each in fragments]
    frames.append(chat_chunk(finish="tool_calls"))
    if usage is not None:
        frames.append(chat_frame([], usage=usage))
    return sse(*frames)


def one_call(name: str, arguments: str, id: str = "call_1") -> bytes:
    return chat_calls(tool_fragment(0, "", id, name), tool_fragment(0, arguments))


def response_object(output: list[dict[str, Any]], status: str = "completed", **fields: Any) -> dict[str, Any]:
    usage = {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 1},
        "output_tokens": 2,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 7,
    }
    head = {"id": "resp_1", "object": "response", "created_at": 1, "model": "test-model", "status": status}
    return {**head, "output": output, "usage": usage, **fields}


def message_item(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": content}


def call_item(name: str, arguments: str, call_id: str = "call_1") -> dict[str, Any]:
    head = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "status": "completed"}
    return {**head, "name": name, "arguments": arguments}


def responses_events(
    *texts: str, items: list[dict[str, Any]] | None = None, status: str = "completed", **fields: Any
) -> list[dict[str, Any]]:
    output = [message_item("".join(texts))] if texts else []
    output += items or []
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    started = response_object([], "in_progress", usage=None)
    events = [
        {"type": "response.created", "response": started},
        {"type": "response.in_progress", "response": started},
        *({"type": "response.output_text.delta", "delta": text, "logprobs": [], **where} for text in texts),
        *({"type": "response.output_item.done", "item": item, "output_index": n} for n, item in enumerate(output)),
        {"type": f"response.{status}", "response": response_object(output, status, **fields)},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def responses_stream(*texts: str, **options: Any) -> bytes:
    return sse(*responses_events(*texts, **options), done=False, event=True)


STREAMS = {"chat": chat_stream, "responses": responses_stream}
"""A plain stream of each endpoint, made from texts."""
