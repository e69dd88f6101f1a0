"""Malformed and odd answers: each ends as documented, or in an error that names the provider and the field."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import httpx2
import pytest

import aquila
from aquila.errors import AquilaError, InvalidAnswer, ProviderError, ProviderUnavailable, StreamBroken
from tests.support.engines import Engine
from tests.support.provider import (
    USAGE,
    call_item,
    chat_calls,
    chat_chunk,
    chat_frame,
    chat_stream,
    message_item,
    response_object,
    responses_events,
    tool_fragment,
)
from tests.support.server import Answer, json_answer, serving, sse
from tests.support.slow import slow_but

MISSING = object()
"""In the place of a value: the field is left out."""

ODD: tuple[Any, ...] = (MISSING, None, True, -1, 1.5, 10**400, "x", "", [], [1], [None], ["x"], {}, {"a": 1})


OWN = aquila.Tool("own", {"type": "object"})
"""A tool without a function: its calls are the program's to run."""


@aquila.tool
def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


CALLED = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {
                "role": "assistant",
                "content": "a",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "own", "arguments": "{}"}}],
            },
        }
    ],
    "usage": USAGE,
}
RESPONSE = response_object([message_item("a"), call_item("own", "{}")])


def _changed(answer: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    answer = copy.deepcopy(answer)
    at = answer
    for step in path[:-1]:
        at = at[step]
    if value is MISSING:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return answer


def _paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield above
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, each in inner:
        yield from _paths(each, (*above, step))


def chat_of(*choices: Any, **fields: Any) -> Answer:
    return Answer([sse({**chat_frame(list(choices)), **fields}, chat_chunk(finish="stop"))])


def chat_delta(**delta: Any) -> Answer:
    return chat_of({"index": 0, "delta": delta, "finish_reason": None})


def event_of(**event: Any) -> Answer:
    events = responses_events("a")
    return Answer([sse(*events[:2], event, *events[2:], done=False, event=False)])


def final_of(**fields: Any) -> Answer:
    events = responses_events("a")
    events[-1]["response"] |= fields
    return Answer([sse(*events, done=False, event=True)])


def whole(answer: dict[str, Any], path: tuple[Any, ...], value: Any) -> Answer:
    return json_answer(_changed(answer, path, value))


INVALID: dict[str, tuple[Answer, str]] = {
    "chat: an event that is a number": (Answer([sse(1)]), "the event is a number, not an object"),
    "chat: an event that is a list": (Answer([sse([])]), "the event is a list, not an object"),
    "chat: no event": (Answer([b"data: [DONE]\n\n"]), "empty stream"),
    "chat: events without a choice": (Answer([sse(chat_frame([]))]), "no choice"),
    "chat: choices that are a text": (chat_of(choices="x"), r"choices is a text, not a list"),
    "chat: a choice that is null": (chat_of(None), r"choices\[0\] is null, not an object"),
    "chat: a second choice that is a list": (
        chat_of({"index": 0, "delta": {}}, []),
        r"choices\[1\] is a list, not an object",
    ),
    "chat: an index that is a text": (
        chat_of({"index": "x", "delta": {}}),
        "index of a choice is a text, not a number",
    ),
    "chat: a delta that is a list": (
        chat_of({"index": 0, "delta": []}),
        r"choices\[0\].delta is a list, not an object",
    ),
    "chat: content that is a number": (
        chat_delta(content=1),
        r"choices\[0\].delta.content is a number, not a text or a list",
    ),
    "chat: a refusal that is a list": (chat_delta(refusal=["no"]), "refusal of a delta is a list, not a text"),
    "chat: tool calls that are a number": (
        chat_delta(tool_calls=3),
        r"choices\[0\].delta.tool_calls is a number, not a list",
    ),
    "chat: a tool's name that is a list": (
        chat_delta(tool_calls=[tool_fragment(0, "{}", "c1", ["add"])]),  # type: ignore[arg-type]
        "function.name of a tool call is a list, not a text",
    ),
    "chat: a call's id that is an object": (
        chat_delta(tool_calls=[tool_fragment(0, "{}", {"a": 1}, "add")]),  # type: ignore[arg-type]
        "id of a tool call is an object, not a text",
    ),
    "chat: a chunk that is no JSON": (Answer([b"data: {nope\n\n"]), "not JSON"),
    "chat: JSON without choices": (json_answer({"id": "c"}), "no 'choices'"),
    "chat: JSON that is a list": (json_answer([]), "answered 200"),  # type: ignore[arg-type]
    "chat: whole content that is an object": (
        whole(CALLED, ("choices", 0, "message", "content"), {"a": 1}),
        r"choices\[0\].message.content is an object, not a text or a list",
    ),
    "chat: a whole tool call that is null": (
        whole(CALLED, ("choices", 0, "message", "tool_calls"), [None]),
        r"choices\[0\].message.tool_calls\[0\] is null, not an object",
    ),
    "responses: no event": (Answer([b""]), "empty stream"),
    "responses: an event's type that is a list": (event_of(type=[1]), "type is a list, not a text"),
    "responses: a delta that is missing": (
        event_of(type="response.output_text.delta"),
        "delta of response.output_text.delta is null, not a text",
    ),
    "responses: an answer that is a text": (
        event_of(type="response.created", response="x"),
        "response is a text, not an object",
    ),
    "responses: a final answer that is null": (
        event_of(type="response.completed", response=None),
        "response is null, not an object",
    ),
    "responses: an item that is a number": (
        event_of(type="response.output_item.done", item=1),
        "item is a number, not an object",
    ),
    "responses: an item's type that is an object": (
        event_of(type="response.output_item.done", item={"type": {"a": 1}}),
        "item.type is an object, not a text",
    ),
    "responses: output that is a boolean": (final_of(output=True), "response.output is a boolean, not a list"),
    "responses: output with a null": (final_of(output=[None]), r"response.output\[0\] is null, not an object"),
    "responses: content that is a number": (
        final_of(output=[message_item("a") | {"content": 1}]),
        r"output\[0\].content is a number, not a list",
    ),
    "responses: a call without a name": (
        final_of(output=[{"type": "function_call", "call_id": "c"}]),
        "name of a function_call is null, not a text",
    ),
    "responses: a call's id that is a list": (
        final_of(output=[call_item("add", "{}") | {"call_id": [1]}]),
        "call_id of a function_call is a list, not a text",
    ),
    "responses: JSON without output": (json_answer({"id": "r"}), "no 'output'"),
    "responses: whole output with a number": (
        whole(RESPONSE, ("output", 0), 1),
        r"output\[0\] is a number, not an object",
    ),
}
"""The answer, and a part of the text of the ``InvalidAnswer``."""

FAILURES: dict[str, tuple[Answer, type[AquilaError], str]] = {
    **{case: (answer, InvalidAnswer, message) for case, (answer, message) in INVALID.items()},
    "chat: an error in the middle": (
        Answer([sse(chat_chunk("half"), {"error": {"message": "overloaded", "code": "server_error"}})]),
        ProviderUnavailable,
        "overloaded",
    ),
    "chat: an error that is a text": (json_answer({"error": "out of order"}), ProviderError, "out of order"),
    "chat: a stream without an end, each chunk with an empty finish reason": (
        Answer([sse(chat_chunk("half", finish=""), done=False)]),
        StreamBroken,
        "without a finish reason",
    ),
    "chat: a stream without an end": (
        Answer([sse(chat_chunk("half"), done=False)]),
        StreamBroken,
        "without a finish reason",
    ),
    "responses: a failure without a reason": (
        final_of(status="failed", error=None),
        ProviderError,
        "without saying why",
    ),
    "responses: an error in the middle": (
        event_of(type="error", code="server_error", message="overloaded"),
        ProviderUnavailable,
        "overloaded",
    ),
    "responses: a stream without an end": (
        Answer([sse(*responses_events("a")[:-1], done=False, event=True)]),
        StreamBroken,
        "without a final event",
    ),
}
"""The answer, the class of the error, and a part of its text."""

READ: dict[str, tuple[Answer, str, Any]] = {
    "chat: no usage": (Answer([chat_stream("ok", usage=None)]), "usage.reported", False),
    "chat: usage that is negative": (
        Answer([chat_stream("ok", usage={"prompt_tokens": -5, "completion_tokens": 2, "total_tokens": -3})]),
        "usage.input_tokens usage.total_tokens",
        (0, 2),
    ),
    "chat: usage that no server can count": (
        Answer([chat_stream("ok", usage={"prompt_tokens": 10**400, "completion_tokens": 2})]),
        "usage.total_tokens",
        2,
    ),
    "chat: usage that is a text": (Answer([chat_stream("ok", usage="none")]), "usage.total_tokens", 0),  # type: ignore[arg-type]
    "chat: counts that are texts": (Answer([chat_stream("ok", usage={"prompt_tokens": "5"})]), "usage.input_tokens", 0),
    "chat: an end twice": (
        Answer([sse(chat_chunk("ok", finish="stop"), chat_chunk(finish="stop")) + b"data: [DONE]\n\n"]),
        "text",
        "ok",
    ),
    "chat: a huge number": (chat_of({"index": 0, "delta": {"content": "ok"}}, created=10**400), "text", "ok"),
    "chat: NaN": (
        Answer(
            [sse(chat_frame([{"index": 0, "delta": {"content": "ok"}}], score=float("nan")), chat_chunk(finish="stop"))]
        ),
        "text",
        "ok",
    ),
    "chat: parts that nobody knows": (
        Answer(
            [
                sse(
                    chat_chunk(content=[{"type": "hologram"}, {"type": "text", "text": "ok"}, 1, None]),
                    chat_chunk(finish="stop"),
                )
            ]
        ),
        "text",
        "ok",
    ),
    "chat: a refusal": (
        Answer([sse(chat_chunk(refusal="I must "), chat_chunk(refusal="not"), chat_chunk(finish="stop"))]),
        "refusal",
        "I must not",
    ),
    "responses: parts that nobody knows": (
        final_of(output=[message_item("a"), {"type": "hologram", "content": "x"}]),
        "text",
        "a",
    ),
    "responses: usage that is negative": (
        final_of(usage={"input_tokens": -1, "output_tokens": 3}),
        "usage.total_tokens",
        3,
    ),
    "responses: an end twice": (
        Answer([sse(*responses_events("a"), responses_events("a")[-1], done=False, event=True)]),
        "text",
        "a",
    ),
}
"""The answer, attributes of what is made of it, and their values."""

CALLS: dict[str, tuple[list[Any], list[tuple[str, Any]]]] = {
    "pieces out of order": (
        [
            tool_fragment(1, "", "c2", "own"),
            tool_fragment(0, "", "c1", "own"),
            tool_fragment(1, '{"a": 2}'),
            tool_fragment(0, '{"a": 1}'),
        ],
        [("c2", {"a": 2}), ("c1", {"a": 1})],
    ),
    "ids that are repeated": (
        [tool_fragment(0, '{"a": 1}', "c1", "own"), tool_fragment(1, '{"a": 2}', "c1", "own")],
        [("c1", {"a": 1}), ("call_1_1", {"a": 2})],
    ),
    "arguments that are broken JSON": ([tool_fragment(0, '{"a": ', "c1", "own")], [("c1", None)]),
    "arguments that are NaN": ([tool_fragment(0, "NaN", "c1", "own")], [("c1", None)]),
    "one index and no id, together": (
        [tool_fragment(0, '{"a": 1}', "", "own"), tool_fragment(0, '{"a": 2}', "", "own")],
        [("call_1_0", {"a": 1}), ("call_1_1", {"a": 2})],
    ),
    "one index and no id, without arguments": (
        [tool_fragment(0, "{}", "", "now"), tool_fragment(0, '{"a": 2}', "", "own")],
        [("call_1_0", {}), ("call_1_1", {"a": 2})],
    ),
    "a name in each piece": (
        [tool_fragment(0, '{"a": ', "c1", "own"), tool_fragment(0, '{"b": 1}', None, "own"), tool_fragment(0, "}")],
        [("c1", {"a": {"b": 1}})],
    ),
    "an empty object before the arguments": (
        [tool_fragment(0, "{}", "c1", "own"), tool_fragment(0, '{"a": 1}')],
        [("c1", None)],
    ),
    "no pieces of arguments": ([{"index": 0, "id": "c1", "function": {"name": "own"}}], [("c1", {})]),
}
"""Pieces of tool calls, and the calls that are made of them: id and arguments."""


def endpoint_of(case: str) -> str:
    return case.partition(":")[0]


def _outcome(engine: Engine, url: str, **options: Any) -> tuple[str, str]:
    """What a program sees: what is read of the answer, or the class and the text of the error."""
    try:
        reply = engine.ask("Hi", base_url=url, max_retries=0, **options)
    except AquilaError as error:
        return type(error).__name__, str(error)
    json.dumps(reply.raw)
    said = {name: reply.meta[name] for name in ("finish_reason", "id", "turns")}
    return reply.text, f"{reply.usage} {reply.refusal} {reply.messages} {reply.raw} {said}"


TRIED = (
    "chat: an index that is a text",
    "chat: a tool's name that is a list",
    "chat: no event",
    "responses: a delta that is missing",
)
"""Of the failures, those that the fast tests try."""


@pytest.mark.parametrize("case", slow_but(TRIED, FAILURES))
def test_a_malformed_answer_is_an_error_that_names_provider_and_field(case: str, engine: Engine) -> None:
    endpoint = endpoint_of(case)
    answer, kind, message = FAILURES[case]
    with serving(answer) as server, pytest.raises(kind, match=message) as caught:
        engine.ask("Hi", base_url=server.url, endpoint=endpoint, max_retries=0, tools=[add])
    if kind is InvalidAnswer and ", not " in message:
        assert re.match(rf"127\.0\.0\.1:\d+ sent an answer that is not of the {endpoint} API \(", str(caught.value))
    causes: list[BaseException] = []
    cause: BaseException | None = caught.value
    while cause is not None:
        assert cause not in causes  # a program that follows the causes does not loop for ever
        causes.append(cause)
        cause = cause.__cause__


@pytest.mark.parametrize("case", slow_but(["chat: usage that is negative", "responses: an end twice"], READ))
def test_an_odd_answer_is_read_as_far_as_possible(case: str, engine: Engine) -> None:
    answer, names, expected = READ[case]
    with serving(answer) as server:
        reply = engine.ask("Hi", base_url=server.url, endpoint=endpoint_of(case))
    assert attrgetter(*names.split())(reply) == expected


def test_a_model_that_is_no_text_is_that_of_the_request(engine: Engine) -> None:
    with serving(Answer([sse(chat_chunk("ok", finish="stop") | {"model": [5]})])) as server:
        assert engine.ask("Hi", base_url=server.url, endpoint="chat", model="m").meta["model"] == "m"


@pytest.mark.parametrize("case", slow_but(["pieces out of order"], CALLS))
def test_odd_pieces_of_tool_calls_are_joined(case: str, engine: Engine) -> None:
    pieces, expected = CALLS[case]
    with serving(chat_calls(*pieces)) as server:
        reply = engine.ask("Hi", base_url=server.url, tools=[OWN])
    assert [(call.id, call.arguments) for call in reply.tool_calls] == expected


@pytest.mark.parametrize("case", slow_but(TRIED, [*FAILURES, *READ]))
def test_an_odd_answer_has_the_same_outcome_live_recorded_and_replayed(case: str, engine: Engine, root: Path) -> None:
    endpoint, (answer, *_) = endpoint_of(case), (FAILURES | READ)[case]
    with serving(answer, answer) as server:
        live = _outcome(engine, server.url, endpoint=endpoint)
        with aquila.use_cassette("x", transport="record"):  # a block, as a call that fails stores nothing by itself
            recorded = _outcome(engine, server.url, endpoint=endpoint, transport="record")
        assert len(server.seen) == 2
    with aquila.use_cassette("x", transport="replay"):
        replayed = _outcome(engine, server.url, endpoint=endpoint, transport="replay")
    assert recorded == live
    assert replayed == live


WHOLE = {"chat": CALLED, "responses": RESPONSE}
STREAMED: dict[str, list[Any]] = {
    "chat": [
        chat_chunk("a"),
        chat_chunk(refusal="no", tool_calls=[tool_fragment(0, "{}", "c1", "own")]),
        chat_chunk(finish="stop"),
        chat_frame([], usage=USAGE),
    ],
    "responses": responses_events("a", items=[call_item("own", "{}"), {"type": "web_search_call", "id": "ws"}]),
}


class _Sending(httpx2.BaseTransport):
    """Answers each request alike."""

    def __init__(self, body: bytes, kind: str) -> None:
        self._body = body
        self._kind = kind

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": self._kind}, content=self._body)


def _ask(endpoint: str, body: bytes, kind: str) -> None:
    """Ask, and read all of the answer. Errors of Aquila are what is expected of a malformed one."""
    options: Any = {"api_key": "-", "base_url": "http://provider.example/v1", "max_retries": 0, "tools": [OWN]}
    try:
        reply = aquila.ask("Hi", transport=_Sending(body, kind), endpoint=endpoint, model="m", **options)
    except AquilaError:
        return
    assert isinstance(reply.text, str)
    assert reply.usage.total_tokens >= 0
    assert json.dumps([reply.raw, reply.meta], default=str)
    assert all(isinstance(call.name + call.id, str) for call in reply.tool_calls)


@pytest.mark.slow
@pytest.mark.parametrize("endpoint", WHOLE)
def test_any_value_in_any_field_raises_only_errors_of_aquila(endpoint: str) -> None:
    for path in _paths(WHOLE[endpoint]):
        for value in ODD if path else ODD[1:]:
            _ask(endpoint, json.dumps(_changed(WHOLE[endpoint], path, value)).encode(), "application/json")
    for number, event in enumerate(STREAMED[endpoint]):
        for path in _paths(event):
            for value in ODD if path else ODD[1:]:
                events = [*STREAMED[endpoint]]
                events[number] = _changed(event, path, value)
                _ask(endpoint, sse(*events, done=endpoint == "chat"), "text/event-stream")
