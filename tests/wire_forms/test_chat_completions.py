"""Chat completions, as OpenAI's SDK reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import AzureOpenAI, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from aquila.cassettes.model import RecordedRequest
from aquila.scripting.script import Script
from aquila.wire_forms.answer import WrittenUsage, split_text
from aquila.wire_forms.table import read_sent
from tests.support.slow import product_of
from tests.wire_forms.answering import ScriptTransport, async_openai_client, openai_client
from tests.wire_forms.samples import FUNCTION, HI

ASKED: dict[str, Any] = {"model": "gpt-4.1", "messages": HI}
TOOLS: list[Any] = [{"type": "function", "function": FUNCTION}]


@dataclass(frozen=True)
class Read:
    """An answer as a client has read it. It is the same for every way of asking."""

    text: str | None = None
    calls: tuple[tuple[str, str, str], ...] = ()
    refusal: str | None = None
    reasoning: str = ""
    finish: str | None = None
    usage: tuple[int, int, int, int, int] | None = None


def read_whole(answer: ChatCompletion) -> Read:
    (choice,) = answer.choices
    message = choice.message
    calls = tuple((call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ())
    assert answer.object in ("chat.completion", "chat.completion.chunk")  # the helper leaves it as it came
    return Read(
        message.content,
        calls,
        message.refusal,
        getattr(message, "reasoning_content", ""),
        choice.finish_reason,
        read_usage(answer.usage),
    )


def read_chunks(chunks: Iterable[ChatCompletionChunk]) -> Read:
    """Put chunks together as programs do by hand."""
    text = refusal = None
    reasoning, finish, usage = "", None, None
    calls: dict[int, list[str]] = {}
    heads = set()
    for chunk in chunks:
        heads.add((chunk.id, chunk.created, chunk.model, chunk.object))
        usage = chunk.usage or usage
        for choice in chunk.choices:
            assert finish is None, "something came after the reason why it ended"
            delta, finish = choice.delta, choice.finish_reason
            text = text if delta.content is None else (text or "") + delta.content
            refusal = refusal if delta.refusal is None else (refusal or "") + delta.refusal
            reasoning += getattr(delta, "reasoning_content", "")
            for call in delta.tool_calls or ():
                if call.id is not None:
                    calls[call.index] = [call.id, call.function.name, ""]
                calls[call.index][2] += call.function.arguments
    assert len(heads) == 1
    return Read(text, tuple(map(tuple, calls.values())), refusal, reasoning, finish, read_usage(usage))


def read_usage(usage: Any) -> Any:
    if usage is None:
        return None
    details = usage.completion_tokens_details.reasoning_tokens, usage.prompt_tokens_details.cached_tokens
    return (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, *details)


def ask_whole(script: Script, **asked: Any) -> Read:
    return read_whole(openai_client(script).chat.completions.create(**{**ASKED, **asked}))


def ask_streamed(script: Script, **asked: Any) -> Read:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    return read_chunks(openai_client(script).chat.completions.create(**{**ASKED, **options, **asked}))


def ask_helper(script: Script, **asked: Any) -> Read:
    options = {"stream_options": {"include_usage": True}}
    with openai_client(script).chat.completions.stream(**{**ASKED, **options, **asked}) as stream:
        return read_whole(stream.get_final_completion())


def ask_raw(script: Script, **asked: Any) -> Read:
    raw = openai_client(script).chat.completions.with_raw_response.create(**{**ASKED, **asked})
    assert raw.request_id == "req_scripted_1"
    return read_whole(raw.parse())


def ask_async(script: Script, **asked: Any) -> Read:
    async def ask() -> ChatCompletion:
        async with async_openai_client(script) as client:
            return await client.chat.completions.create(**{**ASKED, **asked})

    return read_whole(asyncio.run(ask()))


def ask_async_streamed(script: Script, **asked: Any) -> Read:
    options = {"stream": True, "stream_options": {"include_usage": True}}

    async def ask() -> list[ChatCompletionChunk]:
        async with async_openai_client(script) as client:
            return [chunk async for chunk in await client.chat.completions.create(**{**ASKED, **options, **asked})]

    return read_chunks(asyncio.run(ask()))


ASKING = [ask_whole, ask_streamed, ask_helper, ask_raw, ask_async, ask_async_streamed]
WAYS = pytest.mark.parametrize("ask", ASKING, ids=lambda ask: ask.__name__)

CALLS = (("call_1_1", "weather", '{"city":"Rome"}'), ("mine", "time", "{broken"), ("call_1_3", "now", "{}"))

CASES: list[tuple[Callable[[Script], Script], Read]] = [
    (lambda script: script.reply("Hello there"), Read("Hello there", finish="stop")),
    (lambda script: script.reply(""), Read("", finish="stop")),
    (lambda script: script.reply(chunks=["a", "", "b\n\n", "c"]), Read("ab\n\nc", finish="stop")),
    (
        lambda script: script.tool_calls(("weather", {"city": "Rome"}), ("time", "{broken", "mine"), ("now", {})),
        Read(None, CALLS, finish="tool_calls"),
    ),
    (
        lambda script: script.reply("Let me look.", tool_calls=[("weather", {"city": "Rome"})]),
        Read("Let me look.", CALLS[:1], finish="tool_calls"),
    ),
    (lambda script: script.refuse("I can't."), Read(None, refusal="I can't.", finish="stop")),
    (lambda script: script.reasoning("Let me think.").reply("4"), Read("4", reasoning="Let me think.", finish="stop")),
]


@pytest.mark.parametrize(("ask", "case"), product_of(ASKING, CASES, fast=2))
def test_what_was_written_is_read(ask: Callable[..., Read], case: tuple[Callable[[Script], Script], Read]) -> None:
    write, read = case
    assert replace(ask(write(Script())), usage=None) == read


@WAYS
def test_usage_is_read_with_its_details(ask: Callable[..., Read]) -> None:
    assert ask(Script().reply("Hi", usage=(12, 3))).usage == (12, 3, 15, 0, 0)
    assert ask(Script().reply("Hi", usage=WrittenUsage(12, 30, 20, 7))).usage == (12, 30, 42, 20, 7)
    assert ask(Script().reply("Hi", usage=False)).usage is None
    estimated = ask(Script().reply("one two three")).usage
    assert estimated is not None
    assert estimated[0] > 0
    assert estimated[1] == 3


def test_a_stream_tells_no_usage_that_was_not_asked_for() -> None:
    assert ask_streamed(Script().reply("Hi", usage=(12, 3)), stream_options={}).usage is None


@pytest.mark.parametrize(
    ("finish", "raised"),
    [("length", openai.LengthFinishReasonError), ("content_filter", openai.ContentFilterFinishReasonError)],
)
def test_an_answer_that_was_cut_is_the_typed_error_of_the_helpers(finish: Any, raised: type[Exception]) -> None:
    script = Script().reply('{"city": "Ro', finish=finish, times=4)
    client = openai_client(script)
    with client.chat.completions.stream(**ASKED, response_format=City) as stream, pytest.raises(raised):
        stream.get_final_completion()
    with pytest.raises(raised):
        client.chat.completions.parse(**ASKED, response_format=City)
    assert ask_whole(script).finish == ask_streamed(script).finish == finish


class City(BaseModel):
    city: str


def test_structured_outputs_are_parsed_whole_and_streamed() -> None:
    client = openai_client(Script().reply(json={"city": "Rome"}, times=2).refuse("No.").tool_call("City", city="Rome"))
    assert client.chat.completions.parse(**ASKED, response_format=City).choices[0].message.parsed == City(city="Rome")
    with client.chat.completions.stream(**ASKED, response_format=City) as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_completion().choices[0].message.parsed == City(city="Rome")
    assert "content.done" in kinds
    refused = client.chat.completions.parse(**ASKED, response_format=City).choices[0].message
    assert (refused.parsed, refused.refusal) == (None, "No.")
    called = client.chat.completions.parse(**ASKED, tools=[openai.pydantic_function_tool(City)]).choices[0].message
    assert called.tool_calls is not None
    assert called.tool_calls[0].function.parsed_arguments == City(city="Rome")


def test_the_arguments_of_several_calls_are_streamed_to_the_helper() -> None:
    script = Script().tool_calls(("weather", {"city": "Rome", "days": 7}), ("weather", {"city": "Ulm"}))
    with openai_client(script).chat.completions.stream(**ASKED, tools=TOOLS) as stream:
        events = list(stream)
    deltas = [each for each in events if each.type == "tool_calls.function.arguments.delta"]
    done = [each for each in events if each.type == "tool_calls.function.arguments.done"]
    assert len(deltas) > 4
    assert [json.loads(each.arguments) for each in done] == [{"city": "Rome", "days": 7}, {"city": "Ulm"}]


@pytest.mark.parametrize("asked", [1, 3])
def test_all_choices_that_are_asked_for_say_the_same(asked: int) -> None:
    script = Script().reply("Hi there", tool_calls=[("weather", {})], times=2)
    client = openai_client(script)
    choices = client.chat.completions.create(**ASKED, n=asked).choices
    assert [choice.index for choice in choices] == list(range(asked))
    assert {choice.message.content for choice in choices} == {"Hi there"}
    with client.chat.completions.stream(**ASKED, n=asked) as stream:
        streamed = stream.get_final_completion().choices
    assert [(one.message.content, one.finish_reason) for one in streamed] == [("Hi there", "tool_calls")] * asked


@pytest.mark.parametrize("asked", [0, -1, 10**9, "2", None, 2.5])
def test_no_number_of_choices_makes_an_odd_answer(asked: Any) -> None:
    assert ask_whole(Script().reply("Hi"), n=asked).text == "Hi"


def test_probabilities_are_told_if_they_are_asked_for() -> None:
    client = openai_client(Script().reply("Hi there", times=4))
    whole = client.chat.completions.create(**ASKED, logprobs=True, top_logprobs=2).choices[0].logprobs
    assert whole is not None
    assert [(one.token, one.logprob, one.top_logprobs[0].token) for one in whole.content or ()] == [
        ("Hi ", 0.0, "Hi "),
        ("there", 0.0, "there"),
    ]
    with client.chat.completions.stream(**ASKED, logprobs=True) as stream:
        streamed = stream.get_final_completion().choices[0].logprobs
    assert streamed is not None
    assert streamed.content == whole.content
    assert client.chat.completions.create(**ASKED).choices[0].logprobs is None


def test_a_request_with_functions_is_answered_as_before_there_were_tools() -> None:
    client = openai_client(Script().tool_call("weather", city="Rome").tool_call("weather", city="Rome"))
    choice = client.chat.completions.create(**ASKED, functions=[FUNCTION]).choices[0]
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call is not None
    assert (choice.message.function_call.name, choice.message.function_call.arguments) == ("weather", '{"city":"Rome"}')
    chunks = [chunk.choices[0] for chunk in client.chat.completions.create(**ASKED, functions=[FUNCTION], stream=True)]
    called = [chunk.delta.function_call for chunk in chunks if chunk.delta.function_call]
    assert [call.name for call in called if call.name] == ["weather"]
    assert "".join(call.arguments or "" for call in called) == '{"city":"Rome"}'
    assert chunks[-1].finish_reason == "function_call"


def test_a_tool_that_takes_a_text_is_called_with_one() -> None:
    tools: list[Any] = [{"type": "custom", "custom": {"name": "shell"}}]
    script = Script().tool_call("shell", "ls -l")
    call = openai_client(script).chat.completions.create(**ASKED, tools=tools).choices[0].message.tool_calls
    assert call is not None
    assert call[0].type == "custom"
    assert (call[0].custom.name, call[0].custom.input) == ("shell", "ls -l")


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (408, openai.APIStatusError),
        (409, openai.ConflictError),
        (413, openai.APIStatusError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
        (529, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_an_error_is_the_typed_exception_of_its_status(
    status: int, raised: type[openai.APIStatusError], streamed: bool
) -> None:
    script = Script().error(status, "Too bad", type="own_type", code="own_code", retry_after=3)
    with pytest.raises(raised) as caught:
        openai_client(script).chat.completions.create(**ASKED, stream=streamed)
    error = caught.value
    assert (error.status_code, error.request_id) == (status, "req_scripted_1")
    assert (error.type, error.code, error.param) == ("own_type", "own_code", None)
    assert error.response.headers["retry-after"] == "3"
    assert "Too bad" in error.message


def test_a_client_asks_again_after_a_rate_limit_and_gets_the_next_answer() -> None:
    transport = ScriptTransport(Script().error(429, headers={"retry-after-ms": "1"}, times=2).reply("Hi"))
    client = OpenAI(api_key="none", http_client=httpx2.Client(transport=transport, trust_env=False))
    assert read_whole(client.chat.completions.create(**ASKED)).text == "Hi"
    assert len(transport.asked) == 3


@pytest.mark.parametrize(
    "base",
    [
        "https://openrouter.ai/api/v1",
        "https://api.groq.com/openai/v1",
        "https://api.deepseek.com",
        "https://api.mistral.ai/v1/",
        "https://generativelanguage.googleapis.com/v1beta/openai/",
        "http://localhost:11434/v1",
        "https://api.fireworks.ai/inference/v1",
    ],
)
def test_servers_that_speak_it_under_other_paths_are_answered(base: str) -> None:
    client = openai_client(Script().reasoning("Hm.").reply("Hi"), base_url=base)
    message: Any = client.chat.completions.create(**ASKED).choices[0].message
    assert message.content == "Hi"
    field = "reasoning" if "openrouter" in base or "groq" in base else "reasoning_content"
    assert getattr(message, field) == "Hm."


@pytest.mark.parametrize("known_by", ["host", "client"])
def test_calls_come_whole_to_a_client_of_mistral(known_by: str) -> None:
    script = Script().tool_calls(("weather", {"city": "Rome", "days": 7}), ("time", {}))
    base = "https://api.mistral.ai/v1" if known_by == "host" else "http://localhost:8000/v1"
    agent = {} if known_by == "host" else {"user-agent": "mistral-client-python/3.7.0"}
    asked = {**ASKED, "stream": True, "extra_headers": agent}
    chunks = list(openai_client(script, base_url=base).chat.completions.create(**asked))
    called = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert [(call.index, call.function.name, call.function.arguments) for call in called] == [
        (0, "weather", '{"city":"Rome","days":7}'),
        (1, "time", "{}"),
    ]
    assert read_chunks(chunks).finish == "tool_calls"


def test_azure_is_answered_and_its_deployment_is_the_model() -> None:
    script = Script().reply("Hi", times=2)
    client = AzureOpenAI(
        api_key="none",
        api_version="2024-10-21",
        azure_endpoint="https://mine.openai.azure.com",
        http_client=httpx2.Client(transport=ScriptTransport(script), trust_env=False),
    )
    assert read_whole(client.chat.completions.create(**ASKED)).text == "Hi"
    assert "/deployments/gpt-4.1/" in script.requests[0].url
    url = "https://mine.openai.azure.com/openai/deployments/my%20model/chat/completions?api-version=1"
    assert read_sent(RecordedRequest("POST", url, (), b'{"messages": []}')).model == "my model"


def test_a_conversation_is_read() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "See "}, {"type": "image_url"}, {"type": "file"}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}},
            {"id": "c2", "type": "custom", "custom": {"name": "shell", "input": "ls"}},
        ]},
        {"role": "tool", "tool_call_id": "c1", "content": "Sunny."},
        {"role": "assistant", "refusal": "No.", "function_call": {"name": "old", "arguments": "{"}},
        {"role": "function", "name": "old", "content": "Done."},
    ]  # fmt: skip
    script = Script().reply("Hi")
    openai_client(script).chat.completions.create(**{**ASKED, "messages": messages}, tools=TOOLS)
    (sent,) = script.requests
    assert [message.role for message in sent.messages] == [
        "developer",
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
    ]
    assert [message.text for message in sent.messages] == ["Be brief.", "See ", "", "Sunny.", "No.", "Done."]
    assert sent.messages[1].parts == ("image", "file")
    called = [(call.name, call.arguments, call.id) for message in sent.messages for call in message.tool_calls]
    assert called == [("weather", {"city": "Rome"}, "c1"), ("shell", "ls", "c2"), ("old", "{", None)]
    assert sent.messages[3].tool_call_id == "c1"
    assert [(tool.name, tool.description, tool.parameters) for tool in sent.tools] == [
        ("weather", "The weather.", FUNCTION["parameters"])
    ]


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
    numbered = [replace(each, calls=tuple(call[1:] for call in each.calls), usage=None) for each in (
        whole, ask_streamed(script), ask_helper(script)
    )]  # fmt: skip
    assert numbered[0] == numbered[1] == numbered[2]


def test_a_very_long_text_comes_in_fewer_pieces_than_it_has_words() -> None:
    text = "word\n " * 50_000 + "end"
    pieces = split_text(text)
    assert "".join(pieces) == text
    assert 10_000 < len(pieces) <= 20_000
    assert split_text("a  b \n") == ("a  ", "b \n")
