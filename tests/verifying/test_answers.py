"""Reading values, texts and tool calls from the bytes of an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aquila.verifying.answers import read_answer_text, read_values


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("text", ["one\u2028two", "one\x85two", "one\x0btwo", "one two"])
def test_a_text_may_contain_characters_that_splitlines_splits_at(text: str, end: str) -> None:
    delta = {"choices": [{"index": 0, "delta": {"content": text}}]}
    body = f"data: {json.dumps(delta, ensure_ascii=False)}{end}{end}data: [DONE]{end}{end}".encode()
    assert read_answer_text(body).text == text


def test_the_final_event_alone_gives_the_whole_answer() -> None:
    message = {"type": "message", "content": [{"type": "output_text", "text": "Tern Bay."}]}
    call = {"type": "function_call", "name": "ring", "call_id": "1", "arguments": "{}"}
    response = {"status": "completed", "output": [message, call]}
    body = f"data: {json.dumps({'type': 'response.completed', 'response': response})}\n\n".encode()
    said = read_answer_text(body)
    assert (said.text, said.calls, said.finish) == ("Tern Bay.", (("ring", "{}"),), ("completed",))


@pytest.mark.parametrize("event", [{"type": "ping"}, {"type": "keepalive", "sequence_number": 4}])
def test_an_event_that_only_keeps_a_connection_open_is_no_part_of_an_answer(event: dict[str, Any]) -> None:
    sent = f"data: {json.dumps(event)}\n\n".encode()
    assert read_values(sent + b'data: {"type": "message_stop"}\n\n') == ("events", [{"type": "message_stop"}])
    assert read_values(sent) == ("events", [])


def test_two_halves_of_a_character_are_one_character() -> None:
    call = {"index": 0, "id": "1", "function": {"name": "ring", "arguments": '{"a":"\ud83d'}}
    more = {"index": 0, "function": {"arguments": '\ude00"}'}}
    deltas = [{"content": "\ud83d", "tool_calls": [call]}, {"content": "\ude00", "tool_calls": [more]}]
    body = "".join(f"data: {json.dumps({'choices': [{'index': 0, 'delta': each}]})}\n\n" for each in deltas).encode()
    said = read_answer_text(body)
    assert (said.text, said.calls) == ("😀", (("ring", '{"a":"😀"}'),))
