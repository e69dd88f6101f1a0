"""The tokens of an answer are found in every provider's form, and at the end of large answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aquila.cassettes.answers.answer_usage import total_of, usage_of_response
from aquila.cassettes.body_file import StoredChunks
from aquila.cassettes.model import SWITCHED, RecordedChunk, RecordedResponse
from aquila.cassettes.storage.body_writer import write_body
from aquila.run_report.exchanges import MOST_FRAMES
from tests.support.amazon import frame


def answer(*pieces: bytes, status: int = 200) -> RecordedResponse:
    return RecordedResponse(status, (), tuple(RecordedChunk(each, 1) for each in pieces), "complete")


def events(*values: Any) -> list[bytes]:
    return [b"data: " + json.dumps(each).encode() + b"\n\n" for each in values]


GEMINI = {"promptTokenCount": 3, "candidatesTokenCount": 4, "thoughtsTokenCount": 2, "totalTokenCount": 9}
START = {"type": "message_start", "message": {"usage": {"input_tokens": 100, "output_tokens": 1}}}
COHERE = {"billed_units": {"input_tokens": 5}, "tokens": {"input_tokens": 71, "output_tokens": 3}}
OLLAMA = {"message": {"content": "x"}, "prompt_eval_count": 5, "eval_count": 6}


@pytest.mark.parametrize(
    ("response", "total"),
    [
        (answer(json.dumps({"usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}).encode()), 7),
        (answer(json.dumps({"candidates": [], "usageMetadata": GEMINI}).encode()), 9),
        (answer(*events({"candidates": []}, {"usageMetadata": GEMINI})), 9),
        (answer(*events(START, {"type": "message_delta", "usage": {"output_tokens": 20}})), 120),
        (answer(b'{"message": {"content": "x"}}\n', json.dumps(OLLAMA).encode()), 11),
        (answer(frame(b'{"usage": {"inputTokens": 5, "outputTokens": 6, "totalTokens": 11}}')), 11),
        (answer(json.dumps({"message": {}, "usage": COHERE}).encode()), 74),
        (answer(json.dumps({"embeddings": {}, "meta": {"billed_units": {"input_tokens": 5}}}).encode()), 5),
        (answer(*events({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": COHERE}})), 74),
        (answer(json.dumps({"event_type": "stream-end", "response": {"meta": COHERE}}).encode()), 74),
        (answer(b'{"text": "tokens: \\"total_tokens\\": 5"}'), 0),
        (answer(b'{"usage": {"total_tokens": 7'), 0),
    ],
    ids=[
        *("openai", "gemini", "gemini streamed", "anthropic streamed", "ollama", "bedrock", "cohere"),
        *("cohere's embeddings", "cohere streamed", "cohere streamed by its first API", "only said", "cut"),
    ],
)
def test_tokens_are_found_in_every_form(response: RecordedResponse, total: int) -> None:
    assert total_of(usage_of_response(response)) == total


@pytest.mark.parametrize(
    ("end", "total"),
    [
        (b'"}], "usage": {"input_tokens": 2, "output_tokens": 3}}', 5),
        (b'"}\n\n' + events(START)[0], 101),
        (b'"}], "meta": {"billed_units": {"input_tokens": 5}}}', 5),
        (b'"}], "usage": %b}' % json.dumps(COHERE).encode(), 74),
        (b'"}\n%b\n' % json.dumps({"event_type": "stream-end", "response": {"meta": COHERE}}).encode(), 74),
    ],
    ids=["JSON", "events", "embeddings of cohere", "chat of cohere", "its first API"],
)
def test_tokens_at_the_end_of_a_large_answer_are_found(end: bytes, total: int, tmp_path: Path) -> None:
    body = b'{"content": [{"text": "' + b"y" * 5_000_000 + end
    chunks = StoredChunks.from_sizes(write_body(tmp_path, [body]), [len(body)], [1])
    assert total_of(usage_of_response(RecordedResponse(200, (), chunks, "complete"))) == total


def test_tokens_of_all_answers_in_a_long_conversation_are_summed() -> None:
    said = events(*[{"type": "response.done", "response": {"usage": {"total_tokens": 2}}}] * (MOST_FRAMES + 10))
    sent = [b"event: sent\n" + each for each in said]
    assert total_of(usage_of_response(answer(*said, *sent, status=SWITCHED))) == 2 * (MOST_FRAMES + 10)


@pytest.mark.parametrize("count", [True, -1, None, "3", 2.5, [3]])
def test_what_is_no_count_is_not_counted(count: Any) -> None:
    usage = {"input_tokens": count, "cache_read_input_tokens": count, "output_tokens": 4}
    said = {"type": "response.done", "response": {"usage": usage}}
    assert total_of(usage_of_response(answer(*events(said)))) == 4
    assert total_of(usage_of_response(answer(*events(said), status=SWITCHED))) == 4


@pytest.mark.parametrize(("candidates", "output"), [({}, 60), ({"candidatesTokenCount": 4}, 64)])
def test_tokens_of_thoughts_count_as_output_even_if_no_text_follows(candidates: dict[str, int], output: int) -> None:
    counts = {"promptTokenCount": 3, "thoughtsTokenCount": 60, **candidates, "totalTokenCount": 3 + output}
    events_so_far = events({"usageMetadata": {"thoughtsTokenCount": 20}}, {"usageMetadata": counts})
    usage = usage_of_response(answer(*events_so_far))
    assert usage == {"input_tokens": 3, "output_tokens": output, "total_tokens": 3 + output}
