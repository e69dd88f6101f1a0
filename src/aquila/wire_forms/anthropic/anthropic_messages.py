"""Anthropic's messages API, and its endpoint that counts tokens.

Source: docs.claude.com/en/api/messages and …/messages-streaming, and the anthropic SDK 2.14, which reads only events
with an ``event`` line, and requires usage. A refusal has no content; its text is the explanation in ``stop_details``:
platform.claude.com/docs/test-and-evaluate/strengthen-guardrails/handle-streaming-refusals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from aquila.cassettes.model import Headers, RecordedRequest
from aquila.json_fields import mapping, mappings, string, string_or_none
from aquila.wire_forms.answer import Answer, AnsweredCall, Finish, WrittenUsage, split_arguments
from aquila.wire_forms.anthropic.anthropic_errors import AnthropicForm, request_headers
from aquila.wire_forms.form import (
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
from aquila.wire_forms.sent import SentMessage, SentRequest, SentToolCall, parts_of, read_json, read_tool, text_of

_STOP_REASONS: dict[Finish, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
}
_PART_KINDS = {"image": "image", "document": "file"}

_GOOGLE_CLOUD = re.compile(r"/publishers/anthropic/models/([^/]+):(?:rawPredict|streamRawPredict)")
"""The path of the same API at Google's cloud, where it names the model instead of the body."""
# At Google's cloud, tokens are counted by a "model" with this name.
_GOOGLE_COUNT_MODEL = "count-tokens"


class AnthropicMessages(AnthropicForm):
    """``POST …/v1/messages``, and the same at Google's cloud."""

    name = "Anthropic messages"

    def matches(self, method: str, path: str, headers: Headers) -> bool:
        if method != "POST":
            return False
        return path.endswith("/v1/messages") or _model_of_path(path) not in ("", _GOOGLE_COUNT_MODEL)

    def read(self, request: RecordedRequest) -> SentRequest:
        return _read_request(self.name, request)

    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        usage = answer.usage_for(sent.http.size) or WrittenUsage(0, 0)
        head = {
            "id": f"msg_scripted_{number}",
            "type": "message",
            "role": "assistant",
            "model": answering_model(answer, sent),
        }
        if sent.is_streamed:
            return write_events(
                list(_write_message_events(answer, head, number, usage)), headers=request_headers(number)
            )
        content: list[dict[str, Any]] = []
        if answer.reasoning:
            content.append({"type": "thinking", "thinking": "".join(answer.reasoning), "signature": SIGNATURE})
        if answer.text:
            content.append({"type": "text", "text": answer.text})
        for at, call in enumerate(answer.calls):
            content.append(
                {**_begin_call(call, number, at), "input": read_arguments_object(call, f"{self.name} (not streamed)")}
            )
        body = {**head, "content": content, **_write_stop(answer), "usage": _write_usage(usage)}
        return write_json(body, headers=request_headers(number))


class AnthropicTokenCount(AnthropicForm):
    """``POST …/v1/messages/count_tokens``."""

    name = "Anthropic count of tokens"
    kind = "token_count"

    def matches(self, method: str, path: str, headers: Headers) -> bool:
        return method == "POST" and (
            path.endswith("/v1/messages/count_tokens") or _model_of_path(path) == _GOOGLE_COUNT_MODEL
        )

    def read(self, request: RecordedRequest) -> SentRequest:
        return _read_request(self.name, request)

    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        return write_json({"input_tokens": answer.token_count}, headers=request_headers(number))


def _model_of_path(path: str) -> str:
    """Return the model that a path at Google's cloud names, percent signs decoded; "" for another path."""
    found = _GOOGLE_CLOUD.search(path)
    return unquote(found[1]) if found is not None and found.end() == len(path) else ""


# --- a request


