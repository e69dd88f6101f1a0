"""The text at a glance, for whoever reviews a cassette."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aquila.cassettes.codecs.yaml.reply_text import LONGEST, LONGEST_AGAIN, text_of_answer
from tests.support.cassettes import bodies, json_bodies, sse_bodies


def stream(*events: dict[str, Any]) -> bytes:
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode() + b"data: [DONE]\n\n"


def delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields}]}


def done(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.output_item.done", "item": item}


def block(index: int, content: dict[str, Any], kind: str = "delta") -> dict[str, Any]:
    name = "delta" if kind == "delta" else "content_block"
    return {"type": f"content_block_{kind}", "index": index, name: content}


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
        ({"output": [{"type": "reasoning"}, {"content": [{"type": "output_text", "text": "Hello"}]}]}, "Hello"),
        ({"output": [{"content": [{"type": "refusal", "refusal": "No."}]}]}, "No."),
        ({"output": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "f({})"),
        ({"content": [{"type": "text", "text": "Hello"}]}, "Hello"),
        ({"content": [{"type": "tool_use", "name": "f", "input": {"a": 1}}]}, 'f({"a": 1})'),
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
        (b'event: x\r\ndata: {"choices":[{"delta":{"content":"Hello"}}]}\r\n\r\n', "Hello"),
        (stream(delta(content="\ud83d"), delta(content="\ude00")), "😀"),
        (stream(delta(content="half \ud83d")), "half \ufffd"),
        (b"data: Hello\n\n", ""),
        (b"Hello", ""),
        (b"", ""),
        (b"\xff", ""),
    ],
)
def test_the_text_of_a_stream(body: bytes, text: str) -> None:
    assert text_of_answer(body) == text


def test_a_long_text_is_cut_most_where_it_stands_whole_just_below() -> None:
    long = "word " * 1000
    streamed = text_of_answer(stream(delta(content=long)))
    whole = text_of_answer(json.dumps({"choices": [{"message": {"content": long}}]}).encode())
    assert (len(streamed), len(whole)) == (LONGEST, LONGEST_AGAIN)
    assert streamed.endswith("…")
    assert whole.endswith("…")


@settings(max_examples=200, deadline=None)
@given(bodies | sse_bodies() | json_bodies | st.binary(max_size=30).map(lambda tail: b'{"choices":' + tail))
def test_no_body_is_an_error(body: bytes) -> None:
    text_of_answer(body).encode()
