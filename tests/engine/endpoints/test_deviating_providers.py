"""Providers that deviate from the protocol, beyond what test_ask and test_tool_loop cover."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

import aquila
from aquila.errors import BadRequest, ProviderError, ProviderUnavailable, RateLimited
from aquila.events import Chunk, Retry
from tests.support.engines import Engine
from tests.support.provider import (
    chat_calls,
    chat_chunk,
    chat_frame,
    chat_stream,
    one_call,
    responses_stream,
    tool_fragment,
)
from tests.support.server import Answer, cut, json_answer, serving, sse


@aquila.tool
def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


class Sum(pydantic.BaseModel):
    """An answer in a type."""

    total: int


REFUSED = json_answer({"error": {"message": "messages[2].role: 'tool' is not one of user, assistant"}}, 400)


def test_a_conversation_whose_tool_role_is_refused_is_rewritten_once(engine: Engine) -> None:
    script = [one_call("add", '{"a": 1}'), REFUSED, one_call("add", '{"a": 2}', "call_2"), chat_stream("done")]
    with serving(*script) as server:
        events = engine.events("Hi", base_url=server.url, tools=[add])
    assert events[-1].response.text == "done"
    assert [(event.delay, type(event.error)) for event in events if isinstance(event, Retry)] == [(0.0, BadRequest)]
    retried, last = server.seen[2].json["messages"], server.seen[3].json["messages"]
    assert retried == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": '[I call the tool add with {"a": 1}]'},
        {"role": "user", "content": "[The tool add returned] 2"},
    ]
    assert last[3:] == [
        {"role": "assistant", "content": '[I call the tool add with {"a": 2}]'},
        {"role": "user", "content": "[The tool add returned] 3"},
    ]
    # The caller continues the conversation as it was, not as it had to be sent.
    assert [message.role for message in events[-1].response.messages[:3]] == ["user", "assistant", "tool"]


def test_second_refusal_is_an_error(engine: Engine) -> None:
    with serving(one_call("add", '{"a": 1}'), REFUSED, REFUSED) as server, pytest.raises(BadRequest, match="'tool'"):
        engine.ask("Hi", base_url=server.url, tools=[add])
    assert len(server.seen) == 3


def test_other_refusals_are_not_retried(engine: Engine) -> None:
    other = json_answer({"error": {"message": "no such model"}}, 400)
    with serving(one_call("add", '{"a": 1}'), other) as server, pytest.raises(BadRequest, match="no such model"):
        engine.ask("Hi", base_url=server.url, tools=[add])
    with serving(REFUSED) as server, pytest.raises(BadRequest):
        engine.ask("Hi", base_url=server.url, tools=[add])  # no message of that role was sent
    assert len(server.seen) == 1


def forbidden(*place: str) -> Answer:
    """The refusal of a field in Mistral's words."""
    detail = [{"type": "extra_forbidden", "loc": ["body", *place], "msg": "Extra inputs are not permitted"}]
    return json_answer({"object": "error", "message": {"detail": detail}, "type": "invalid_request_error"}, 422)


def test_fields_of_openai_that_a_provider_refuses_are_left_out_or_renamed(engine: Engine) -> None:
    refusals = [forbidden("stream_options", "include_usage"), forbidden("max_completion_tokens")]
    with serving(*refusals, one_call("add", '{"a": 1}'), chat_stream("done")) as server:
        reply = engine.ask("Hi", base_url=server.url, tools=[add], max_output_tokens=9)
    assert (reply.text, reply.usage.output_tokens) == ("done", 4)
    fields = [seen.json.keys() & {"stream_options", "max_completion_tokens", "max_tokens"} for seen in server.seen]
    assert fields == [{"stream_options", "max_completion_tokens"}, {"max_completion_tokens"}, *[{"max_tokens"}] * 2]
    assert server.seen[-1].json["max_tokens"] == 9


def test_a_request_that_is_refused_in_both_forms_reports_both_refusals(engine: Engine) -> None:
    first, second = (
        json_answer({"error": {"message": f"Unsupported parameter: '{name}'"}}, 400)
        for name in ("max_completion_tokens", "max_tokens")
    )
    unlike = json_answer({"error": {"message": "no such model"}}, 400)
    with serving(first, second, first, one_call("add", '{"a": 1}'), unlike) as server:
        with pytest.raises(BadRequest, match="'max_tokens'") as caught:
            engine.ask("Hi", base_url=server.url, max_output_tokens=9)
        with pytest.raises(BadRequest, match="no such model") as later:
            engine.ask("Hi", base_url=server.url, tools=[add], max_output_tokens=9)
    (note,) = caught.value.__notes__
    assert "'max_completion_tokens'" in note
    assert not hasattr(later.value, "__notes__")


