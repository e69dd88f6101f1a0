"""The Responses API, as OpenAI's SDK reads it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel

from aquila.scripting.script import Script
from aquila.wire_forms.answer import WrittenUsage
from tests.support.slow import product_of
from tests.wire_forms.answering import async_openai_client, openai_client
from tests.wire_forms.samples import FUNCTION

ASKED: dict[str, Any] = {"model": "gpt-4.1", "input": "hi"}
TOOLS: list[Any] = [{"type": "function", "strict": False, **FUNCTION}]


@dataclass(frozen=True)
class Read:
    """An answer as a client has read it. It is the same for every way of asking."""

    text: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    refusal: str = ""
    reasoning: str = ""
    status: str = "completed"
    reason: str | None = None
    kinds: tuple[str, ...] = ("message",)


def read_whole(answer: Response) -> Read:
    calls, refusal, reasoning = [], "", ""
    for item in answer.output:
        if item.type == "function_call":
            calls.append((item.call_id, item.name, item.arguments))
        elif item.type == "reasoning":
            reasoning += "".join(part.text for part in item.summary)
        elif item.type == "message":
            refusal += "".join(part.refusal for part in item.content if part.type == "refusal")
    ids = [item.id for item in answer.output]
    assert len(ids) == len(set(ids))
    reason = answer.incomplete_details.reason if answer.incomplete_details else None
    kinds = tuple(item.type for item in answer.output)
    return Read(answer.output_text, tuple(calls), refusal, reasoning, str(answer.status), reason, kinds)


def read_events(events: Iterable[ResponseStreamEvent]) -> Read:
    """Put the deltas together, as programs do by hand, and check what they announce."""
    read = {"text": "", "refusal": "", "reasoning": ""}
    fields = {"output_text": "text", "refusal": "refusal", "reasoning_summary_text": "reasoning"}
    calls: dict[str, list[str]] = {}
    ids, kinds, last = set(), [], None
    for number, event in enumerate(events):
        assert event.sequence_number == number
        assert (
            last is None or not hasattr(last, "response") or last.type in ("response.created", "response.in_progress")
        )
        last = event
        part = event.type.removeprefix("response.").removesuffix(".delta")
        if hasattr(event, "response"):
            ids.add(event.response.id)
        elif event.type == "response.output_item.added":
            assert event.output_index == len(kinds)
            kinds.append(event.item.type)
            if event.item.type == "function_call":
                calls[event.item.id or ""] = [event.item.call_id, event.item.name, ""]
        elif event.type == "response.function_call_arguments.delta":
            calls[event.item_id][2] += event.delta
        elif event.type.endswith(".delta"):
            read[fields[part]] += event.delta
        elif event.type == "response.output_text.done":
            assert event.text == read["text"]
        elif event.type == "response.function_call_arguments.done":
            assert event.arguments == calls[event.item_id][2]
    assert last is not None
    assert len(ids) == 1
    made = Read(**read, calls=tuple(map(tuple, calls.values())), kinds=tuple(kinds))
    told = read_whole(last.response)
    assert last.type == f"response.{told.status}"
    assert replace(told, status="completed", reason=None) == made
    return told


def ask_whole(script: Script, **asked: Any) -> Read:
    return read_whole(openai_client(script).responses.create(**{**ASKED, **asked}))


def ask_streamed(script: Script, **asked: Any) -> Read:
    return read_events(openai_client(script).responses.create(**{**ASKED, **asked}, stream=True))


def ask_helper(script: Script, **asked: Any) -> Read:
    with openai_client(script).responses.stream(**{**ASKED, **asked}) as stream:
        events = list(stream)
    final = events[-1].response  # `get_final_response` knows only what was completed
    if final.status == "completed":
        assert stream.get_final_response() == final
    return read_whole(final)


def ask_raw(script: Script, **asked: Any) -> Read:
    raw = openai_client(script).responses.with_raw_response.create(**{**ASKED, **asked})
    assert raw.request_id == "req_scripted_1"
    return read_whole(raw.parse())


def ask_async_streamed(script: Script, **asked: Any) -> Read:
    async def ask() -> list[ResponseStreamEvent]:
        async with async_openai_client(script) as client:
            return [event async for event in await client.responses.create(**{**ASKED, **asked}, stream=True)]

    return read_events(asyncio.run(ask()))


def ask_async_helper(script: Script, **asked: Any) -> Read:
    async def ask() -> Any:
        async with async_openai_client(script) as client, client.responses.stream(**{**ASKED, **asked}) as stream:
            return [event async for event in stream][-1]

    return read_whole(asyncio.run(ask()).response)


ASKING = [ask_whole, ask_streamed, ask_helper, ask_raw, ask_async_streamed, ask_async_helper]

CALLS = (("call_1_1", "weather", '{"city":"Rome"}'), ("mine", "time", "{broken"), ("call_1_3", "now", "{}"))

CASES: list[tuple[Callable[[Script], Script], Read]] = [
    (lambda script: script.reply("Hello there"), Read("Hello there")),
    (lambda script: script.reply(""), Read("")),
    (lambda script: script.reply(chunks=["a", "", "b\n\n", "c"]), Read("ab\n\nc")),
    (
        lambda script: script.tool_calls(("weather", {"city": "Rome"}), ("time", "{broken", "mine"), ("now", {})),
        Read(calls=CALLS, kinds=("function_call",) * 3),
    ),
    (
        lambda script: script.reply("I look.", tool_calls=[("weather", {"city": "Rome"})], reasoning="Let me think."),
        Read("I look.", CALLS[:1], reasoning="Let me think.", kinds=("reasoning", "message", "function_call")),
    ),
    (lambda script: script.refuse("I can't."), Read(refusal="I can't.")),
    (lambda script: script.reasoning("Hm. So."), Read(reasoning="Hm. So.", kinds=("reasoning",))),
    (
        lambda script: script.reply("It is", finish="length"),
        Read("It is", status="incomplete", reason="max_output_tokens"),
    ),
    (
        lambda script: script.reply("", finish="content_filter"),
        Read("", status="incomplete", reason="content_filter"),
    ),
]


@pytest.mark.parametrize(("ask", "case"), product_of(ASKING, CASES, fast=2))
def test_what_was_written_is_read(ask: Callable[..., Read], case: tuple[Callable[[Script], Script], Read]) -> None:
    write, read = case
    assert ask(write(Script())) == read


def test_usage_is_told_with_its_details_whole_and_streamed() -> None:
    script = Script()
    for _ in range(2):
        script.reply("Hi", usage=WrittenUsage(12, 30, 20, 7)).reply("Hi", usage=False).reply("one two three")
    client = openai_client(script)
    answers = [client.responses.create(**ASKED) for _ in range(3)]
    for _ in range(3):
        with client.responses.stream(**ASKED) as stream:
            answers.append(stream.get_final_response())
    for told, none, estimated in (answers[:3], answers[3:]):
        assert told.usage is not None
        assert (told.usage.input_tokens, told.usage.output_tokens, told.usage.total_tokens) == (12, 30, 42)
        assert told.usage.output_tokens_details.reasoning_tokens == 20
        assert told.usage.input_tokens_details.cached_tokens == 7
        assert none.usage is None
        assert estimated.usage is not None
        assert estimated.usage.output_tokens == 3


class City(BaseModel):
    city: str


def test_structured_outputs_are_parsed_whole_and_streamed() -> None:
    script = Script().reply(json={"city": "Rome"}, times=2).refuse("No.").tool_call("City", city="Rome")
    client = openai_client(script)
    assert client.responses.parse(**ASKED, text_format=City).output_parsed == City(city="Rome")
    with client.responses.stream(**ASKED, text_format=City) as stream:
        assert stream.get_final_response().output_parsed == City(city="Rome")
    assert client.responses.parse(**ASKED, text_format=City).output_parsed is None
    tool: Any = openai.pydantic_function_tool(City)
    called = client.responses.parse(**ASKED, tools=[tool]).output[0]
    assert called.type == "function_call"
    assert called.parsed_arguments == City(city="Rome")


def test_every_event_is_as_the_types_of_the_sdk_demand() -> None:
    script = Script().reasoning("Hm.").reply("Hi", tool_calls=[("weather", {}), ("shell", "ls -l")])
    tools = [*TOOLS, {"type": "custom", "name": "shell"}]
    include: list[Any] = ["message.output_text.logprobs"]
    for event in openai_client(script.refuse("No.")).responses.create(
        **ASKED, tools=tools, include=include, stream=True
    ):
        type(event).model_validate(event.to_dict(), strict=True)
    for event in openai_client(script).responses.create(**ASKED, stream=True):
        type(event).model_validate(event.to_dict(), strict=True)


def test_every_event_bears_its_type_as_its_name() -> None:
    with openai_client(Script().reply("Hi")).responses.with_streaming_response.create(**ASKED, stream=True) as raw:
        events = "".join(raw.iter_text()).split("\n\n")[:-1]
    assert len(events) == 9
    for event in events:
        name, data = event.split("\n")
        assert name.removeprefix("event: ") == json.loads(data.removeprefix("data: "))["type"]


def test_a_tool_that_takes_a_text_is_called_with_one_whole_and_streamed() -> None:
    tools: list[Any] = [{"type": "custom", "name": "shell"}]
    client = openai_client(Script().tool_call("shell", "ls -l /var/log").tool_call("shell", "ls -l /var/log"))
    (whole,) = client.responses.create(**ASKED, tools=tools).output
    assert whole.type == "custom_tool_call"
    assert (whole.name, whole.input, whole.call_id) == ("shell", "ls -l /var/log", "call_1_1")
    events = list(client.responses.create(**ASKED, tools=tools, stream=True))
    deltas = [event.delta for event in events if event.type == "response.custom_tool_call_input.delta"]
    assert "".join(deltas) == "ls -l /var/log"


def test_probabilities_are_told_if_they_are_asked_for() -> None:
    include: list[Any] = ["message.output_text.logprobs"]
    client = openai_client(Script().reply("Hi there", times=3))
    (item,) = client.responses.create(**ASKED, include=include).output
    assert item.type == "message"
    assert item.content[0].type == "output_text"
    assert [one.token for one in item.content[0].logprobs or ()] == ["Hi ", "there"]
    (other,) = client.responses.create(**ASKED).output
    assert other.type == "message"
    assert other.content[0].type == "output_text"
    assert other.content[0].logprobs == []


def test_an_answer_tells_what_was_asked() -> None:
    client = openai_client(Script().reply("Hi", times=2).reply("Hi", model="gpt-4.1-2025-04-14"))
    asked: dict[str, Any] = {"instructions": "Be brief.", "metadata": {"a": "b"}, "tools": TOOLS, "temperature": 0}
    told = client.responses.create(**ASKED, **asked, previous_response_id="resp_1", background=True)
    assert (told.instructions, told.metadata, told.temperature) == ("Be brief.", {"a": "b"}, 0)
    assert (told.previous_response_id, told.background, told.status) == ("resp_1", True, "completed")
    assert told.tools[0].type == "function"
    usual = client.responses.create(**ASKED)
    assert (usual.tools, usual.tool_choice, usual.model) == ([], "auto", "gpt-4.1")
    assert usual.id != told.id
    assert client.responses.create(**ASKED).model == "gpt-4.1-2025-04-14"


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_an_error_is_the_typed_exception_of_its_status(status: int, raised: type[Exception], streamed: bool) -> None:
    with pytest.raises(raised, match="Too bad"):
        openai_client(Script().error(status, "Too bad")).responses.create(**ASKED, stream=streamed)


def test_tokens_are_counted() -> None:
    script = Script().reply("not this").token_count(17)
    assert openai_client(script).responses.input_tokens.count(**ASKED).input_tokens == 17
    assert script.requests[0].text == "hi"


def test_a_conversation_is_read() -> None:
    items = [
        {"role": "developer", "content": "Be exact."},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "See "}, {"type": "input_image"}, {"type": "input_file"},
        ]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city": "Rome"}'},
        {"type": "custom_tool_call", "call_id": "c2", "name": "shell", "input": "ls"},
        {"type": "function_call_output", "call_id": "c1", "output": "Sunny."},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [
            {"type": "input_text", "text": "a.txt"}, {"type": "input_image"}
        ]},
        {"type": "item_reference", "id": "msg_1"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    ]  # fmt: skip
    script = Script().reply("Hi").reply("Hi")
    tools = [*TOOLS, {"type": "web_search"}]
    openai_client(script).responses.create(model="gpt-4.1", input=items, instructions="Be brief.", tools=tools)  # type: ignore[call-overload]
    openai_client(script).responses.create(**ASKED)
    sent, simple = script.requests
    assert [(message.role, message.text) for message in sent.messages] == [
        ("system", "Be brief."),
        ("developer", "Be exact."),
        ("user", "See "),
        ("assistant", "I look."),
        ("tool", "Sunny."),
        ("tool", "a.txt"),
        ("assistant", "No."),
    ]
    assert [message.parts for message in sent.messages if message.parts] == [("image", "file"), ("image",)]
    called = [(call.name, call.arguments, call.id) for call in sent.messages[3].tool_calls]
    assert called == [("weather", {"city": "Rome"}, "c1"), ("shell", "ls", "c2")]
    assert [message.tool_call_id for message in sent.messages if message.role == "tool"] == ["c1", "c2"]
    assert [tool.name for tool in sent.tools] == ["weather", "web_search"]
    assert sent.tools[0].parameters == FUNCTION["parameters"]
    assert [(message.role, message.text) for message in simple.messages] == [("user", "hi")]


def test_the_items_of_an_answer_can_be_sent_again() -> None:
    script = Script().reasoning("Hm.").reply("I look.", tool_calls=[("weather", {"city": "Rome"})]).reply("Sunny.")
    client = openai_client(script)
    said = client.responses.create(**ASKED).output
    result: Any = {"type": "function_call_output", "call_id": "call_1_1", "output": "Sun"}
    history: Any = [{"role": "user", "content": "hi"}, *[item.to_dict() for item in said], result]
    assert client.responses.create(model="gpt-4.1", input=history).output_text == "Sunny."
    user, assistant, tool = script.requests[1].messages
    assert (user.text, assistant.text, tool.text) == ("hi", "I look.", "Sun")
    assert [call.id for call in assistant.tool_calls] == [tool.tool_call_id] == ["call_1_1"]


@given(
    chunks=st.lists(st.text(), min_size=1, max_size=5),
    calls=st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=3),
    thought=st.text(),
)
@pytest.mark.slow
def test_whatever_is_written_is_read_the_same_whole_and_streamed(
    chunks: list[str], calls: list[tuple[str, str]], thought: str
) -> None:
    script = Script()
    for _ in range(3):
        script.reply(chunks=chunks, tool_calls=calls, reasoning=thought or None)
    whole = ask_whole(script)
    assert whole.text == "".join(chunks)
    assert [call[1:] for call in whole.calls] == calls
    assert whole.reasoning == thought
    whole, streamed, helped = [
        replace(read, calls=tuple(call[1:] for call in read.calls))
        for read in (whole, ask_streamed(script), ask_helper(script))
    ]
    assert whole == streamed == helped
