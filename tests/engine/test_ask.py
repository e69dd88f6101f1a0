"""A plain question and its answer, over both endpoints, synchronous and asynchronous."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aquila
from aquila.events import Chunk, Done, Reasoning, Usage
from tests.support.engines import KEY, Engine
from tests.support.examples import examples
from tests.support.provider import STREAMS, chat_chunk, chat_frame, chat_stream, response_object, responses_events
from tests.support.server import Answer, cut, json_answer, serving, sse


def test_answer_holds_text_usage_meta_and_raw(engine: Engine, endpoint: str) -> None:
    answer = Answer(cut(STREAMS[endpoint]("Hel", "lo ", "✨")), headers={"x-request-id": "req_7"})
    with serving(answer) as server:
        reply = engine.ask("Hi", base_url=server.url, endpoint=endpoint, model="an-alias", metadata={"job": 123})
    assert reply.text == str(reply) == "Hello ✨"
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.total_tokens) == (5, 2, 7)
    expected = {
        "model": "test-model",  # as the provider names it
        "endpoint": endpoint,
        "finish_reason": "stop",
        "id": {"chat": "chatcmpl-1", "responses": "resp_1"}[endpoint],
        "request_id": "req_7",
        "metadata": {"job": 123},
        "transport": "live",
        "turns": 1,
        "retries": 0,
    }
    assert {name: reply.meta[name] for name in expected} == expected
    assert json.loads(json.dumps(reply.raw)) == reply.raw
    if endpoint == "chat":
        assert reply.raw["object"] == "chat.completion"
        assert reply.raw["choices"][0]["message"] == {"role": "assistant", "content": "Hello ✨", "refusal": None}
        assert reply.raw["usage"]["total_tokens"] == 7
    else:
        assert reply.raw["object"] == "response"
        assert reply.raw["output"][0]["content"][0]["text"] == "Hello ✨"
        assert (reply.usage.cached_tokens, reply.usage.reasoning_tokens) == (1, 1)


def test_meta_counts_the_retries_and_is_about_the_last_request(engine: Engine) -> None:
    with serving(json_answer({}, 503, retry_after="0.001", x_request_id="req_1"), chat_stream("ok")) as server:
        meta = engine.ask("Hi", base_url=server.url).meta
    assert (meta["retries"], meta["request_id"]) == (1, None)


def test_raw_answer_has_its_keys_in_a_fixed_order(engine: Engine) -> None:
    with serving(chat_stream("Hello")) as server:
        reply = engine.ask("Hi", base_url=server.url)
    assert list(reply.raw) == ["id", "created", "model", "object", "choices", "usage"]


def test_options_are_sent_in_the_form_of_chat(engine: Engine) -> None:
    with serving(chat_stream("ok")) as server:
        engine.ask(
            "Hi",
            base_url=server.url,
            instructions="Be brief.",
            temperature=0,
            seed=7,
            max_output_tokens=20,
            metadata={"id": 1},
            provider_options={"top_k": 3, "user": "u"},
        )
    assert server.seen[0].path == "/v1/chat/completions"
    assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert server.seen[0].json == {
        "model": "test-model",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "seed": 7,
        "max_completion_tokens": 20,
        "top_k": 3,
        "user": "u",
    }


def test_options_are_sent_in_the_form_of_responses(engine: Engine) -> None:
    with serving(STREAMS["responses"]("ok")) as server:
        engine.ask(
            "Hi",
            base_url=server.url,
            endpoint="responses",
            instructions="Be brief.",
            temperature=0.5,
            max_output_tokens=20,
            metadata={"id": 1, "kind": "test", "counts": {"b": 1, "a": 2, 3: 4}},
            provider_options={"truncation": "auto"},
        )
    assert server.seen[0].path == "/v1/responses"
    assert server.seen[0].json == {
        "model": "test-model",
        "instructions": "Be brief.",
        "input": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "temperature": 0.5,
        "max_output_tokens": 20,
        "metadata": {"id": "1", "kind": "test", "counts": '{"3": 4, "a": 2, "b": 1}'},
        "truncation": "auto",
    }


def test_stream_yields_typed_events_that_carry_ref_and_metadata(engine: Engine, endpoint: str) -> None:
    with serving(STREAMS[endpoint]("a", "b")) as server:
        events = engine.events("Hi", base_url=server.url, endpoint=endpoint, metadata={"id": 5})
    texts = [event for event in events if isinstance(event, Chunk)]
    assert texts == [Chunk("a"), Chunk("b")]
    assert [type(event) for event in events[-2:]] == [Usage, Done]
    assert len({event.ref for event in events}) == 1
    assert all(event.metadata == {"id": 5} for event in events)
    assert events[-1].response.meta["ref"] == events[0].ref


def test_ask_and_stream_agree_on_the_answer(engine: Engine, endpoint: str) -> None:
    with serving(*[STREAMS[endpoint]("one ", "two")] * 2) as server:
        asked = engine.ask("Hi", base_url=server.url, endpoint=endpoint)
        streamed = engine.events("Hi", base_url=server.url, endpoint=endpoint)[-1].response
    assert (asked.text, asked.usage, asked.raw) == (streamed.text, streamed.usage, streamed.raw)


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), max_size=6),
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=5),
)
def test_text_survives_however_the_bytes_are_cut(endpoint: str, texts: list[str], sizes: list[int]) -> None:
    import httpx2

    body = STREAMS[endpoint](*texts)
    headers = {"content-type": "text/event-stream"}
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, headers=headers, content=cut(body, sizes)))
    assert aquila.ask("Hi", transport=transport, endpoint=endpoint).text == "".join(texts)


def test_usage_of_an_answer_without_usage_is_marked_as_not_reported(engine: Engine) -> None:
    with serving(chat_stream("ok", usage=None)) as server:
        usage = engine.ask("Hi", base_url=server.url).usage
    assert usage == Usage(reported=False)


def test_missing_done_marker_is_no_error_after_a_finish_reason(engine: Engine) -> None:
    with serving(chat_stream("ok", done=False)) as server:
        assert engine.ask("Hi", base_url=server.url).text == "ok"


def test_json_in_place_of_a_stream_is_read_as_the_answer(engine: Engine) -> None:
    message = {"role": "assistant", "content": "whole"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    completion = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }
    with serving(*[json_answer(completion)] * 2) as server:
        reply = engine.ask("Hi", base_url=server.url)
        assert reply.text == "whole"
        assert reply.raw == completion
        assert reply.usage.total_tokens == 2
        assert Chunk("whole") in engine.events("Hi", base_url=server.url)


def test_json_in_place_of_a_responses_stream_is_read_as_the_answer(engine: Engine) -> None:
    final = responses_events("whole")[-1]["response"]
    with serving(json_answer(final)) as server:
        reply = engine.ask("Hi", base_url=server.url, endpoint="responses")
    assert reply.text == "whole"
    assert reply.raw == final


def test_empty_choices_comments_and_unknown_fields_are_tolerated(engine: Engine) -> None:
    frames = [
        chat_frame([], prompt_filter_results=[{"prompt_index": 0}]),
        chat_chunk("ok", vendor_field="x"),
        chat_chunk(finish="stop"),
    ]
    body = b": OPENROUTER PROCESSING\n\n" + sse(*frames).replace(b"\n\n", b"\n\n: keep-alive\n\n")
    with serving(Answer(cut(body))) as server:
        reply = engine.ask("Hi", base_url=server.url)
    assert reply.text == "ok"
    assert reply.raw["prompt_filter_results"] == [{"prompt_index": 0}]
    assert reply.raw["choices"][0]["message"]["vendor_field"] == "x"


def test_lists_that_are_streamed_in_pieces_are_joined_in_the_raw_answer(engine: Engine) -> None:
    rates = [{"token": text, "logprob": -0.5, "bytes": None, "top_logprobs": []} for text in ("He", "llo")]
    sources = [{"type": "url_citation", "url_citation": {"url": url}} for url in ("https://a.org", "https://b.org")]
    frames = [
        chat_frame(
            [
                {
                    "index": 0,
                    "delta": {"content": rate["token"], "annotations": [source]},
                    "logprobs": {"content": [rate]},
                }
            ]
        )
        for rate, source in zip(rates, sources, strict=True)
    ]
    with serving(Answer([sse(*frames, chat_chunk(annotations=None, finish="stop"), done=True)])) as server:
        reply = engine.ask("Hi", base_url=server.url, provider_options={"logprobs": True})
    (choice,) = reply.raw["choices"]
    assert choice["message"]["content"] == "Hello"
    assert [each["token"] for each in choice["logprobs"]["content"]] == ["He", "llo"]
    assert choice["message"]["annotations"] == sources


def test_reasoning_is_kept_apart_from_the_text(engine: Engine) -> None:
    body = sse(
        chat_chunk(reasoning_content="hm "),
        chat_chunk(reasoning_content="so"),
        chat_chunk("42"),
        chat_chunk(finish="stop"),
    )
    with serving(body, body) as server:
        reply = engine.ask("Hi", base_url=server.url)
        events = engine.events("Hi", base_url=server.url)
    assert (reply.text, reply.reasoning) == ("42", "hm so")
    assert [event.text for event in events if isinstance(event, Reasoning)] == ["hm ", "so"]


def test_second_choice_is_kept_in_raw_and_out_of_the_text(engine: Engine) -> None:
    def both(text: str | None, other: str | None, finish: str | None = None) -> dict[str, object]:
        deltas = [{"content": text} if text else {}, {"content": other} if other else {}]
        return chat_frame([{"index": n, "delta": delta, "finish_reason": finish} for n, delta in enumerate(deltas)])

    with serving(sse(both("a", "x"), both("b", "y"), both(None, None, "stop"))) as server:
        reply = engine.ask("Hi", base_url=server.url, provider_options={"n": 2})
    assert reply.text == "ab"
    assert [choice["message"]["content"] for choice in reply.raw["choices"]] == ["ab", "xy"]


def test_refusal_is_not_part_of_the_text(engine: Engine) -> None:
    body = sse(chat_chunk(refusal="I will "), chat_chunk(refusal="not."), chat_chunk(finish="stop"))
    with serving(body) as server:
        reply = engine.ask("Hi", base_url=server.url)
    assert (reply.text, reply.refusal) == ("", "I will not.")


@pytest.mark.parametrize(
    ("details", "reason"),
    [({"reason": "max_output_tokens"}, "length"), ({"reason": "content_filter"}, "content_filter")],
)
def test_finish_reason_of_an_incomplete_answer_says_why(engine: Engine, details: dict[str, str], reason: str) -> None:
    with serving(STREAMS["responses"]("half", status="incomplete", incomplete_details=details)) as server:
        reply = engine.ask("Hi", base_url=server.url, endpoint="responses")
    assert (reply.text, reply.meta["finish_reason"]) == ("half", reason)


def test_final_response_without_output_is_completed_from_its_items(engine: Engine) -> None:
    events = responses_events("text")
    events[-1]["response"] = response_object([])
    with serving(sse(*events, done=False)) as server:
        reply = engine.ask("Hi", base_url=server.url, endpoint="responses")
    assert reply.text == "text"
    assert reply.raw["output"][0]["content"][0]["text"] == "text"