def test_reasoning_is_sent_back_if_the_provider_demands_it(engine: Engine) -> None:
    thought = sse(
        chat_chunk(reasoning_content="hm "),
        chat_chunk(reasoning_content="so", tool_calls=[tool_fragment(0, '{"a": 1}', "call_1", "add")]),
        chat_chunk(finish="tool_calls"),
    )
    missing = json_answer({"error": {"message": "Missing `reasoning_content` field in the assistant message"}}, 400)
    with serving(thought, missing, chat_stream("done")) as server:
        assert engine.ask("Hi", base_url=server.url, tools=[add]).text == "done"
    sent = [[message.get("reasoning_content") for message in seen.json["messages"]] for seen in server.seen]
    assert sent == [[None], [None, None, None], [None, "hm so", None]]
    with serving(thought, missing, missing) as server, pytest.raises(BadRequest, match="Missing"):
        engine.ask("Hi", base_url=server.url, tools=[add])


@pytest.mark.parametrize("is_streamed", [True, False], ids=["streamed", "whole"])
def test_what_a_provider_adds_to_a_tool_call_is_sent_back(engine: Engine, *, is_streamed: bool) -> None:
    signed = tool_fragment(0, '{"a": 1}', "call_1", "add") | {"extra_content": {"google": {"thought_signature": "x="}}}
    called = Answer([chat_calls(signed)])
    if not is_streamed:
        message = {"role": "assistant", "content": None, "tool_calls": [{**signed, "type": "function"}]}
        called = json_answer(chat_frame([{"index": 0, "message": message, "finish_reason": "tool_calls"}]))
    with serving(called, chat_stream("done"), chat_stream("again")) as server:
        reply = engine.ask("Hi", base_url=server.url, tools=[add])
        (sent,) = server.seen[1].json["messages"][1]["tool_calls"]
        engine.ask([*server.seen[1].json["messages"], ("user", "And?")], base_url=server.url)
        assert server.seen[2].json["messages"][1]["tool_calls"] == [sent]
    assert sent["extra_content"] == {"google": {"thought_signature": "x="}}
    assert reply.messages[1].calls[0].extra == {"extra_content": sent["extra_content"]}


def test_a_refused_value_of_a_field_is_an_error(engine: Engine) -> None:
    text = "max_completion_tokens is too large: 999999. This model supports at most 16384 completion tokens"
    refusal = json_answer({"error": {"message": text}}, 400)
    with serving(refusal) as server, pytest.raises(BadRequest, match="too large"):
        engine.ask("Hi", base_url=server.url, max_output_tokens=999_999)


def test_error_object_of_status_200_is_an_error(engine: Engine, endpoint: str) -> None:
    error = json_answer({"error": {"message": "Rate limit", "code": 429}})
    with serving(error) as server, pytest.raises(RateLimited, match="Rate limit"):
        engine.ask("Hi", base_url=server.url, endpoint=endpoint)


def test_error_that_is_a_text_is_shown_in_a_stream_too(engine: Engine) -> None:
    # As TGI and Ollama send it. The SDK keeps only the errors that are objects in its message.
    broken = sse(chat_chunk("half"), {"error": "CUDA out of memory", "error_type": "generation"})
    with serving(broken) as server, pytest.raises(ProviderError, match="CUDA out of memory"):
        engine.ask("Hi", base_url=server.url)


def test_error_inside_a_choice_is_an_error(engine: Engine) -> None:
    choice = {
        "index": 0,
        "delta": {"content": ""},
        "finish_reason": "error",
        "error": {"code": 502, "message": "upstream"},
    }
    with serving(sse(chat_chunk("half"), chat_frame([choice]))) as server, pytest.raises(ProviderUnavailable):
        engine.ask("Hi", base_url=server.url)


