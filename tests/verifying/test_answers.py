"""Reading texts, tool calls and errors from the bytes of an answer."""

from __future__ import annotations

import json

import pytest

from aquila.verifying.answers import read_answer_text


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
