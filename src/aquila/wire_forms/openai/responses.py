"""OpenAI's Responses API.

Source: platform.openai.com/docs/api-reference/responses, and what the openai SDK 3.57 requires. ``response_events.py``
writes its streams.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aquila.cassettes.model import Headers, RecordedRequest, RecordedResponse
from aquila.json_fields import mapping, mappings, string, string_or_none
from aquila.wire_forms.answer import Answer, AnsweredCall, Finish, WrittenUsage, split_arguments, split_text
from aquila.wire_forms.form import CREATED, JSON_TYPE, Written, answering_model, call_id, write_events, write_json
from aquila.wire_forms.openai.openai_common import (
    OpenAIForm,
    custom_tools,
    openai_headers,
    read_model,
    write_logprobs,
)
from aquila.wire_forms.openai.response_events import ResponseItem, write_response_events
from aquila.wire_forms.sent import (
    SentMessage,
    SentRequest,
    SentToolCall,
    parts_of,
    read_arguments,
    read_json,
    read_tool,
    text_of,
)

_PART_KINDS = {"input_image": "image", "input_audio": "audio", "input_file": "file"}
_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_RESULTS = ("function_call_output", "custom_tool_call_output")
_INCOMPLETE: dict[Finish, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}

_STORED = re.compile(r"/responses/(?:resp_scripted_(?P<number>\d{1,9})|[^/]+)(?P<cancel>/cancel)?$")

_REPEATED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""The fields of the request that an answer repeats, with their values if the request does not have them."""


class Responses(OpenAIForm):
    """``POST …/responses``. An answer in the background is complete at once."""

    name = "OpenAI Responses"
    path = "/responses"

    def read(self, request: RecordedRequest) -> SentRequest:
        return read_response_request(self.name, request)

    def keeps_answer(self, sent: SentRequest) -> bool:
        return mapping(sent.raw).get("store") is not False

    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        items = _write_items(answer, sent, number)
        whole = _write_response(answer, items, sent, number)
        if sent.is_streamed:
            return write_events(list(write_response_events(whole, items)), headers=openai_headers(number))
        return write_json(whole, headers=openai_headers(number))


class RealtimeQuestions(Responses):
    """The questions of a Realtime session, whose items are nearly the same.

    ``realtime_events`` translates the answers.
    """

    name = "OpenAI Realtime"

    def matches(self, method: str, path: str, headers: Headers) -> bool:
        return method == "POST" and path.endswith("/realtime") and JSON_TYPE in headers

    def keeps_answer(self, sent: SentRequest) -> bool:
        return False


class StoredResponses(Responses):
    """``GET …/responses/ID``, also streamed, and ``POST …/responses/ID/cancel``, which changes nothing any more."""

    name = "OpenAI stored response"
    kind = "stored"

    def matches(self, method: str, path: str, headers: Headers) -> bool:
        found = _STORED.search(path)
        return found is not None and method == ("POST" if found["cancel"] else "GET")

    def read(self, request: RecordedRequest) -> SentRequest:
        return SentRequest(self.name, is_streamed=_query_of(request).get("stream") == ["true"], http=request)

    def keeps_answer(self, sent: SentRequest) -> bool:
        return False

    def number_of_kept(self, sent: SentRequest) -> int | None:
        found = _STORED.search(urlsplit(sent.url).path.rstrip("/"))
        return int(found["number"]) if found is not None and found["number"] is not None else None

    def answer_again(self, answer: Answer, first: SentRequest, sent: SentRequest, number: int) -> RecordedResponse:
        response = self.answer(answer, replace(first, is_streamed=sent.is_streamed), number)
        (after, *_) = _query_of(sent.http).get("starting_after", [""])
        if not (sent.is_streamed and after.isascii() and after.isdigit()):
            return response
        # Each event is one chunk, and events are numbered from 0.
        return replace(response, chunks=response.chunks[int(after[:9]) + 1 :])


def _query_of(request: RecordedRequest) -> dict[str, list[str]]:
    return parse_qs(urlsplit(request.url).query)


class InputTokens(OpenAIForm):
    """``POST …/responses/input_tokens``."""

    name = "OpenAI count of tokens"
    path = "/responses/input_tokens"
    kind = "token_count"

    def read(self, request: RecordedRequest) -> SentRequest:
        return read_response_request(self.name, request)

    def write(self, answer: Answer, sent: SentRequest, number: int) -> Written:
        body = {"object": "response.input_tokens", "input_tokens": answer.token_count}
        return write_json(body, headers=openai_headers(number))


# --- what was sent


def read_response_request(form: str, request: RecordedRequest) -> SentRequest:
    """Return the content of a request with a conversation of the Responses API. ``form`` is the wire form's name."""
    raw = read_json(request)
    asked = mapping(raw)
    said = asked.get("input")
    messages = [SentMessage("system", text)] if (text := text_of(asked.get("instructions"))) else []
    if isinstance(said, str):
        messages.append(SentMessage("user", said))
    for item in mappings(said):
        _add_item(messages, item)
    return SentRequest(
        form,
        model=read_model(asked, request),
        messages=tuple(messages),
        tools=tuple(read_tool(each, "parameters") for each in mappings(asked.get("tools"))),
        is_streamed=asked.get("stream") is True,
        raw=raw,
        http=request,
    )


