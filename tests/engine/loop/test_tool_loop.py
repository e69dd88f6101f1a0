"""The tool loop, over both endpoints, synchronous and asynchronous, against scripted answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from typing import Annotated, Any

import pytest
from pydantic import BeforeValidator

import aquila
from aquila.errors import CassetteMiss, ConfigError, ToolError
from aquila.events import Chunk, Done, ToolCall, ToolResult
from tests.support.engines import Engine, live
from tests.support.provider import (
    call_item,
    chat_calls,
    chat_chunk,
    chat_stream,
    one_call,
    responses_stream,
    tool_fragment,
)
from tests.support.server import Answer, Seen, cut, serving, sse


@aquila.tool
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


def calling(endpoint: str, name: str, arguments: str, id: str = "call_1") -> bytes:
    if endpoint == "chat":
        return one_call(name, arguments, id)
    return responses_stream(items=[call_item(name, arguments, id)])


def saying(endpoint: str, text: str) -> bytes:
    return chat_stream(text) if endpoint == "chat" else responses_stream(text)


def results_sent(seen: Seen) -> list[str]:
    """The texts of the tool results in a request."""
    messages = seen.json.get("messages") or seen.json["input"]
    return [
        each.get("content") or each.get("output")
        for each in messages
        if each.get("role") == "tool" or each.get("type") == "function_call_output"
    ]


def test_tool_runs_and_the_model_gets_its_result(engine: Engine, endpoint: str) -> None:
    answers = [calling(endpoint, "add", '{"a": 2, "b": 3}'), saying(endpoint, "It is 5.")]
    with serving(*(Answer(cut(answer)) for answer in answers)) as server:
        events = engine.events("2 + 3?", base_url=server.url, endpoint=endpoint, tools=[add], metadata={"id": 1})
    kinds = [type(event) for event in events if isinstance(event, (ToolCall, ToolResult, Chunk, Done))]
    assert kinds == [ToolCall, ToolResult, Chunk, Done]
    call = next(event for event in events if isinstance(event, ToolCall))
    result = next(event for event in events if isinstance(event, ToolResult))
    assert (call.id, call.name, call.arguments) == ("call_1", "add", {"a": 2, "b": 3})
    assert (result.id, result.name, result.value, result.text, result.error) == ("call_1", "add", 5, "5", None)
    assert call.metadata == result.metadata == {"id": 1}
    reply = events[-1].response
    assert reply.text == "It is 5."
    assert reply.usage.total_tokens == 14  # of both requests
    assert (reply.meta["turns"], reply.meta["stopped"]) == (2, None)
    assert reply.tool_calls == (call,)
    assert results_sent(server.seen[1]) == ["5"]


def test_tools_are_described_in_the_form_of_the_endpoint(engine: Engine) -> None:
    with serving(chat_stream("ok"), responses_stream("ok")) as server:
        options: dict[str, Any] = {"tools": [add], "parallel_tool_calls": False, "base_url": server.url}
        engine.ask("Hi", tool_choice="add", **options)
        engine.ask("Hi", endpoint="responses", tool_choice="add", **options)
    chat, responses = (seen.json for seen in server.seen)
    described = {"name": "add", "description": "Add two numbers.", "parameters": add.schema}
    assert chat["tools"] == [{"type": "function", "function": described}]
    assert responses["tools"] == [{"type": "function", **described, "strict": False}]
    assert chat["tool_choice"] == {"type": "function", "function": {"name": "add"}}
    assert responses["tool_choice"] == {"type": "function", "name": "add"}
    assert chat["parallel_tool_calls"] is responses["parallel_tool_calls"] is False


def test_conversation_of_a_chat_is_sent_back_complete(engine: Engine) -> None:
    with serving(one_call("add", '{"a":2}'), chat_stream("3")) as server:
        engine.ask("Hi", base_url=server.url, tools=[add], instructions="Brief.")
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a":2}'}}
    assert server.seen[1].json["messages"] == [
        {"role": "system", "content": "Brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "3", "tool_call_id": "call_1"},
    ]


def test_items_of_a_response_are_sent_back_unchanged(engine: Engine) -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "abc"}
    call = call_item("add", '{"a":2}')
    with serving(responses_stream(items=[reasoning, call]), responses_stream("3")) as server:
        engine.ask("Hi", base_url=server.url, endpoint="responses", tools=[add])
    assert server.seen[1].json["input"] == [
        {"role": "user", "content": "Hi"},
        reasoning,
        call,
        {"type": "function_call_output", "call_id": "call_1", "output": "3"},
    ]


@pytest.mark.parametrize(
    ("fragments", "expected"),
    [
        # interleaved over chunks
        (
            [
                tool_fragment(0, "", "a", "add"),
                tool_fragment(1, "", "b", "add"),
                tool_fragment(0, '{"a"'),
                tool_fragment(1, '{"a": 10'),
                tool_fragment(0, ": 1}"),
                tool_fragment(1, "}"),
            ],
            {"a": "2", "b": "11"},
        ),
        # several in one chunk
        (
            [[tool_fragment(0, '{"a": 1', "a", "add"), tool_fragment(1, '{"a": 2', "b", "add")],
             [tool_fragment(1, "}"), tool_fragment(0, "}")]],
            {"a": "2", "b": "3"},
        ),
        # without an id
        ([tool_fragment(0, '{"a": 1}', None, "add"), tool_fragment(1, '{"a": 2}', None, "add")],
         {"call_1_0": "2", "call_1_1": "3"}),
        # without an index
        ([tool_fragment(None, '{"a": ', "a", "add"), tool_fragment(None, "1}"),
          tool_fragment(None, '{"a": 2}', "b", "add")], {"a": "2", "b": "3"}),
        # all with index 0, distinguished by their ids
        ([tool_fragment(0, '{"a": 1}', "a", "add"), tool_fragment(0, '{"a": 2', "b", "add"), tool_fragment(0, "}")],
         {"a": "2", "b": "3"}),
        # the same id twice
        ([tool_fragment(0, '{"a": 1}', "a", "add"), tool_fragment(1, '{"a": 2}', "a", "add")],
         {"a": "2", "call_1_1": "3"}),
        # the name repeated with every fragment
        ([tool_fragment(0, '{"a"', "a", "add"), tool_fragment(0, ": 1}", "a", "add")], {"a": "2"}),
    ],
    ids=["interleaved", "together", "no id", "no index", "one index", "one id", "name repeated"],
)  # fmt: skip
def test_fragments_of_calls_are_put_together(engine: Engine, fragments: list[Any], expected: dict[str, str]) -> None:
    with serving(chat_calls(*fragments), chat_stream("ok")) as server:
        engine.ask("Hi", base_url=server.url, tools=[add])
    sent = server.seen[1].json["messages"]
    assert {each["tool_call_id"]: each["content"] for each in sent if each["role"] == "tool"} == expected
    assistant = next(each for each in sent if each["role"] == "assistant")
    assert [call["id"] for call in assistant["tool_calls"]] == list(expected)


@pytest.mark.parametrize("id", [None, "a"], ids=["no id", "the same id"])
def test_calls_of_a_continued_conversation_have_ids_of_their_own(engine: Engine, id: str | None) -> None:
    call = chat_calls(tool_fragment(0, '{"a": 1}', id, "add"))
    with serving(call, chat_stream("ok"), call, chat_stream("ok")) as server:
        first = engine.ask("Hi", base_url=server.url, tools=[add])
        second = engine.ask([*first.messages, "Again"], base_url=server.url, tools=[add])
    called = [call.id for message in second.messages for call in message.calls]
    assert len(set(called)) == 2
    assert [message.call_id for message in second.messages if message.role == "tool"] == called


def test_empty_arguments_are_no_arguments(engine: Engine, endpoint: str) -> None:
    with serving(calling(endpoint, "now", ""), saying(endpoint, "ok")) as server:
        engine.ask("Hi", base_url=server.url, endpoint=endpoint, tools=[aquila.Tool("now", {}, lambda: "noon")])
    assert results_sent(server.seen[1]) == ["noon"]


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("add", "{broken", "Error: the arguments of add are wrong: the arguments are not a JSON object"),
        ("add", '{"a": "x"}', "Error: the arguments of add are wrong: a: Input should be a valid integer"),
        ("nope", "{}", "Error: there is no tool 'nope'; there are: add, pay, fail"),
        ("fail", "{}", "Error: FileNotFoundError: [Errno 2] No such file or directory: '<path>'"),
    ],
)
def test_failure_of_a_tool_is_reported_to_the_model(
    engine: Engine, endpoint: str, name: str, arguments: str, told: str
) -> None:
    def fail() -> None:
        raise FileNotFoundError(2, "No such file or directory", f"/tmp/{threading.get_native_id()}/x.txt")

    with serving(calling(endpoint, name, arguments), saying(endpoint, "sorry")) as server:
        tools = [add, aquila.Tool("pay", {}), fail]
        events = engine.events("Hi", base_url=server.url, endpoint=endpoint, tools=tools)
    assert results_sent(server.seen[1])[0].startswith(told)
    assert next(event for event in events if isinstance(event, ToolResult)).error is not None
    assert events[-1].response.text == "sorry"


def loop_of_lists() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    return endless


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")

    __repr__ = __str__


def unspeakable() -> None:
    raise Unspeakable


def take_from_nothing() -> str:
    return next(iter(()))


async def take_from_nothing_later() -> str:
    return next(iter(()))


async def end_asynchronous_iteration() -> str:
    raise StopAsyncIteration("no more")


def refuse(value: Any) -> Any:
    raise TypeError("not this kind")


def picky(x: Annotated[int, BeforeValidator(refuse)]) -> int:
    return x


@pytest.mark.parametrize(
    ("function", "arguments", "told"),
    [
        (lambda: b"\xff", "{}", "Error: TypeError: the result cannot be written as JSON: "),
        (loop_of_lists, "{}", "Error: TypeError: the result cannot be written as JSON: it contains itself"),
        (lambda: [Unspeakable()], "{}", "Error: TypeError: the result cannot be written as JSON: "),
        (unspeakable, "{}", "Error: Unspeakable"),
        (take_from_nothing, "{}", "Error: StopIteration"),
        (take_from_nothing_later, "{}", "Error: RuntimeError: coroutine raised StopIteration"),
        (end_asynchronous_iteration, "{}", "Error: StopAsyncIteration: no more"),
        (lambda: "half \ud800", "{}", "half \ufffd"),
        (picky, '{"x": 1}', "Error: the arguments of f are wrong: TypeError: not this kind"),
        (lambda x: x, '{"x": ' + "[" * 50_000, "Error: the arguments of f are wrong: the arguments are not a JSON obj"),
    ],
    ids=[
        "bytes",
        "endless",
        "no repr",
        "no str",
        "stop",
        "stop later",
        "stop async",
        "half a character",
        "validator",
        "brackets",
    ],
)
def test_no_result_or_error_of_a_tool_ends_the_call(engine: Engine, function: Any, arguments: str, told: str) -> None:
    made = aquila.tool(name="f")(function)
    with serving(one_call("f", arguments), chat_stream("ok")) as server:
        assert engine.ask("Hi", base_url=server.url, tools=[made]).text == "ok"
    assert results_sent(server.seen[1])[0].startswith(told)


def test_failures_of_tools_are_raised_if_tool_errors_is_raise(engine: Engine) -> None:
    def fail() -> None:
        raise ZeroDivisionError("oh")

    for name, arguments, cause in (("fail", "{}", ZeroDivisionError), ("add", "{", None), ("nope", "{}", None)):
        with serving(one_call(name, arguments)) as server, pytest.raises(ToolError) as caught:
            engine.ask("Hi", base_url=server.url, tools=[add, fail], tool_errors="raise")
        assert isinstance(caught.value.__cause__, cause or type(None))


def miss(value: Any = None) -> Any:
    raise CassetteMiss("nothing like it")


def strict(x: Annotated[int, BeforeValidator(miss)]) -> int:
    return x


@pytest.mark.parametrize("function", [lambda x: miss(), strict], ids=["tool", "validator"])
def test_a_miss_inside_a_tool_is_raised_and_not_reported_to_the_model(engine: Engine, function: Any) -> None:
    made = aquila.tool(name="f")(function)
    with serving(one_call("f", '{"x": 1}')) as server, pytest.raises(CassetteMiss):
        engine.ask("Hi", base_url=server.url, tools=[made])


def test_coroutine_functions_and_plain_ones_are_both_run(engine: Engine) -> None:
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    class Promise:
        def __await__(self) -> Generator[None, None, int]:
            return later(2).__await__()

    def promise() -> Any:
        return Promise()

    calls = chat_calls(
        tool_fragment(0, '{"x": 1}', "a", "later"),
        tool_fragment(1, '{"a": 1}', "b", "add"),
        tool_fragment(2, "{}", "c", "promise"),
    )
    with serving(calls, chat_stream("ok")) as server:
        engine.ask("Hi", base_url=server.url, tools=[later, add, promise])
    assert results_sent(server.seen[1]) == ["2", "2", "3"]


def test_coroutine_function_runs_in_a_synchronous_call_within_an_event_loop() -> None:
    async def later() -> str:
        await asyncio.sleep(0)
        return "done"

    async def scenario(url: str) -> None:
        aquila.ask("Hi", **live({"base_url": url, "tools": [later]}))

    with serving(one_call("later", "{}"), chat_stream("ok")) as server:
        asyncio.run(scenario(server.url))
    assert results_sent(server.seen[1]) == ["done"]


def test_tools_that_want_the_context_get_it_with_the_patches_of_earlier_tools(engine: Engine) -> None:
    def login(tool_context: dict[str, Any]) -> aquila.ToolResult:
        seen.append(dict(tool_context))
        tool_context["scratch"] = "not shared"
        return aquila.ToolResult("welcome", context_patch={"user": "eve"})

    def whoami(tool_context: dict[str, Any]) -> str:
        seen.append(dict(tool_context))
        return tool_context["user"]

    seen: list[dict[str, Any]] = []
    given = {"user": "nobody"}
    calls = chat_calls(tool_fragment(0, "{}", "a", "login"), tool_fragment(1, "{}", "b", "whoami"))
    with serving(calls, one_call("whoami", "{}", "c"), chat_stream("ok")) as server:
        events = engine.events("Hi", base_url=server.url, tools=[login, whoami, add], tool_context=given)
    assert seen == [{"user": "nobody"}, {"user": "eve"}, {"user": "eve"}]
    assert given == {"user": "nobody"}
    results = [event for event in events if isinstance(event, ToolResult)]
    assert [result.context_patch for result in results] == [{"user": "eve"}, None, None]
    assert results_sent(server.seen[2]) == ["welcome", "eve", "eve"]
    assert "tool_context" not in str(server.seen[0].json)


def test_a_patch_of_a_context_that_is_no_mapping_is_refused(engine: Engine) -> None:
    def login() -> aquila.ToolResult:
        return aquila.ToolResult("welcome", context_patch={"user": "eve"})

    with serving(one_call("login", "{}")) as server, pytest.raises(ConfigError, match="tool_context= is a str"):
        engine.ask("Hi", base_url=server.url, tools=[login], tool_context="nobody")


def test_a_returned_error_is_reported_to_the_model(engine: Engine) -> None:
    def refuse() -> aquila.ToolResult:
        return aquila.ToolResult(error="not today")

    with serving(one_call("refuse", "{}"), chat_stream("ok")) as server:
        events = engine.events("Hi", base_url=server.url, tools=[refuse])
    assert results_sent(server.seen[1]) == ["Error: not today"]
    assert next(event for event in events if isinstance(event, ToolResult)).error == "not today"


def test_concurrent_tools_of_a_turn_run_at_once_and_answer_in_order(engine: Engine) -> None:
    meeting = threading.Barrier(2, timeout=60)

    def meet(n: int) -> int:
        meeting.wait()  # only passes if both are here
        return n

    calls = chat_calls(tool_fragment(0, '{"n": 1}', "a", "meet"), tool_fragment(1, '{"n": 2}', "b", "meet"))
    with serving(calls, chat_stream("ok")) as server:
        engine.ask("Hi", base_url=server.url, tools=[meet], concurrent_tools=True)
    assert results_sent(server.seen[1]) == ["1", "2"]


def endless(endpoint: str, name: str, arguments: str) -> Callable[[Seen], Answer]:
    count = iter(range(1000))
    return lambda seen: Answer([calling(endpoint, name, arguments, f"call_{next(count)}")])


def test_the_limit_of_rounds_ends_the_call_with_a_text_and_a_flag(engine: Engine, endpoint: str) -> None:
    with serving(by=endless(endpoint, "add", '{"a": 1}')) as server:
        reply = engine.ask("Hi", base_url=server.url, endpoint=endpoint, tools=[add], max_tool_iterations=3)
    assert reply.meta["stopped"] == "max_tool_iterations"
    assert "called tools in more than 3 rounds" in reply.text
    assert reply.meta["turns"] == len(server.seen) == 4
    assert len(reply.tool_calls) == 4
    # The conversation can be gone on with: every call has its answer.
    answered = {message.call_id for message in reply.messages if message.role == "tool"}
    assert answered == {call.id for call in reply.tool_calls}
    assert reply.messages[-1].text.startswith("Error: not run: the limit of 3 rounds")


def test_limit_of_rounds_is_24_unless_set() -> None:
    with serving(by=endless("chat", "add", '{"a": 1}')) as server:
        reply = aquila.ask("Hi", **live({"base_url": server.url, "tools": [add]}))
    assert (reply.meta["turns"], reply.meta["stopped"]) == (25, "max_tool_iterations")


def test_three_failures_in_a_row_end_the_call_with_a_text_and_a_flag(engine: Engine, endpoint: str) -> None:
    with serving(by=endless(endpoint, "add", "{}")) as server:
        events = engine.events("Hi", base_url=server.url, endpoint=endpoint, tools=[add])
    reply = events[-1].response
    assert reply.meta["stopped"] == "max_tool_failures"
    assert "3 tool calls in a row failed" in reply.text
    assert Chunk(reply.text) in events
    assert len(server.seen) == 3


def cut_call(endpoint: str, *arguments: str, finish: str = "length") -> bytes:
    """An answer that is cut within the last of its calls, by its length if ``finish`` is not given."""
    if endpoint == "chat":
        calls = [tool_fragment(n, text, f"call_{n}", "add_one") for n, text in enumerate(arguments)]
        return sse(chat_chunk("Well"), chat_chunk(tool_calls=calls), chat_chunk(finish=finish))
    items = [call_item("add_one", text, f"call_{n}") for n, text in enumerate(arguments)]
    return responses_stream("Well", items=items, status="incomplete", incomplete_details={"reason": _REASONS[finish]})


_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


@pytest.mark.parametrize("arguments", [['{"a": 1'], [""], ['{"a": 1}', '{"a"']], ids=["one", "none yet", "second"])
def test_answer_cut_by_its_length_within_a_call_runs_no_tool(
    engine: Engine, endpoint: str, arguments: list[str]
) -> None:
    ran: list[int] = []

    def add_one(a: int = 0) -> int:
        """Add one."""
        ran.append(a)
        return a + 1

    with serving(cut_call(endpoint, *arguments)) as server:
        reply = engine.ask("Hi", base_url=server.url, endpoint=endpoint, tools=[add_one], tool_errors="raise")
    assert (ran, len(server.seen)) == ([], 1)
    assert (reply.meta["stopped"], reply.meta["finish_reason"]) == ("max_output_tokens", "length")
    assert "cut off within a tool call by its length limit (max_output_tokens)" in reply.text
    # The conversation can be gone on with: every call has its answer.
    assert [message.call_id for message in reply.messages if message.role == "tool"] == [
        call.id for call in reply.tool_calls
    ]


def test_answer_cut_by_a_content_filter_within_a_call_says_so(engine: Engine, endpoint: str) -> None:
    with serving(cut_call(endpoint, '{"a": 1', finish="content_filter")) as server:
        events = engine.events("Hi", base_url=server.url, endpoint=endpoint, tools=[add], tool_errors="raise")
    reply = events[-1].response
    assert "".join(event.text for event in events if isinstance(event, Chunk)) == reply.text
    assert len(server.seen) == 1  # not asked again and again for what is filtered
    assert (reply.meta["stopped"], reply.meta["finish_reason"]) == ("content_filter", "content_filter")
    assert "cut off within a tool call by the provider's content filter (content_filter)" in reply.text


def test_complete_calls_of_an_answer_cut_by_its_length_are_run(engine: Engine, endpoint: str) -> None:
    def add_one(a: int) -> int:
        """Add one."""
        return a + 1

    with serving(cut_call(endpoint, '{"a": 1}'), saying(endpoint, "It is 2.")) as server:
        reply = engine.ask("Hi", base_url=server.url, endpoint=endpoint, tools=[add_one])
    assert (reply.text, reply.meta["stopped"]) == ("It is 2.", None)


def test_success_between_failures_starts_the_count_again(engine: Engine) -> None:
    script = [one_call("add", arguments, f"c{n}") for n, arguments in enumerate(["{}", "{}", '{"a": 1}', "{}", "{}"])]
    with serving(*script, chat_stream("fine")) as server:
        reply = engine.ask("Hi", base_url=server.url, tools=[add])
    assert (reply.text, reply.meta["stopped"]) == ("fine", None)


def test_forced_choice_is_forced_once(engine: Engine, endpoint: str) -> None:
    for choice in ("required", "add"):
        with serving(calling(endpoint, "add", '{"a": 1}'), saying(endpoint, "ok")) as server:
            engine.ask("Hi", base_url=server.url, endpoint=endpoint, tools=[add], tool_choice=choice)
        assert server.seen[0].json["tool_choice"] != "auto"
        assert server.seen[1].json["tool_choice"] == "auto"


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_allowed_tools_stay_allowed_in_later_turns(engine: Engine, endpoint: str, mode: str) -> None:
    if endpoint == "chat":
        named = [{"type": "function", "function": {"name": "add"}}]
        choice: dict[str, Any] = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}
        later = {**choice, "allowed_tools": {"mode": "auto", "tools": named}}
    else:
        choice = {"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": "add"}]}
        later = {**choice, "mode": "auto"}
    with serving(calling(endpoint, "add", '{"a": 1}'), saying(endpoint, "ok")) as server:
        engine.ask("Hi", base_url=server.url, endpoint=endpoint, tools=[add], tool_choice=choice)
    assert [seen.json["tool_choice"] for seen in server.seen] == [choice, later]


def test_choice_none_is_kept(engine: Engine) -> None:
    with serving(chat_stream("ok")) as server:
        engine.ask("Hi", base_url=server.url, tools=[add], tool_choice="none")
    assert server.seen[0].json["tool_choice"] == "none"


def test_wrong_choice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no tool 'ad'; did you mean 'add'\?"):
        aquila.ask("Hi", **live({"tools": [add], "tool_choice": "ad"}))
    with pytest.raises(ConfigError, match="'tool_choice' needs tools="):
        aquila.ask("Hi", **live({"tool_choice": "auto"}))
    with pytest.raises(ConfigError, match="'parallel_tool_calls' needs tools="):
        aquila.ask("Hi", **live({"parallel_tool_calls": False}))


def test_tool_choice_is_sent_if_the_tools_are_in_provider_options(engine: Engine, endpoint: str) -> None:
    options: dict[str, Any] = {"tool_choice": "required", "parallel_tool_calls": False}
    with serving(saying(endpoint, "ok")) as server:
        given = {"tools": [{"type": "x"}]}
        engine.ask("Hi", base_url=server.url, endpoint=endpoint, provider_options=given, **options)
    assert {name: server.seen[0].json[name] for name in options} == options


def test_built_in_tools_go_to_the_endpoint_that_has_them(engine: Engine) -> None:
    with serving(responses_stream("ok"), chat_stream("ok")) as server:
        engine.ask(
            "Hi",
            base_url=server.url,
            endpoint="responses",
            tools=["web_search", "code_interpreter", {"type": "file_search", "vector_store_ids": ["vs"]}],
            tool_choice="web_search",
        )
        engine.ask("Hi", base_url=server.url, tools=[{"type": "openrouter:web_search"}])
    assert [tool["type"] for tool in server.seen[0].json["tools"]] == ["web_search", "code_interpreter", "file_search"]
    assert server.seen[0].json["tools"][1]["container"] == {"type": "auto"}
    assert server.seen[0].json["tool_choice"] == {"type": "web_search"}
    assert server.seen[1].json["tools"] == [{"type": "openrouter:web_search"}]
    with pytest.raises(ConfigError, match="'web_search' belongs to endpoint='responses'"):
        engine.ask("Hi", tools=["web_search"])


def test_calls_of_a_tool_without_a_function_are_returned_to_the_caller(engine: Engine, endpoint: str) -> None:
    approve = aquila.Tool("approve", {"type": "object", "properties": {"sum": {"type": "integer"}}})
    kept = aquila.Sink.collector()
    with serving(calling(endpoint, "approve", '{"sum": 9}'), saying(endpoint, "Paid.")) as server:
        reply = engine.ask("Pay 9", base_url=server.url, endpoint=endpoint, tools=[approve], sink=kept)
        assert (reply.meta["finish_reason"], reply.meta["turns"]) == ("tool_calls", 1)
        assert [(call.name, call.arguments) for call in reply.tool_calls] == [("approve", {"sum": 9})]
        assert [event for event in kept.events if isinstance(event, ToolCall)] == list(reply.tool_calls)
        answer = aquila.Message("tool", "approved", call_id=reply.tool_calls[0].id)
        assert engine.ask([*reply.messages, answer], base_url=server.url, endpoint=endpoint).text == "Paid."
    assert results_sent(server.seen[1]) == ["approved"]
