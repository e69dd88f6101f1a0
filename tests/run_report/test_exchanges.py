"""What an exchange says of a request and its answer, in the form of each provider."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aquila.cassettes.answers.answer_content import read_answer
from aquila.cassettes.body_file import BodyFile, StoredChunks, name_of_body
from aquila.cassettes.model import RecordedChunk, RecordedRequest, RecordedResponse
from aquila.prices import read_prices
from aquila.run_report.bodies import LONGEST, Bodies, read_body
from aquila.run_report.costs import Costs
from aquila.run_report.exchanges import ExchangeReader
from aquila.run_report.large_answers import MOST_READ, read_both_ends
from aquila.run_report.related_requests import count_attempts, pair_across
from aquila.wire_forms.answer import Answer, AnsweredCall, WrittenUsage
from aquila.wire_forms.table import read_request
from tests.run_report.sample_runs import make_exchange
from tests.support.examples import examples
from tests.wire_forms import samples

FORMS: dict[str, Callable[[bool], RecordedRequest]] = {
    "chat completions": samples.chat_completion,
    "responses": samples.response,
    "anthropic": samples.anthropic_message,
    "gemini": samples.gemini_content,
    "ollama": samples.ollama_chat,
    "bedrock": samples.bedrock_converse,
    "anthropic at bedrock": samples.anthropic_at_bedrock,
}


def read(request: RecordedRequest, response: RecordedResponse | None, costs: Costs | None = None) -> Any:
    """The exchange of a request and its answer, and the bodies beside it."""
    bodies = Bodies()
    return ExchangeReader(bodies, costs).read(request, response, "1"), bodies.take_new()


def answered(request: RecordedRequest, answer: Answer) -> RecordedResponse:
    """The answer of a script in the form of a request."""
    form, sent = read_request(request)
    assert form is not None
    return form.answer(answer, sent, 1)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("form", FORMS)
def test_an_answer_is_told_in_one_way_for_all_providers(form: str, streamed: bool) -> None:
    request = FORMS[form](streamed)
    answer = Answer(
        texts=("It ", "rains 🌧."),
        reasoning=("I ", "think."),
        calls=(AnsweredCall("weather", '{"city": "Ulm"}', "call_7"), AnsweredCall("weather", '{"city": "Rome"}')),
        usage=WrittenUsage(20, 5),
        first=0.25,
        pace=0.1,
    )
    exchange, _ = read(request, answered(request, answer))
    (message,) = exchange["answer"]
    assert (message["role"], message["text"]) == ("assistant", "It rains 🌧.")
    assert message["reasoning"] == "I think."
    calls = [(call["name"], json.loads(call["arguments"])) for call in message["tool_calls"]]
    assert calls == [("weather", {"city": "Ulm"}), ("weather", {"city": "Rome"})]
    if (form, streamed) != ("chat completions", True):  # that tells none if it is not asked to
        usage = exchange["usage"]
        assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (20, 5, 25)
    assert exchange["messages"][0] == {"role": "user", "text": "hi"}
    assert exchange["tools"] == ["weather"]
    if streamed:
        assert exchange["timing"]["first_token"] == 250
        assert len(exchange["timing"]["chunks"]) > 3


def test_tool_calls_stand_beside_their_results() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Ulm"}'}}
    messages = [
        {"role": "user", "content": "Ulm?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]
    request = samples.post("https://api.openai.com/v1/chat/completions", {"model": "m", "messages": messages})
    exchange, _ = read(request, None)
    (told,) = exchange["messages"][1]["tool_calls"]
    assert told == {"name": "weather", "id": "c1", "arguments": '{"city": "Ulm"}', "result": "rain"}


@pytest.mark.parametrize(
    ("first", "is_retried"),
    [
        ({"status": 0, "end": "silent"}, True),
        ({"status": 0, "end": "broken"}, True),
        ({"status": 503}, True),
        ({"status": None}, True),
        ({"states": ["faulted"]}, True),
        ({"end": "open"}, False),
        ({"status": 101, "end": "broken"}, False),  # a conversation over a WebSocket
    ],
)
def test_a_request_that_is_sent_again_after_a_failure_is_another_attempt(
    first: dict[str, Any], is_retried: bool
) -> None:
    both: list[Any] = [make_exchange(1, **first), make_exchange(2)]
    count_attempts(both)
    assert [each.get("attempt") for each in both] == ([1, 2] if is_retried else [None, None])


@pytest.mark.parametrize("name", ["content", "requests", "instances"])
def test_the_content_of_embeddings_of_gemini_is_no_parameter(name: str) -> None:
    request = samples.post("https://aiplatform.googleapis.com/v1/models/e:embedContent", {name: {}, "top_k": 1})
    assert read(request, None)[0]["parameters"] == {"top_k": 1}


@pytest.mark.parametrize("has_ids", [True, False])
def test_a_result_belongs_to_the_last_call_before_it(has_ids: bool) -> None:
    call, result = ({"id": "c1"}, {"tool_call_id": "c1"}) if has_ids else ({}, {})

    def answer() -> list[Any]:
        return [{"role": "assistant", "tool_calls": [{"name": "weather", "arguments": "{}", **call}]}]

    rain, sun = ({"role": "tool", "text": text, **result} for text in ("rain", "sun"))
    sent: list[list[Any]] = [[], [rain], [rain, {"role": "assistant"}, sun]]
    exchanges: list[Any] = [make_exchange(messages=each, answer=answer()) for each in sent]
    pair_across(exchanges)
    assert [each["answer"][0]["tool_calls"][0].get("result") for each in exchanges] == ["rain", "sun", None]


DOT = base64.b64encode(b"\x89PNG dot").decode()
IMAGES: dict[str, tuple[str, Any]] = {
    "chat completions": (
        "https://api.openai.com/v1/chat/completions",
        {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DOT}"}}]}]},
    ),
    "responses": (
        "https://api.openai.com/v1/responses",
        {"input": [{"role": "user", "content": [
            {"type": "input_image", "image_url": f"data:image/png;base64,{DOT}"}]}]},
    ),
    "anthropic": (
        "https://api.anthropic.com/v1/messages",
        {"messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DOT}}]}]},
    ),
    "gemini": (
        f"{samples.GOOGLE}/gemini:generateContent",
        {"contents": [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": DOT}}]}]},
    ),
    "gemini, in another spelling": (
        f"{samples.GOOGLE}/gemini:generateContent",
        {"contents": [{"role": "user", "parts": [{"inline_data": {"mime_type": "image/png", "data": DOT}}]}]},
    ),
    "ollama": (
        "http://localhost:11434/api/chat", {"messages": [{"role": "user", "content": "", "images": [DOT]}]}
    ),
    "bedrock": (
        "https://bedrock-runtime.us-east-1.amazonaws.com/model/m/converse",
        {"messages": [{"role": "user", "content": [{"image": {"format": "png", "source": {"bytes": DOT}}}]}]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", IMAGES)
def test_images_of_a_request_are_kept_with_their_bytes(form: str) -> None:
    url, body = IMAGES[form]
    exchange, bodies = read(samples.post(url, {"model": "m", **body}, samples.VERSION), None)
    parts = [part for message in exchange["messages"] for part in message.get("parts", ())]
    assert [part["kind"] for part in parts] == ["image"]
    assert bodies[parts[0]["body"]["key"]]["base64"] == DOT


CHAT, RESPONSES = "https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1/responses"
WITHOUT_BYTES: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "image by url": (CHAT, {"type": "image_url", "image_url": {"url": "https://x.org/a.png"}},
                     {"kind": "image", "url": "https://x.org/a.png"}),
    "file by id": (CHAT, {"type": "file", "file": {"file_id": "file-1"}}, {"kind": "file", "name": "file-1"}),
    "file by url": (RESPONSES, {"type": "input_file", "file_url": "https://x.org/a.pdf"},
                    {"kind": "file", "url": "https://x.org/a.pdf"}),
    "document by url": (
        "https://api.anthropic.com/v1/messages",
        {"type": "document", "title": "Terns", "source": {"type": "url", "url": "https://x.org/a.pdf"}},
        {"kind": "file", "name": "Terns", "url": "https://x.org/a.pdf"},
    ),
    "image by id": (
        "https://api.anthropic.com/v1/messages",
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        {"kind": "image", "name": "file_1"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WITHOUT_BYTES)
def test_what_a_request_only_names_is_told_by_its_name_or_address(what: str) -> None:
    url, part, told = WITHOUT_BYTES[what]
    said = {"role": "user", "content": [part]}
    request = samples.post(url, {"model": "m", "input" if url == RESPONSES else "messages": [said]}, samples.VERSION)
    exchange, _ = read(request, None)
    assert exchange["messages"][-1]["parts"] == [told]


def test_sounds_and_files_of_a_request_are_kept_with_their_bytes() -> None:
    parts = [
        {"type": "input_audio", "input_audio": {"format": "mp3", "data": DOT}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{DOT}"}},
    ]
    request = samples.post(CHAT, {"model": "m", "messages": [{"role": "user", "content": parts}]})
    exchange, bodies = read(request, None)
    sound, file = exchange["messages"][0]["parts"]
    assert (sound["kind"], sound["media_type"]) == ("audio", "audio/mp3")
    assert (file["kind"], file["name"], file["media_type"]) == ("file", "a.pdf", "application/pdf")
    assert bodies[sound["body"]["key"]]["base64"] == bodies[file["body"]["key"]]["base64"] == DOT


def test_the_pieces_of_a_sound_that_is_streamed_are_one_sound_with_its_transcript() -> None:
    said = [
        {"transcript": "Hel"},
        {"transcript": "lo"},
        *({"data": base64.b64encode(each).decode()} for each in (b"ab", b"c")),
    ]
    chunks = [{"choices": [{"index": 0, "delta": {"audio": {"id": "a", **each}}}]} for each in said]
    (message,), bodies = read_streamed(CHAT, chunks)
    (sound,) = message["parts"]
    assert (message["text"], sound["kind"], sound["media_type"]) == ("Hello", "audio", "audio/pcm")
    assert base64.b64decode(bodies[sound["body"]["key"]]["base64"]) == b"abc"

    pieces = [
        {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": base64.b64encode(each).decode()}}
        for each in (b"ab", b"c")
    ]
    (message,), bodies = read_streamed(
        f"{samples.GOOGLE}/gemini:streamGenerateContent?alt=sse",
        [{"candidates": [{"content": {"parts": [each]}}]} for each in pieces],
    )
    (sound,) = message["parts"]
    assert base64.b64decode(bodies[sound["body"]["key"]]["base64"]) == b"abc"


def read_streamed(url: str, events: list[dict[str, Any]]) -> tuple[list[Any], Any]:
    """The messages of an answer that has these events, and the bodies beside them."""
    body = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    response = RecordedResponse(200, (("content-type", "text/event-stream"),), (RecordedChunk(body, 0),))
    exchange, bodies = read(samples.post(url, {"model": "m", "stream": True}), response)
    return exchange["answer"], bodies


def test_the_whole_answer_of_a_chat_completion_is_told_in_whatever_parts_it_comes() -> None:
    sound = {"id": "a", "data": DOT, "transcript": "Hello"}
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    said = {
        "sound": {"content": None, "audio": sound},
        "parts": {"content": [thought, {"type": "text", "text": "Hello"}]},
        "function": {"content": "Hello", "function_call": {"name": "greet", "arguments": "{}"}},
    }
    answers = {}
    for what, message in said.items():
        body = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", **message}}]}).encode()
        exchange, _ = read(samples.post(CHAT, {"model": "m"}), RecordedResponse(200, (), (RecordedChunk(body, 0),)))
        (answers[what],) = exchange["answer"]
    assert {answer["text"] for answer in answers.values()} == {"Hello"}
    assert [part["kind"] for part in answers["sound"]["parts"]] == ["audio"]
    assert answers["parts"]["reasoning"] == "Hm."
    assert answers["function"]["tool_calls"] == [{"name": "greet", "arguments": "{}"}]


def test_a_streamed_answer_of_cohere_is_told_with_its_calls() -> None:
    def event(kind: str, message: dict[str, Any]) -> dict[str, Any]:
        return {"type": kind, "index": 0, "delta": {"message": message}}

    begun = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    events = [
        event("content-start", {"content": {"type": "text", "text": ""}}),
        *(event("content-delta", {"content": {"text": text}}) for text in ("It ", "rains.")),
        event("tool-call-start", {"tool_calls": begun}),
        *(
            event("tool-call-delta", {"tool_calls": {"function": {"arguments": text}}})
            for text in ('{"city":', '"Ulm"}')
        ),
    ]
    (message,), _ = read_streamed("https://api.cohere.com/v2/chat", events)
    assert message["text"] == "It rains."
    assert message["tool_calls"] == [{"name": "weather", "id": "c1", "arguments": '{"city":"Ulm"}'}]


def test_what_says_the_same_stands_once_and_what_is_large_is_cut() -> None:
    bodies = Bodies(most=LONGEST + 100)
    first, second = bodies.add_text("x" * 300), bodies.add_text("x" * 300)
    assert first == second
    large = bodies.add_text("é" * LONGEST)
    assert isinstance(first, dict)
    kept = bodies.take_new()
    assert kept[first["key"]] == {"text": "x" * 300}
    assert large["size"] == 2 * LONGEST
    assert kept[large["key"]] == {"text": "", "cut": 2 * LONGEST}  # there is no room for it
    assert bodies.add_text("x" * 300) == first
    assert bodies.take_new() == {}
    assert bodies.add_text("short") == "short"


@settings(max_examples=examples(100))
@given(st.integers(0, 3), st.sampled_from(["a", "é", "🌧", "\x80"]), st.integers(LONGEST - 5, LONGEST + 5))
def test_of_a_long_body_the_beginning_and_the_end_are_kept(lead: int, filler: str, size: int) -> None:
    one = filler.encode("latin-1" if filler == "\x80" else "utf-8")
    data = b"x" * lead + one * (size // len(one)) + b"end"
    bodies = Bodies()
    reference = bodies.add_bytes(data)
    (body,) = bodies.take_new().values()
    assert reference["size"] == len(data)
    if "base64" in body:
        kept = base64.b64decode(body["base64"])
        assert data.startswith(kept)
    else:
        kept = body["text"].encode() + body.get("end", "").encode()
        assert data.startswith(body["text"].encode())
        assert data.endswith(body.get("end", "").encode() or data)
        assert read_body(body) == data.decode() if len(data) <= LONGEST else "left out here" in (read_body(body) or "")
    assert 0 <= len(data) - len(kept) - body.get("cut", 0) <= 6  # a character that would be cut is left out, too


def make_large_stream(text: str) -> bytes:
    """Events of which the first, one in the middle and the last say something: together more than is read."""
    filler = b": " + b"-" * 998 + b"\n"
    events = [json.dumps({"choices": [{"index": 0, "delta": {"content": said}}]}) for said in text.split("|")]
    first, middle, last = [b"data: " + event.encode() + b"\n\n" for event in events]
    many = filler * (MOST_READ // 1000)
    return first + many + middle + many + last


def test_of_a_large_answer_the_beginning_and_the_end_are_read() -> None:
    body = make_large_stream("It begins|, goes on|, and ends.")
    request = samples.chat_completion(True)
    exchange, bodies = read(request, RecordedResponse(200, (), (RecordedChunk(body, 5),)))
    (message,) = exchange["answer"]
    assert exchange["answer_left_out"] == len(body) - MOST_READ
    assert message["text"] == "It begins\n\n⋯ 4.2 MB are left out here ⋯\n\n, and ends."
    assert exchange["response_body"]["size"] == len(body)
    kept = bodies[exchange["response_body"]["key"]]
    assert kept["text"].startswith("data: ")
    assert kept["end"].endswith(', and ends."}}]}\n\n')
    assert kept["cut"] == len(body) - LONGEST


@pytest.mark.parametrize("is_stored", [False, True])
def test_an_answer_that_is_one_value_is_read_whole(is_stored: bool, tmp_path: Path) -> None:
    said = "x" * (MOST_READ + 1)
    body = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": said}}]}).encode()
    file = BodyFile(name_of_body(body), len(body), tmp_path)
    file.path.write_bytes(body)
    chunks = StoredChunks(file, [len(body)], [5]) if is_stored else (RecordedChunk(body, 5),)
    exchange, bodies = read(samples.chat_completion(False), RecordedResponse(200, (), chunks))
    assert "answer_left_out" not in exchange
    assert bodies[exchange["answer"][0]["text"]["key"]]["cut"] == len(said) - LONGEST


def test_calls_of_tools_that_end_behind_what_is_read_are_not_taken_for_whole() -> None:
    def event(**call: Any) -> bytes:
        delta = {"tool_calls": [{"index": 0, "function": call}]}
        return b"data: " + json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"

    facts = read_both_ends(event(name="weather", arguments='{"city'), b"half of one\n\n" + event(arguments='":1}'), "~")
    (call,) = facts.choice().calls.values()
    assert (call.name, call.arguments) == ("weather", ['{"city', "~", '":1}'])


def test_costs_follow_the_table_of_the_run() -> None:
    price = {
        "model": "gpt*",
        "input": 2.0,
        "output": 8.0,
        "as_of": datetime.date(2026, 1, 1),
        "source": "s",
    }
    costs = Costs(read_prices({"price": [price]}))
    request = samples.chat_completion(False)
    exchange, _ = read(request, answered(request, Answer(texts=("x",), usage=WrittenUsage(1_000_000, 500_000))), costs)
    assert (exchange["usage"]["cost"], exchange["usage"]["currency"]) == (6.0, "USD")
    assert list(costs.used) == ["gpt*"]
    request = samples.anthropic_message(False)
    exchange, _ = read(request, answered(request, Answer(texts=("x",), usage=WrittenUsage(1, 1))), costs)
    assert "cost" not in exchange["usage"]
    assert list(costs.unpriced) == ["claude-sonnet-5"]


KEYS = (
    *("choices", "message", "delta", "content", "output", "type", "usage", "index", "tool_calls", "function"),
    *("arguments", "item", "candidates", "parts", "contentBlockIndex", "start", "toolUse", "response", "error"),
    *("text", "images", "source", "inlineData", "messages", "role", "image_url", "input_audio", "data"),
)


@settings(max_examples=examples(200))
@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(KEYS),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=20,
        ).map(lambda value: json.dumps(value).encode()),
    )
)
@example(rb'{"messages":[{"content":[{"type":"image_url","image_url":{"url":"data:,half \ud83d"}}]}]}')
def test_no_answer_and_no_request_is_too_odd(body: bytes) -> None:
    for data in (body, b"data: " + body + b"\n\n"):
        read_answer(data)
        response = RecordedResponse(200, (), (RecordedChunk(data, 5),))
        for url in ("https://api.openai.com/v1/chat/completions", "https://api.anthropic.com/v1/messages"):
            exchange, _ = read(RecordedRequest("POST", url, samples.VERSION, data), response)
            json.dumps(exchange)