def _read_request(name: str, request: RecordedRequest) -> SentRequest:
    raw = read_json(request)
    asked = mapping(raw)
    system = asked.get("system")
    messages = [] if system is None else [SentMessage("system", text_of(system))]
    for message in mappings(asked.get("messages")):
        messages += _read_message(message)
    return SentRequest(
        name,
        model=string(asked.get("model")) or _model_of_path(urlsplit(request.url).path),
        messages=tuple(messages),
        tools=tuple(read_tool(each, "input_schema") for each in mappings(asked.get("tools"))),
        is_streamed=asked.get("stream") is True,
        raw=raw,
        http=request,
    )


def _read_message(message: dict[str, Any]) -> Iterator[SentMessage]:
    """Yield a message for each tool result in a message, then the message without them."""
    # Anthropic puts tool results into a user message; other providers have a message for each.
    role, content = string(message.get("role")), message.get("content")
    blocks = mappings(content)
    results = [block for block in blocks if block.get("type") == "tool_result"]
    for result in results:
        answered = string_or_none(result.get("tool_use_id"))
        yield SentMessage(
            "tool", text_of(result.get("content")), (), answered, parts_of(result.get("content"), _PART_KINDS)
        )
    others = [block for block in blocks if block.get("type") != "tool_result"]
    if others or not results:
        calls = [_read_call(block) for block in others if block.get("type") == "tool_use"]
        yield SentMessage(role, text_of(others or content), tuple(calls), None, parts_of(others, _PART_KINDS))


def _read_call(block: dict[str, Any]) -> SentToolCall:
    return SentToolCall(string(block.get("name")), block.get("input"), string_or_none(block.get("id")))


# --- an answer


def _write_message_events(answer: Answer, head: dict[str, Any], number: int, usage: WrittenUsage) -> Iterator[Piece]:
    # As Anthropic does: the first event reports at most one output token, and ``message_delta`` all of them.
    begun = {**_write_usage(usage), "output_tokens": min(1, usage.output_tokens)}
    start = {**head, "content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None, "usage": begun}
    yield write_event({"type": "message_start", "message": start}, name="message_start")
    for index, (block, deltas) in enumerate(_blocks_of(answer, number)):
        yield _write_event("content_block_start", index, content_block=block)
        for delta in deltas:
            is_content = delta["type"] != "signature_delta" and delta.get("partial_json") != ""
            yield _write_event("content_block_delta", index, is_content=is_content, delta=delta)
        yield _write_event("content_block_stop", index)
    end = {"type": "message_delta", "delta": _write_stop(answer), "usage": _write_usage(usage)}
    yield write_event(end, name="message_delta")
    yield write_event({"type": "message_stop"}, name="message_stop")


def _blocks_of(answer: Answer, number: int) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Yield each content block as it begins, with its deltas."""
    if answer.reasoning:
        deltas = [{"type": "thinking_delta", "thinking": text} for text in answer.reasoning]
        deltas.append({"type": "signature_delta", "signature": SIGNATURE})
        yield {"type": "thinking", "thinking": "", "signature": ""}, deltas
    if answer.text:
        yield {"type": "text", "text": ""}, [{"type": "text_delta", "text": text} for text in answer.texts]
    for at, call in enumerate(answer.calls):
        pieces = ("", *split_arguments(call.arguments))  # Anthropic begins with an empty piece
        yield (
            {**_begin_call(call, number, at), "input": {}},
            [{"type": "input_json_delta", "partial_json": text} for text in pieces],
        )


def _write_event(name: str, index: int, *, is_content: bool = False, **fields: Any) -> Piece:
    return write_event({"type": name, "index": index, **fields}, name=name, is_content=is_content)


def _begin_call(call: AnsweredCall, number: int, at: int) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id(call, number, at, prefix="toolu"), "name": call.name}


def _write_stop(answer: Answer) -> dict[str, Any]:
    reason = _STOP_REASONS[answer.finish_reason]
    details = None
    if reason == "refusal":
        details = {"type": "refusal", "category": None, "explanation": answer.refusal}
    return {"stop_reason": reason, "stop_sequence": None, "stop_details": details}


def _write_usage(usage: WrittenUsage) -> dict[str, Any]:
    written: dict[str, Any] = {
        "input_tokens": max(0, usage.input_tokens - usage.cached_tokens),  # Anthropic counts cached tokens separately
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        written["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return written
