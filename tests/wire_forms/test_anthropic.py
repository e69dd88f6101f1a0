"""Anthropic's forms: the order of what is streamed, what is read of a request, and where they are found."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila.cassettes.model import RecordedRequest
from aquila.errors import ConfigError
from aquila.wire_forms.answer import Answer, AnsweredCall, AnsweredError, Finish, WrittenUsage
from aquila.wire_forms.anthropic.anthropic_messages import AnthropicMessages
from aquila.wire_forms.sent import SentMessage, SentToolCall
from aquila.wire_forms.table import find_wire_form, read_sent
from tests.wire_forms.samples import HI, SCHEMA, VERSION, anthropic_message, post

FORM = AnthropicMessages()
MESSAGES = "https://api.anthropic.com/v1/messages"
CLOUD = "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/publishers/anthropic/models"


def whole(answer: Answer) -> Any:
    return json.loads(FORM.answer(answer, FORM.read(anthropic_message(False)), 1).body)


def events(answer: Answer) -> list[tuple[str, Any]]:
    """The events of an answer by a strict reader: each has a name, which is its type, and one line of data."""
    body = FORM.answer(answer, FORM.read(anthropic_message(True)), 1).body.decode()
    assert body.endswith("\n\n")
    read = []
    for block in body[:-2].split("\n\n"):
        name, data = block.splitlines()
        value = json.loads(data.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        read.append((value.pop("type"), value))
    return read


def join(read: list[tuple[str, Any]]) -> Any:
    """Make of the events the message that comes when nothing is streamed."""
    message = read[0][1]["message"]
    for name, event in read[1:]:
        if name == "content_block_start":
            assert event["index"] == len(message["content"])
            message["content"].append(event["content_block"])
        elif name == "content_block_delta":
            block, delta = message["content"][event["index"]], event["delta"]
            key, field = {
                "text_delta": ("text", "text"),
                "thinking_delta": ("thinking", "thinking"),
                "signature_delta": ("signature", "signature"),
                "input_json_delta": ("json", "partial_json"),
            }[delta["type"]]
            block[key] = block.get(key, "") + delta[field]
        elif name == "message_delta":
            message |= event["delta"]
            message["usage"] |= event["usage"]
    for block in message["content"]:
        if "json" in block:
            block["input"] = json.loads(block.pop("json") or "{}")
    return message


def test_a_stream_begins_and_ends_each_block_between_the_begin_and_the_end_of_the_message() -> None:
    calls = (AnsweredCall("weather", '{"city":"Rome"}'), AnsweredCall("now", "{}", "mine"))
    read = events(Answer(("It ", "is"), calls, ("Hm",), usage=WrittenUsage(9, 7, 2, 4)))
    deltas = [value.get("delta", {}).get("type") for _, value in read]
    assert [delta or name for (name, _), delta in zip(read, deltas, strict=True)] == [
        "message_start",
        *("content_block_start", "thinking_delta", "signature_delta", "content_block_stop"),
        *("content_block_start", "text_delta", "text_delta", "content_block_stop"),
        *("content_block_start", "input_json_delta", "input_json_delta", "input_json_delta", "content_block_stop"),
        *("content_block_start", "input_json_delta", "input_json_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    started = read[0][1]["message"]
    assert (started["stop_reason"], started["content"], started["usage"]["output_tokens"]) == (None, [], 1)
    begun = [value["content_block"] for name, value in read if name == "content_block_start"]
    assert [block.get("id") for block in begun] == [None, None, "toolu_1_1", "mine"]
    assert [block.get("input") for block in begun[2:]] == [{}, {}]
    # Tokens of the cache are no part of those of the input, and those of thoughts are a part of those of the output.
    assert read[-2][1]["usage"] == {
        "input_tokens": 5,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 4,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 2},
    }


TEXTS = st.text(max_size=20)


@given(
    texts=st.lists(TEXTS, max_size=4),
    thoughts=st.lists(TEXTS, max_size=3),
    calls=st.lists(st.dictionaries(TEXTS, st.none() | st.integers() | TEXTS | st.lists(TEXTS), max_size=3), max_size=3),
)
def test_the_parts_of_a_stream_make_the_whole_answer(
    texts: list[str], thoughts: list[str], calls: list[dict[str, Any]]
) -> None:
    called = tuple(AnsweredCall("weather", json.dumps(each, ensure_ascii=False)) for each in calls)
    answer = Answer(tuple(texts), called, tuple(thoughts))
    message = whole(answer)
    assert join(events(answer)) == message
    by_kind = {kind: [each for each in message["content"] if each["type"] == kind] for kind in ("text", "tool_use")}
    assert "".join(block["text"] for block in by_kind["text"]) == "".join(texts)
    assert [block["input"] for block in by_kind["tool_use"]] == calls


def test_a_refusal_has_no_content_and_its_text_explains_it() -> None:
    answer = Answer(refusal="I can't.")
    message = whole(answer)
    assert join(events(answer)) == message
    assert (message["content"], message["stop_reason"]) == ([], "refusal")
    assert message["stop_details"] == {"type": "refusal", "category": None, "explanation": "I can't."}


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("content_filter", "refusal"),
        ("refusal", "refusal"),
    ],
)
def test_why_an_answer_ends_is_told_in_words_of_anthropic(finish: Finish, reason: str) -> None:
    message = whole(Answer(("It ", "is"), finish=finish))
    assert (message["stop_reason"], message["content"][0]["text"]) == (reason, "It is")
    assert (message["stop_details"] is not None) is (reason == "refusal")


def test_the_signature_of_thoughts_comes_with_the_last_of_them() -> None:
    sent = FORM.read(anthropic_message(True))
    response = FORM.answer(Answer(("a ", "b"), (), ("H", "m"), first=1.0, pace=1.0), sent, 1)
    assert [chunk.at for chunk in response.chunks if b"_delta" in chunk.data] == [1000, 2000, 2000, 3000, 4000, 4000]


def test_an_empty_answer_has_no_block_and_one_without_usage_has_counts_of_nothing() -> None:
    message = whole(Answer(usage=False))
    assert (message["content"], message["stop_reason"]) == ([], "end_turn")
    assert message["usage"]["input_tokens"] == message["usage"]["output_tokens"] == 0


@pytest.mark.parametrize("arguments", ['{"city": Rome}', "[1]", "null", '{"a": NaN}', '{"a": 1e999}', "[" * 9999])
def test_arguments_that_are_no_object_come_as_they_are_and_only_in_a_stream(arguments: str) -> None:
    answer = Answer(calls=(AnsweredCall("weather", arguments),))
    deltas = [value["delta"]["partial_json"] for name, value in events(answer) if name == "content_block_delta"]
    assert "".join(deltas) == arguments
    with pytest.raises(ConfigError, match=r"arguments of weather .* Anthropic messages"):
        whole(answer)


def test_no_arguments_at_all_are_an_empty_object() -> None:
    assert whole(Answer(calls=(AnsweredCall("weather", ""),)))["content"][0]["input"] == {}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_an_error_has_the_type_of_its_status(status: int, kind: str) -> None:
    response = FORM.answer(Answer(error=AnsweredError(status)), FORM.read(anthropic_message(True)), 3)
    body = json.loads(response.body)
    assert (body["type"], body["error"]["type"], response.status) == ("error", kind, status)
    assert body["request_id"] == response.first_header("request-id") == "req_scripted_3"


def test_an_error_may_name_its_own_type_and_code() -> None:
    error = AnsweredError(403, "No", type="own_error", code="organization_on_hold")
    body = json.loads(FORM.answer(Answer(error=error), FORM.read(anthropic_message(False)), 1).body)
    assert body["error"] == {"type": "own_error", "message": "No", "details": {"error_code": "organization_on_hold"}}


def test_a_conversation_is_read_with_a_message_for_each_result() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
    messages = [
        {"role": "user", "content": [_text("What "), image, document, _text("is?")]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm", "signature": "x"},
                _text("Let me see."),
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}},
                {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [_text("18 °C"), image]},
                {"type": "tool_result", "tool_use_id": "t2", "content": "noon"},
                _text("Well?"),
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t3", "content": "late"}]},
    ]
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    search = {"type": "web_search_20250305", "name": "web_search"}
    tools = [{"name": "weather", "input_schema": SCHEMA}, search]
    read = read_sent(post(MESSAGES, {"model": "m", "system": system, "messages": messages, "tools": tools}))
    assert read.messages == (
        SentMessage("system", "Be brief."),
        SentMessage("user", "What is?", parts=("image", "file")),
        SentMessage("assistant", "Let me see.", (SentToolCall("weather", {"city": "Rome"}, "t1"),)),
        SentMessage("tool", "18 °C", tool_call_id="t1", parts=("image",)),
        SentMessage("tool", "noon", tool_call_id="t2"),
        SentMessage("user", "Well?"),
        SentMessage("tool", "late", tool_call_id="t3"),
    )
    assert [(tool.name, tool.parameters) for tool in read.tools] == [("weather", SCHEMA), ("web_search", {})]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


@pytest.mark.parametrize(
    ("method", "url", "name", "model"),
    [
        ("POST", f"{MESSAGES}?beta=true", "Anthropic messages", ""),
        ("POST", "https://gateway.example.com/anthropic/v1/messages", "Anthropic messages", ""),
        ("POST", f"{CLOUD}/claude-a%40today:rawPredict", "Anthropic messages", "claude-a@today"),
        ("POST", f"{CLOUD}/claude-a:streamRawPredict", "Anthropic messages", "claude-a"),
        ("POST", f"{CLOUD}/count-tokens:rawPredict", "Anthropic count of tokens", "count-tokens"),
        ("POST", f"{MESSAGES}/count_tokens", "Anthropic count of tokens", ""),
        ("POST", f"{MESSAGES}/batches", None, ""),
        ("POST", f"{CLOUD}/claude-a:predict", None, ""),
        ("POST", "https://api.openai.com/v1/threads/t/messages", None, ""),
        ("GET", "https://api.anthropic.com/v1/models", "Anthropic models", ""),
        ("GET", "https://api.anthropic.com/v1/models/claude-a?x=1", "Anthropic models", "claude-a"),
        ("GET", "https://api.anthropic.com/v1/models/claude-a/more", "OpenAI models", "claude-a/more"),
    ],
)
def test_a_request_is_found_by_its_path(method: str, url: str, name: str | None, model: str) -> None:
    request = RecordedRequest(method, url, VERSION, json.dumps({"messages": HI}).encode())
    form = find_wire_form(request)
    assert (form.name if form is not None else None) == name
    assert read_sent(request).model == model


def test_models_without_a_version_are_those_of_openai() -> None:
    form = find_wire_form(RecordedRequest("GET", "https://api.anthropic.com/v1/models"))
    assert form is not None
    assert form.name == "OpenAI models"
