"""What an answer says, read from its bytes."""

from __future__ import annotations

import json

import pytest

from aquila.verifying.answers import read_answer_text, read_values


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("text", ["one\u2028two", "one\x85two", "one\x0btwo", "one two"])
def test_a_text_may_hold_what_python_takes_for_the_end_of_a_line(text: str, end: str) -> None:
    delta = {"choices": [{"index": 0, "delta": {"content": text}}]}
    body = f"data: {json.dumps(delta, ensure_ascii=False)}{end}{end}data: [DONE]{end}{end}".encode()
    assert read_answer_text(read_values(body)[1], body).text == text