def test_tool_calls_with_the_finish_reason_stop_are_returned_and_not_parsed(engine: Engine) -> None:
    called = sse(chat_chunk(tool_calls=[tool_fragment(0, "{}", "c", "own")]), chat_chunk(finish="stop"))
    own = aquila.Tool("own", {"type": "object"})
    with serving(called) as server:
        reply = engine.ask("Hi", base_url=server.url, tools=[own], response_format=Sum)
    assert [call.name for call in reply.tool_calls] == ["own"]
    assert reply.parsed is None


def test_filtered_answer_has_the_finish_reason_content_filter(engine: Engine) -> None:
    with serving(chat_stream("some", finish="content_filter")) as server:
        reply = engine.ask("Hi", base_url=server.url)
    assert (reply.text, reply.meta["finish_reason"]) == ("some", "content_filter")


def test_empty_finish_reasons_around_the_finish_reason_are_none(engine: Engine) -> None:
    frames = [chat_chunk("ok", finish=""), chat_chunk(finish="stop"), chat_chunk("", finish="")]
    with serving(sse(*frames)) as server:
        assert engine.ask("Hi", base_url=server.url).meta["finish_reason"] == "stop"


def test_usage_in_every_chunk_is_counted_once(engine: Engine) -> None:
    def usage(output: int) -> dict[str, int]:
        return {"prompt_tokens": 3, "completion_tokens": output, "total_tokens": 3 + output}

    frames = [
        chat_chunk("a") | {"usage": usage(1)},
        chat_chunk("b") | {"usage": usage(2)},
        chat_chunk(finish="stop") | {"usage": usage(2)},
    ]
    with serving(sse(*frames)) as server:
        assert engine.ask("Hi", base_url=server.url).usage.total_tokens == 5


@pytest.mark.parametrize("content_type", ["text/plain", "text/html; charset=utf-8", "application/json"])
def test_stream_with_another_content_type_is_still_read(content_type: str, engine: Engine, endpoint: str) -> None:
    stream = chat_stream("ok") if endpoint == "chat" else responses_stream("ok")
    with serving(Answer(cut(b": hello\n\n" + stream), content_type=content_type)) as server:
        events = engine.events("Hi", base_url=server.url, endpoint=endpoint)
    assert "".join(event.text for event in events if isinstance(event, Chunk)) == "ok"


def test_stream_without_a_content_type_is_still_read(engine: Engine) -> None:
    with serving(Answer(cut(chat_stream("ok")), content_type="")) as server:
        assert engine.ask("Hi", base_url=server.url).text == "ok"


def test_carriage_returns_and_split_characters_are_read(engine: Engine) -> None:
    body = chat_stream("über ", "✨").replace(b"\n", b"\r\n")
    with serving(Answer([body[n : n + 1] for n in range(len(body))])) as server:
        assert engine.ask("Hi", base_url=server.url).text == "über ✨"


def test_null_in_place_of_lists_and_texts_is_read(engine: Engine) -> None:
    frames = [
        chat_frame([{"index": 0, "delta": {"content": None, "tool_calls": None}, "finish_reason": None}], usage=None),
        {**chat_frame([]), "choices": None},
        chat_frame([{"index": 0, "delta": None, "finish_reason": None}]),
        chat_chunk("ok"),
        chat_chunk(finish="stop"),
    ]
    with serving(sse(*frames)) as server:
        assert engine.ask("Hi", base_url=server.url).text == "ok"


def test_content_in_parts_is_text_and_reasoning(engine: Engine) -> None:
    parts: list[list[dict[str, Any]]] = [
        [{"type": "thinking", "thinking": [{"type": "text", "text": "Is it"}]}],
        [{"type": "thinking", "thinking": " so?"}, {"type": "text", "text": "Yes"}, {"type": "image_url"}],
    ]
    chunks = [chat_chunk(content=content) for content in parts]
    with serving(Answer(cut(sse(*chunks, chat_chunk(".", finish="stop"))))) as server:
        reply = engine.ask("Hi", base_url=server.url)
    assert (reply.text, reply.reasoning) == ("Yes.", "Is it so?")


def test_a_second_refusal_about_missing_reasoning_is_an_error(engine: Engine) -> None:
    """No message is the model's, so there is none to which its reasoning could be added."""
    missing = json_answer({"error": {"message": "messages[0].reasoning_content: field is missing"}}, 400)
    with serving(missing, missing) as server, pytest.raises(BadRequest, match="is missing"):
        engine.ask("Hi", base_url=server.url)
    assert len(server.seen) == 2
