"""The comparison of a recorded answer with a live one."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from typing import Any

import pytest

from aquila.cassettes.model import Interaction, RecordedChunk, RecordedRequest, RecordedResponse
from aquila.verifying.answers import find_error, read_values
from aquila.verifying.comparison import AnswerComparison, compare_answers
from tests.support import provider
from tests.support.traffic import exchanges, names

URL = "https://api.openai.com"


def response(body: Any, status: int = 200, kind: str = "application/json", **more: Any) -> RecordedResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return RecordedResponse(status, (("content-type", kind),), (RecordedChunk(data),), **more)


def compare(then: RecordedResponse, now: RecordedResponse, path: str = "/v1/chat/completions") -> AnswerComparison:
    return compare_answers(Interaction(RecordedRequest("POST", URL + path), then), now)


@pytest.mark.slow
def test_real_answers_to_different_requests_raise_no_false_alarm() -> None:
    """The recordings of one provider and endpoint, each beside each: other texts, other tools, other months."""
    groups: dict[tuple[str, str, bool], list[RecordedResponse]] = defaultdict(list)
    for name in names():
        for each in exchanges(name):
            form, values = read_values(each.body)
            if each.endpoint is not None and each.status == 200 and form != "bytes" and find_error(values) is None:
                streamed = "event-stream" in each.content_type
                suite = name.partition("/")[0].removesuffix("_responses")
                groups[suite, each.path, streamed].append(response(each.body, kind=each.content_type))
    for (_, path, _), answers in groups.items():
        for then, now in itertools.product(answers, repeat=2):
            compared = compare(then, now, path)
            assert not compared.trouble
            # Older recordings lack a field that the SDK requires. It is gone if one of them is used as the live answer.
            critical = [each for each in compared.findings if each.severity == "critical"]
            assert all(each.path.endswith("cache_write_tokens") for each in critical), critical
            if then is now:
                assert (compared.findings, compared.likeness) == ((), "identical")


ERROR = {"error": {"message": "The model `m` has been deprecated", "type": "invalid_request_error", "code": "gone"}}
SAID = response(provider.chat_stream("hello"), kind="text/event-stream")


@pytest.mark.parametrize(
    ("then", "now", "found", "trouble"),
    [
        (response({}), response(ERROR, 404), "refused: 404 gone: The model `m` has been deprecated", ""),
        (response({}), response(b"<html>", 404, "text/html"), "refused: 404", ""),
        (response(ERROR, 400), response({}), "answered 200, but the recording is a refusal (400)", ""),
        (response(ERROR, 400), response(ERROR, 404), "status 404, was 400", ""),
        (response({}), response(ERROR), "refused within the answer: gone: The model `m` has been deprecated", ""),
        (SAID, response(b"data: " + json.dumps(ERROR).encode() + b"\n\n"), "refused within the answer", ""),
        (SAID, response({"choices": []}), "the body is one JSON value, was a stream of events", ""),
        (
            response(b"\xff", kind="audio/mpeg"),
            response(b"\xff", kind="audio/wav"),
            "the content type is audio/wav",
            "",
        ),
        (response({}), response({}, 401), "", "the upstream answered 401"),
        (response({}), response(b"busy", 503), "", "the upstream answered 503"),
        (response({}), response({"error": {"code": "server_error", "message": "x"}}), "", "server_error: x"),
        (response({}), response({"error": {"code": 502, "message": "no provider"}}), "", "502: no provider"),
        (response({}), response({"error": {"code": 400, "status": "INTERNAL"}}), "refused within the answer: 400", ""),
        (response({}), response({"error": {"code": "unknown_field", "message": "timeout"}}), "unknown_field", ""),
        (response({}), response({"error": "the model is overloaded"}), "", "the model is overloaded"),
        (response({}), response({"error": {"code": "429", "message": "too many"}}), "", "429: too many"),
        (response({}), response({"error": {"type": "api_error", "message": "Internal server error"}}), "", "api_error"),
        (response({}), response({"type": "error", "code": None, "message": "overloaded"}), "", "overloaded"),
        (
            response(provider.responses_stream("a")),
            response(b'data: {"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}}\n\n'),
            "",
            "rate_limit_exceeded",
        ),
    ],
)
def test_refusals_and_other_kinds_of_bodies_are_findings_or_trouble(
    then: RecordedResponse, now: RecordedResponse, found: str, trouble: str
) -> None:
    compared = compare(then, now)
    assert found in "; ".join(each.text for each in compared.findings)
    assert bool(compared.findings) == bool(found)
    assert trouble in compared.trouble
    assert bool(compared.trouble) == bool(trouble)


CALL = {"type": "function", "function": {"name": "look_up", "arguments": '{"a": 1, "b": 2}'}}


def said(text: str | None, *calls: Any, finish: str = "stop") -> RecordedResponse:
    message = {"role": "assistant", "content": text, **({"tool_calls": calls} if calls else {})}
    return response({"choices": [{"index": 0, "message": message, "finish_reason": finish}]})


@pytest.mark.parametrize(
    ("then", "now", "likeness", "detail"),
    [
        (said("one two"), said("one two"), "identical", ""),
        (said("one two three four"), said("one two three five"), "reworded", ""),
        (said("one two"), said(None), "text gone", "none, was 2 words"),
        (said(""), said("one"), "text new", "1 word, was none"),
        (said("beside", CALL), said(None, CALL), "reworded", ""),
        (said("one"), said("one", finish="length"), "other finish reason", "length, was stop"),
        (said("one"), said(None, CALL), "other tool calls", "look_up, was none"),
        (said(None, CALL), said(None, CALL), "identical", ""),
        (
            said(None, CALL),
            said(None, {"type": "function", "function": {"name": "look_up", "arguments": '{"b":2,"a":1}'}}),
            "identical",
            "",
        ),
        (
            said(None, CALL),
            said(None, {"type": "function", "function": {"name": "look_up", "arguments": "{}"}}),
            "other tool calls",
            "other arguments of look_up",
        ),
        (SAID, response(provider.chat_stream("hello")), "identical", ""),
        (SAID, response(provider.one_call("look_up", "{}")), "other tool calls", "look_up, was none"),
        (
            response(provider.responses_stream("one two")),
            response(provider.responses_stream("one three")),
            "reworded",
            "",
        ),
    ],
)
def test_differences_of_content_are_described_and_not_critical(
    then: RecordedResponse, now: RecordedResponse, likeness: str, detail: str
) -> None:
    compared = compare(then, now)
    assert (compared.likeness, compared.detail) == (likeness, detail)
    assert compared.findings == ()


def test_an_answer_that_the_caller_left_is_compared_up_to_there() -> None:
    whole = provider.chat_stream("one", "two", usage=None)
    left = response(whole[: whole.index(b"\n\n") + 2], end="closed")
    compared = compare(left, response(whole))
    assert compared.likeness == "not comparable"
    assert compared.findings == ()
    more = provider.chat_stream("one", "two")
    usage = more[more.index(b"\n\n", more.index(b'finish_reason": "stop')) + 2 :]
    assert b"total_tokens" in usage  # an event of another shape, which is all that the caller left
    without = more.removesuffix(usage)
    assert compare(response(without, end="closed"), response(more)).findings == ()
    assert compare(response(without), response(more)).findings != ()
    for begun in (b"", b'{"choices": [{"ind', b'data: {"ch'):
        for now in (response(more), said("one")):
            assert compare(response(begun, end="closed"), now).findings == ()
    sound = response(b"\xff", kind="audio/mpeg", end="closed")
    assert [each.severity for each in compare(sound, said("one")).findings] == ["critical"]
    lines = b'{"done": false}\n{"done": true}\n'  # the first line alone is one JSON value
    assert compare(response(lines[:16], end="closed"), response(lines)).findings == ()
