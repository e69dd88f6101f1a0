"""OpenAI's chat completions, which Groq, Mistral and Hugging Face speak too, and its embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.support.upstream import Answer
from tests.wild.protocols.conversation import TEXT, WORDS, Asked, Call, event_stream, whole

USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def answer(asked: Asked) -> Answer:
    tools = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in asked.body.get("tools") or ()}
    call = asked.call(tools)
    head = {"id": "chatcmpl-1", "created": 1, "model": asked.body["model"], "system_fingerprint": None}
    finish = "tool_calls" if call else "stop"
    if asked.body.get("stream"):
        return event_stream(*_chunks(head, call, finish, _wants_usage(asked.body)), done=True)
    message: dict[str, Any] = {"role": "assistant", "content": None if call else TEXT}
    if call:
        message["tool_calls"] = [_call(call)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return whole({**head, "object": "chat.completion", "choices": [choice], "usage": USAGE})


def _wants_usage(body: dict[str, Any]) -> bool:
    return bool((body.get("stream_options") or {}).get("include_usage"))


def _call(call: Call) -> dict[str, Any]:
    return {"id": f"call_{call.name}", "type": "function", "function": {"name": call.name, "arguments": call.json}}


def _chunks(head: dict[str, Any], call: Call | None, finish: str, usage: bool) -> Iterator[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None if call else ""}]
    if call:
        begun = _call(call)
        begun["function"] = {"name": call.name, "arguments": ""}
        deltas.append({"tool_calls": [{"index": 0, **begun}]})
        deltas.append({"tool_calls": [{"index": 0, "function": {"arguments": call.json}}]})
    else:
        deltas += [{"content": word} for word in WORDS]
    for delta, reason in [*((delta, None) for delta in deltas), ({}, finish)]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        yield {**head, "object": "chat.completion.chunk", "choices": [choice]}
    if usage:
        yield {**head, "object": "chat.completion.chunk", "choices": [], "usage": USAGE}


def embed(asked: Asked) -> Answer:
    # Clients ask for base64 by default: four little-endian floats of 0.5.
    base64 = asked.body.get("encoding_format") == "base64"
    vector: Any = "AAAAPwAAAD8AAAA/AAAAPw==" if base64 else [0.5] * 4
    inputs = asked.body["input"] if isinstance(asked.body["input"], list) else [asked.body["input"]]
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(len(inputs))]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return whole({"object": "list", "data": data, "model": asked.body["model"], "usage": usage})
