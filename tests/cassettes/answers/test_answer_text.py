"""What an answer says, for whoever reviews a cassette."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aquila.cassettes.answers import answer_text
from aquila.cassettes.answers.answer_content import model_of_answer, model_of_chunks, read_answer
from aquila.cassettes.answers.answer_text import (
    LONGEST,
    cut_summary,
    summary_of_stream,
    text_of_answer,
    text_of_messages,
)
from aquila.cassettes.body_file import BodyFile, StoredChunks
from tests.support.amazon import frame
from tests.support.cassettes import bodies, json_bodies, sse_bodies
from tests.support.examples import examples


def stream(*events: dict[str, Any]) -> bytes:
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode() + b"data: [DONE]\n\n"


def delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields}]}


def done(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.done", "item": item}


def said(kind: str, **fields: str) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": kind, **fields}]}


def block(index: int, content: dict[str, Any], kind: str = "delta") -> dict[str, Any]:
    name = "delta" if kind == "delta" else "content_block"
    return {"type": f"content_block_{kind}", "index": index, name: content}


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def tool_use(name: str) -> dict[str, Any]:
    return {"type": "tool_use", "name": name, "input": {}}


CALL = {"function": {"name": "capital", "arguments": '{"country":"UK"}'}}
CALLED = 'capital({"country":"UK"})'


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"choices": [{"message": {"content": "Hello"}}]}, "Hello"),
        ({"choices": [{"message": {"content": [{"type": "text", "text": "Hello"}]}}]}, "Hello"),
        ({"choices": [{"message": {"content": None, "tool_calls": [CALL, CALL]}}]}, f"{CALLED}\n{CALLED}"),
        ({"choices": [{"message": {"content": "See:", "tool_calls": [CALL]}}]}, f"See:\n{CALLED}"),
        ({"choices": [{"text": "Hello"}]}, "Hello"),
        ({"output": [{"type": "reasoning"}, said("output_text", text="Hello")]}, "Hello"),
        ({"output": [said("refusal", refusal="No.")]}, "No."),
        ({"output": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "f({})"),
        ({"content": [{"type": "text", "text": "Hello"}]}, "Hello"),
        ({"content": [{"type": "tool_use", "name": "f", "input": {"a": 1}}]}, 'f({"a": 1})'),
        (
            {"content": [words("First "), words("this."), tool_use("f"), tool_use("g"), words("Then"), tool_use("h")]},
            "First this.\nf({})\ng({})\nThen\nh({})",
        ),
        ({"content": [tool_use("f"), words("Done"), words(".")]}, "f({})\nDone."),
        ({"choices": []}, ""),
        ({"error": {"message": "no such model"}}, ""),
        ({"output": "text"}, ""),
    ],
)
def test_the_text_of_an_answer(answer: dict[str, Any], text: str) -> None:
    assert text_of_answer(json.dumps(answer, indent=2).encode()) == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            stream(delta(role="assistant", content=""), delta(content="Hel"), delta(content="lo"), {"choices": []}),
            "Hello",
        ),
        (
            stream(
                delta(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": ""}}]),
                delta(tool_calls=[{"index": 1, "function": {"name": "g", "arguments": "{"}}]),
                delta(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}]),
                delta(tool_calls=[{"index": 1, "function": {"arguments": "}"}}]),
            ),
            "f({})\ng({})",
        ),
        (
            stream(
                {"type": "response.output_text.delta", "delta": "Hel"},
                {"type": "response.output_text.delta", "delta": "lo"},
                {"type": "response.output_text.done", "text": "Hello"},
                done({"type": "message"}),
                done({"type": "function_call", "name": "f", "arguments": "{}"}),
            ),
            "Hello\nf({})",
        ),
        (
            stream(
                block(0, {"type": "text", "text": ""}, "start"),
                block(0, {"type": "text_delta", "text": "Hello"}),
                block(1, {"type": "tool_use", "name": "f", "input": {}}, "start"),
                block(1, {"type": "input_json_delta", "partial_json": '{"a":'}),
                block(1, {"type": "input_json_delta", "partial_json": "1}"}),
            ),
            'Hello\nf({"a":1})',
        ),
        (
            stream(
                block(0, {"type": "server_tool_use", "name": "search", "input": {}}, "start"),
                block(1, {"type": "text_delta", "text": "It "}),
                block(1, {"type": "text_delta", "text": "rains."}),
            ),
            "search()\nIt rains.",
        ),
        (b'event: x\r\ndata: {"choices":\r\ndata: [{"delta":{"content":"Hello"}}]}\r\n\r\n', "Hello"),
        (stream(delta(content="Hel"), delta(content="lo")).replace(b"\n\n", b"\n"), "Hello"),
        (stream(delta(content="\ud83d"), delta(content="\ude00")), "😀"),
        (stream(delta(content="half \ud83d")), "half \ufffd"),
        (stream(delta(content="Hel")) + b"data: {\n\n" + stream(delta(content="lo")), "Hello"),
        (b"data: Hello\n\n", ""),
        (b"Hello", ""),
        (b"", ""),
        (b"\xff", ""),
    ],
)
def test_the_text_of_a_stream(body: bytes, text: str) -> None:
    assert text_of_answer(body) == text


def frames(*events: Any) -> bytes:
    return b"".join(frame(json.dumps(event).encode()) for event in events)


def lines(*events: dict[str, Any]) -> bytes:
    return "".join(f"{json.dumps(event)}\n" for event in events).encode()


def encoded(event: Any) -> dict[str, Any]:
    return {"bytes": base64.b64encode(json.dumps(event).encode()).decode(), "p": "abc"}


def gemini(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}}], "modelVersion": "gemini-2.5-flash"}


def cohere(kind: str, message: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"type": kind, "index": index, "delta": {"message": message}}


ANTHROPIC = [
    block(0, {"type": "text", "text": ""}, "start"),
    block(0, {"type": "text_delta", "text": "Hel"}),
    block(0, {"type": "text_delta", "text": "lo"}),
]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (stream(*ANTHROPIC), "Hello"),
        (stream(gemini({"text": "Hel"}), gemini({"text": "lo"})), "Hello"),
        (json.dumps([gemini({"text": "Hel"}), gemini({"text": "lo"})], indent=1).encode(), "Hello"),
        (stream(gemini({"functionCall": {"name": "f", "args": {"a": 1}}})), 'f({"a": 1})'),
        (stream({"candidates": [{"finishReason": "STOP"}]}, {"usageMetadata": {}}), ""),
        (frames(*map(encoded, ANTHROPIC)), "Hello"),
        (
            frames(
                {"role": "assistant"},
                {"contentBlockIndex": 0, "delta": {"text": "Hel"}},
                {"contentBlockIndex": 0, "delta": {"text": "lo"}},
                {"contentBlockIndex": 0},
                {"contentBlockIndex": 1, "start": {"toolUse": {"name": "f", "toolUseId": "x"}}},
                {"contentBlockIndex": 1, "delta": {"toolUse": {"input": '{"a":'}}},
                {"contentBlockIndex": 1, "delta": {"toolUse": {"input": "1}"}}},
                {"stopReason": "tool_use"},
            ),
            'Hello\nf({"a":1})',
        ),
        (frames({"contentBlockIndex": 0, "delta": {"text": "Hel"}})[:-30], ""),
        (frames(*[{"contentBlockIndex": 0, "delta": {"text": "Hel"}}] * 2)[:-30], "Hel"),
        (
            stream(
                {"type": "message-start", "delta": {"message": {"role": "assistant"}}},
                cohere("content-delta", {"content": {"text": "Hel"}}),
                cohere("content-delta", {"content": {"text": "lo"}}),
                cohere("tool-call-start", {"tool_calls": {"function": {"name": "f", "arguments": ""}}}),
                cohere("tool-call-delta", {"tool_calls": {"function": {"arguments": "{}"}}}),
            ),
            "Hello\nf({})",
        ),
        (lines({"event_type": "stream-start"}, {"event_type": "text-generation", "text": "Hello"}), "Hello"),
        (
            lines(
                {"model": "llama3", "message": {"role": "assistant", "content": "Hel"}, "done": False},
                {"model": "llama3", "message": {"content": "lo"}, "done": False},
                {"message": {"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}},
                {"model": "llama3", "done": True},
            ),
            'Hello\nf({"a": 1})',
        ),
        (lines({"response": "Hel"}, {"response": "lo"}), "Hello"),
    ],
)
def test_the_text_of_streams_of_other_providers(body: bytes, text: str) -> None:
    assert summary_of_stream(body) == text_of_answer(body) == text


def test_an_answer_that_came_whole_is_no_stream() -> None:
    whole = json.dumps({"choices": [{"message": {"content": "Hello"}}]}, indent=2).encode()
    for body in (whole, b"\n  \n" + whole):  # OpenRouter sends blanks while the client waits
        assert text_of_answer(body) == "Hello"
        assert summary_of_stream(body) == ""


def test_a_choice_without_text_and_calls_takes_no_line() -> None:
    choices = [{"index": number, "message": {"content": text}} for number, text in enumerate(("Hello", None, "Hi", ""))]
    assert text_of_answer(json.dumps({"choices": choices}).encode()) == "Hello\nHi"


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (json.dumps({"id": "x", "model": "gpt-4o-mini-2024-07-18", "choices": []}).encode(), "gpt-4o-mini-2024-07-18"),
        (stream({"type": "response.created", "response": {"model": "gpt-4o"}}), "gpt-4o"),
        (stream({"type": "message_start", "message": {"model": "claude-sonnet-4"}}), "claude-sonnet-4"),
        (stream({"type": "ping"}, delta(content="x") | {"model": "smollm2"}), "smollm2"),
        (stream(gemini({"text": "x"})), "gemini-2.5-flash"),
        (lines({"model": "llama3", "done": False}, {"done": True}), "llama3"),
        (b'{"object":"list","data":[{"model":"x"}]}', ""),
        (b'{"model":5}', ""),
        (b'{"model":"\\ud800"}', "?"),
        (b"data: {\n\n", ""),
        (frames([], 1, encoded([]), {"model": "nova"}), "nova"),
        (stream({"type": "session.created", "session": {"model": "gpt-realtime"}}), "gpt-realtime"),
        (b"", ""),
    ],
)
def test_the_model_that_answered(body: bytes, model: str) -> None:
    assert model_of_answer(body) == model


@pytest.mark.parametrize(
    ("body", "model"),
    [
        ('{"id":"a","model":"m-1","choices":[%s]}', "m-1"),
        ('{"data":[%s],\n "model": "m-1","usage":{}}', "m-1"),
        ('[{"args":{"model":"no"}, "modelVersion": "m-1"},{"text":%s}]', "m-1"),
        ('[{"text":%s},{"args":{"model":"no"},"modelVersion":"m-1","usage":{"model":"no"}}]', "m-1"),
        ('{"args":{"model":"no"},"text":%s,"args":{"model":"no"},"model":"m-1","tier":{"model":"no"}}', "m-1"),
        ('{"args":{"model":"no"},"text":%s,"metadata":{"model":"no"}}', ""),
        ('data: {"delta":{"input":{"model":"no"},"text":%s}}\n\ndata: {"end":{"model":"no"}}\n\n', ""),
    ],
)
def test_the_model_that_gave_an_answer_in_a_file_is_found_at_both_ends(body: str, model: str, tmp_path: Path) -> None:
    whole = (body % json.dumps('{"model":"no"}' * 20_000)).encode()
    (tmp_path / "sha256-0").write_bytes(whole)
    file = BodyFile("sha256-0", len(whole), tmp_path)
    assert model_of_chunks(StoredChunks(file, [len(whole)], [1])) == model


def test_a_long_text_is_cut_only_where_the_answer_stands_beside_it() -> None:
    body = stream(delta(content="word " * 1000))
    assert text_of_answer(body) == "word " * 1000
    text = summary_of_stream(body)
    assert len(text) == LONGEST
    assert text.endswith("…")


EVENTS = st.one_of(
    st.builds(
        lambda index, text: {"choices": [{"index": index, "delta": {"content": text}}]},
        st.integers(0, 1),
        st.text(st.sampled_from("a\n\ud83d\ude00"), max_size=6),
    ),
    st.just(delta(tool_calls=[CALL])),
)


@given(st.lists(EVENTS, max_size=12))
@example([delta(content=half) for half in ("\ud83d", "\ude00", "\ud83d", "\ude00aaa")])
def test_the_summary_of_any_stream_is_the_beginning_of_its_text(events: list[dict[str, Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answer_text, "LONGEST", 3)
        assert summary_of_stream(stream(*events)) == cut_summary(text_of_answer(stream(*events)))


def test_of_a_long_stream_only_the_beginning_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(json, "loads", lambda text, loads=json.loads: read.append(text) or loads(text))
    summary_of_stream(stream(*[delta(content="word " * 100)] * 1000))
    assert 0 < len(read) < 20


@settings(max_examples=examples(200), deadline=None)
@given(bodies | sse_bodies() | json_bodies | st.binary(max_size=30).map(lambda tail: b'{"choices":' + tail))
@pytest.mark.slow
def test_no_body_is_an_error(body: bytes) -> None:
    text_of_answer(body).encode()
    model_of_answer(body).encode()


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([{"type": "response.output_text.delta", "delta": "Hel"}, {"type": "x", "delta": "-"}, [1]], "Hel"),
        ([{"type": "response.output_audio_transcript.delta", "delta": "Hi"}], "Hi"),
        ([{"type": "response.text.delta", "delta": "Hi"}], "Hi"),
        (
            [{"type": "response.output_item.done", "item": {"type": "function_call", "name": "f", "arguments": "{}"}}],
            "f({})",
        ),
        ([{"serverContent": {"modelTurn": {"parts": [{"text": "a", "thought": True}, {"text": "b"}]}}}], "b"),
        ([{"serverContent": {"outputTranscription": {"text": "said"}}}, {"serverContent": {}}], "said"),
        ([{"toolCall": {"functionCalls": [{"name": "f", "args": {"n": 1}}]}}], 'f({"n": 1})'),
        ([{"toolCall": 1}], ""),
        (["text"], ""),
    ],
)
def test_what_is_said_over_a_web_socket_is_read(messages: list[object], text: str) -> None:
    assert text_of_messages([json.dumps(message).encode() for message in messages]) == text


def test_a_message_that_is_no_json_says_nothing() -> None:
    assert text_of_messages([b"plain"]) == ""


def test_parallel_calls_that_a_provider_gives_one_index_stay_apart() -> None:
    def call(name: str, arguments: str, **fields: str) -> dict[str, Any]:
        return {"index": 0, "function": {"name": name, "arguments": arguments}, **fields}

    gemini = stream(delta(tool_calls=[call("f", '{"a":1}')]), delta(tool_calls=[call("g", '{"b":2}')]))
    assert text_of_answer(gemini) == 'f({"a":1})\ng({"b":2})'
    with_ids = stream(delta(tool_calls=[call("f", "{}", id="1")]), delta(tool_calls=[call("f", "{}", id="2")]))
    assert text_of_answer(with_ids) == "f({})\nf({})"
    # Some repeat the name with every piece, or once more at the end.
    repeated = [delta(tool_calls=[call("f", piece)]) for piece in ('{"a":', "1}", "")]
    assert text_of_answer(stream(*repeated)) == 'f({"a":1})'


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"finish_reason": "MAX_TOKENS", "message": {"content": [{"type": "text", "text": "Hel"}]}}).encode(),
        stream({"type": "message-end", "delta": {"finish_reason": "MAX_TOKENS"}}),
    ],
    ids=["whole", "streamed"],
)
def test_why_an_answer_of_cohere_ended_is_read(body: bytes) -> None:
    assert read_answer(body).choices[0].finish == "MAX_TOKENS"
