"""Recorded answers of providers, served byte for byte in odd pieces over a real socket."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aquila.errors import BadRequest, InvalidAnswer, ProviderError
from aquila.events import Chunk, Progress, Reasoning, ToolCall, ToolResult
from tests.support.engines import Engine
from tests.support.server import Answer, cut, serving
from tests.support.slow import slow_but_each
from tests.support.traffic import Exchange, exchanges, names, needs_corpus

PLAIN = [name for name in names() if any(each.endpoint for each in exchanges(name))]


def own_and_real(own: str, real: str) -> pytest.MarkDecorator:
    """Run a test with a cassette of this project, and with one of a real provider where it is here."""
    return pytest.mark.parametrize("name", [own, pytest.param(real, marks=needs_corpus)])


def served(*recorded: Exchange) -> list[Answer]:
    return [Answer(cut(each.body), each.status, each.content_type) for each in recorded]


def expected_text(exchange: Exchange) -> str:
    """The text of an answer, put together without any code of the engine."""
    if exchange.endpoint == "chat":
        choices = [choice for event in exchange.events for choice in event.get("choices") or ()]
        parts = [choice.get("delta") or choice.get("message") or {} for choice in choices]
        return "".join(part.get("content") or "" for part in parts)
    deltas = [event["delta"] for event in exchange.events if event.get("type") == "response.output_text.delta"]
    items = [item for event in exchange.events for item in event.get("output") or ()]
    whole = [part["text"] for item in items for part in item.get("content") or () if part["type"] == "output_text"]
    return "".join(deltas or whole)


@pytest.mark.parametrize("name", slow_but_each(4, PLAIN))
def test_every_recorded_answer_is_read_or_refused_with_a_reason(engine: Engine, name: str) -> None:
    for exchange in exchanges(name):
        if exchange.endpoint is None or b'"status": "queued"' in exchange.body:
            continue
        with serving(*served(exchange)) as server:
            url = server.url
            if is_refused(exchange):
                with pytest.raises(ProviderError):
                    engine.ask("Hi", base_url=url, endpoint=exchange.endpoint, max_retries=0)
                continue
            reply = engine.ask("Hi", base_url=url, endpoint=exchange.endpoint)
        assert reply.text == expected_text(exchange)
        assert json.loads(json.dumps(reply.raw)) == reply.raw
        assert reply.usage.reported == (b'"total_tokens"' in exchange.body)


def is_refused(exchange: Exchange) -> bool:
    """Whether an answer is an error, or nothing that the protocol knows."""
    if exchange.status >= 400 or b"event: error" in exchange.body or "text/plain" in exchange.content_type:
        return True
    return "event-stream" not in exchange.content_type and not {"choices", "output"} & set(exchange.events[0])


def answering(*names_of_results: str) -> list[Any]:
    """Tools of these names that take anything."""
    import aquila

    return [aquila.Tool(name, {}, lambda _name=name, **arguments: f"{_name} says yes") for name in names_of_results]


@pytest.mark.parametrize(
    "name",
    ["own/openai_chat_tools", pytest.param("test_openai/test_run_stream_sync_streams_real_model", marks=needs_corpus)],
)
def test_streamed_tool_call_of_openai_is_run_and_answered(engine: Engine, name: str) -> None:
    recorded = exchanges(name)
    with serving(*served(*recorded)) as server:
        events = engine.events("Capital of the UK?", base_url=server.url, tools=answering("get_capital"))
    call = next(event for event in events if isinstance(event, ToolCall))
    assert (call.name, call.arguments) == ("get_capital", {"country": "UK"})
    assert next(event for event in events if isinstance(event, ToolResult)).text == "get_capital says yes"
    assert events[-1].response.text == expected_text(recorded[1])
    assert server.seen[1].json["messages"][-1]["tool_call_id"] == call.id
    totals = [event["usage"]["total_tokens"] for each in recorded for event in each.events if event.get("usage")]
    assert events[-1].response.usage.total_tokens == sum(totals)


@pytest.mark.parametrize(
    "name",
    ["own/openai_chat_parallel_tools", pytest.param("test_openai/test_multiple_agent_tool_calls", marks=needs_corpus)],
)
def test_parallel_tool_calls_of_openai_are_all_answered(engine: Engine, name: str) -> None:
    recorded = [each for each in exchanges(name) if each.endpoint == "chat"]
    called = recorded[0].events[0]["choices"][0]["message"]["tool_calls"]
    tools = answering(*{call["function"]["name"] for call in called})
    with serving(*served(*recorded)) as server:
        reply = engine.ask("Hi", base_url=server.url, tools=tools)
    assert [call.id for call in reply.tool_calls] == [call["id"] for call in called]
    answered = [each["tool_call_id"] for each in server.seen[1].json["messages"] if each["role"] == "tool"]
    assert answered == [call["id"] for call in called]


@needs_corpus
def test_items_of_the_responses_api_are_sent_back_unchanged_with_a_tool_result(engine: Engine) -> None:
    name = "test_openai_responses/test_openai_responses_phase_streamed_on_part_start"
    recorded = exchanges(name)
    item = next(item for item in recorded[0].events[-1]["response"]["output"] if item["type"] == "function_call")
    with serving(*served(*recorded)) as server:
        reply = engine.ask("Hi", base_url=server.url, endpoint="responses", tools=answering(item["name"]))
    assert reply.tool_calls[0].id == item["call_id"]
    sent = server.seen[1].json["input"]
    assert [each["type"] for each in sent[1:]] == [
        *(each["type"] for each in recorded[0].events[-1]["response"]["output"]),
        "function_call_output",
    ]
    assert reply.text == expected_text(recorded[1])


@needs_corpus
def test_error_inside_a_stream_of_groq_has_its_code(engine: Engine) -> None:
    recorded = exchanges("test_groq/test_tool_use_failed_error_streaming")[0]
    assert b"event: error" in recorded.body
    with serving(*served(recorded)) as server, pytest.raises(BadRequest, match="tool_use_failed") as caught:
        engine.ask("Hi", base_url=server.url)
    assert caught.value.body["code"] == "tool_use_failed"


@needs_corpus
def test_usage_in_the_own_field_of_groq_is_found(engine: Engine) -> None:
    recorded = exchanges("test_groq/test_tool_use_failed_error_streaming")[-1]
    with serving(*served(recorded)) as server:
        reply = engine.ask("Hi", base_url=server.url)
    assert reply.usage.total_tokens == recorded.events[-1]["x_groq"]["usage"]["total_tokens"]


@needs_corpus
def test_reasoning_and_comments_of_openrouter_are_kept_apart_from_the_text(engine: Engine) -> None:
    recorded = exchanges("test_openrouter/test_openrouter_stream_with_native_options")[0]
    deltas = [choice["delta"] for event in recorded.events for choice in event["choices"]]
    with serving(*served(recorded)) as server:
        events = engine.events("Who are you", base_url=server.url)
    assert "".join(event.text for event in events if isinstance(event, Chunk)) == expected_text(recorded)
    thought = "".join(delta.get("reasoning") or "" for delta in deltas)
    assert "".join(event.text for event in events if isinstance(event, Reasoning)) == thought
    assert events[-1].response.raw["provider"] == "xAI"


@needs_corpus
def test_annotations_of_openrouter_are_kept_in_raw(engine: Engine) -> None:
    recorded = exchanges("test_openrouter/test_openrouter_web_search_annotations_stream")[0]
    deltas = [choice["delta"] for event in recorded.events for choice in event["choices"]]
    with serving(*served(recorded)) as server:
        reply = engine.ask("Hi", base_url=server.url)
    annotations = [each for delta in deltas for each in delta.get("annotations") or ()]
    assert annotations
    assert reply.raw["choices"][0]["message"]["annotations"] == annotations


@needs_corpus
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("test_openai_responses/test_openai_responses_model_file_search_tool_stream", "file_search_call"),
        ("test_openai_responses/test_openai_responses_model_mcp_server_tool_stream", "mcp_call"),
    ],
)
def test_steps_of_built_in_tools_are_progress(engine: Engine, name: str, kind: str) -> None:
    recorded = next(each for each in exchanges(name) if each.endpoint == "responses")
    with serving(*served(recorded)) as server:
        events = engine.events("Hi", base_url=server.url, endpoint="responses")
    steps = [event.status for event in events if isinstance(event, Progress) and event.kind == kind]
    assert steps[0] == "in_progress"
    assert steps[-2:] == ["completed", "done"]
    last = [event for event in events if isinstance(event, Progress) and event.kind == kind][-1]
    assert last.detail in events[-1].response.raw["output"]
    assert events[-1].response.raw["output"] == recorded.events[-1]["response"]["output"]


@pytest.mark.parametrize(
    "name",
    [
        "own/openai_errors",
        pytest.param("test_openai_responses/test_openai_responses_model_http_error", marks=needs_corpus),
    ],
)
def test_http_error_of_openai_keeps_its_message(engine: Engine, name: str) -> None:
    recorded = exchanges(name)[0]
    with serving(*served(recorded)) as server, pytest.raises(BadRequest) as caught:
        engine.ask("Hi", base_url=server.url, endpoint="responses")
    message = json.loads(recorded.body)["error"]["message"]
    assert message in str(caught.value)
    assert caught.value.status == recorded.status


@pytest.mark.parametrize(
    "name", ["own/openai_errors", pytest.param("test_openai/test_text_response", marks=needs_corpus)]
)
def test_plain_text_in_place_of_an_answer_is_invalid(engine: Engine, name: str) -> None:
    recorded = next(each for each in exchanges(name) if each.content_type.startswith("text/plain"))
    with serving(*served(recorded)) as server, pytest.raises(InvalidAnswer, match="text/plain"):
        engine.ask("Hi", base_url=server.url)