def _add_item(messages: list[SentMessage], item: dict[str, Any]) -> None:
    """Add an item of a conversation. Texts and tool calls of the assistant in one turn become one message."""
    kind = string(item.get("type"))
    if kind in _RESULTS:
        output = item.get("output")
        found = string_or_none(item.get("call_id"))
        messages.append(SentMessage("tool", text_of(output), tool_call_id=found, parts=parts_of(output, _PART_KINDS)))
    elif kind in _CALLS:
        arguments = read_arguments(item.get(_CALLS[kind]))
        call = SentToolCall(string(item.get("name")), arguments, string_or_none(item.get("call_id")))
        _add_message(messages, SentMessage("assistant", tool_calls=(call,)))
    elif "role" in item:
        content = item.get("content")
        refused = "".join(string(part.get("refusal")) for part in mappings(content))
        role = string(item.get("role"))
        _add_message(messages, SentMessage(role, text_of(content) or refused, parts=parts_of(content, _PART_KINDS)))


def _add_message(messages: list[SentMessage], message: SentMessage) -> None:
    last = messages[-1] if messages else None
    if last is None or not last.role == message.role == "assistant":
        messages.append(message)
        return
    calls = (*last.tool_calls, *message.tool_calls)
    messages[-1] = SentMessage("assistant", last.text + message.text, calls, parts=(*last.parts, *message.parts))


# --- what is answered


def write_warm_up(request: RecordedRequest, number: int) -> list[dict[str, Any]]:
    """Return the events of an answer to a warm-up, which generates nothing. ``number`` counts the warm-ups."""
    sent = read_response_request(Responses.name, request)
    whole = {**_write_response(Answer(), [], sent, number), "id": f"resp_prepared_{number}"}
    return [json.loads(piece.data.partition(b"data: ")[2]) for piece in write_response_events(whole, [])]


def _write_response(answer: Answer, items: list[ResponseItem], sent: SentRequest, number: int) -> dict[str, Any]:
    reason = _INCOMPLETE.get(answer.finish_reason)
    usage = answer.usage_for(sent.http.size)
    asked = mapping(sent.raw)
    repeated = {name: asked.get(name) if asked.get(name) is not None else usual for name, usual in _REPEATED.items()}
    return {
        "id": f"resp_scripted_{number}",
        "object": "response",
        "created_at": CREATED,
        "status": "incomplete" if reason else "completed",
        "completed_at": None if reason else CREATED,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": answering_model(answer, sent),
        "output": [item.whole for item in items],
        "usage": None if usage is None else _write_usage(usage),
        **repeated,
    }


def _write_items(answer: Answer, sent: SentRequest, number: int) -> list[ResponseItem]:
    items = []
    if answer.reasoning:
        summary = [{"type": "summary_text", "text": "".join(answer.reasoning)}]
        whole = {"id": f"rs_scripted_{number}", "type": "reasoning", "summary": summary}
        items.append(ResponseItem(whole, (answer.reasoning,)))
    if answer.texts or answer.refusal is not None or not (items or answer.calls):
        items.append(_write_message(answer, sent, number))
    custom = custom_tools(sent)
    items += [_write_call(call, number, at, is_custom=call.name in custom) for at, call in enumerate(answer.calls)]
    if answer.finish_reason in _INCOMPLETE:
        items[-1].whole["status"] = "incomplete"
    return items


def _write_message(answer: Answer, sent: SentRequest, number: int) -> ResponseItem:
    parts: list[dict[str, Any]] = []
    pieces = []
    if answer.texts or answer.refusal is None:
        include = mapping(sent.raw).get("include")
        wants_logprobs = isinstance(include, list) and "message.output_text.logprobs" in include
        logprobs = write_logprobs(answer.texts) if wants_logprobs else []
        parts.append({"type": "output_text", "text": answer.text, "annotations": [], "logprobs": logprobs})
        pieces.append(answer.texts)
    if answer.refusal is not None:
        parts.append({"type": "refusal", "refusal": answer.refusal})
        pieces.append(split_text(answer.refusal))
    whole = {
        "id": f"msg_scripted_{number}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": parts,
    }
    return ResponseItem(whole, tuple(pieces))


def _write_call(call: AnsweredCall, number: int, at: int, *, is_custom: bool) -> ResponseItem:
    kind, prefix = ("custom_tool_call", "ctc") if is_custom else ("function_call", "fc")
    whole = {
        "id": f"{prefix}_scripted_{number}_{at + 1}",
        "type": kind,
        "status": "completed",
        "call_id": call_id(call, number, at),
        "name": call.name,
        _CALLS[kind]: call.arguments,
    }
    return ResponseItem(whole, (split_arguments(call.arguments),))


def _write_usage(usage: WrittenUsage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
