"""Scripts answer conversations of the Responses API: what the openai SDK and other clients get of them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import ResponsesServerEvent
from pydantic import TypeAdapter
from websockets.sync.client import connect

import aquila
from aquila.errors import UnscriptedRequest
from aquila.testing import use_script
from tests.support.openai_connections import Runs, of

pytestmark = [
    pytest.mark.filterwarnings("ignore:connect\\(\\) must be used as a context manager"),
    pytest.mark.usefixtures("root"),
]

URL = "wss://api.openai.com/v1/responses"
SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(ResponsesServerEvent)


@pytest.fixture(params=[False, True], ids=["in a thread", "in a loop"])
def run(request: pytest.FixtureRequest) -> Runs:
    return Runs(request.param, "responses")


async def ask(connection: Any, said: Any, **options: Any) -> list[Any]:
    await of(connection.response.create(model="gpt-4.1-mini", input=said, **options))
    return await hear(connection)


async def hear(connection: Any) -> list[Any]:
    events = []
    while not events or events[-1].type not in ("response.completed", "response.incomplete", "error"):
        event = await of(connection.recv())
        SERVER_EVENT.validate_python(event.to_dict())
        events.append(event)
    return events


def test_a_text_is_streamed(run: Runs) -> None:
    async def use(connection: Any) -> list[Any]:
        return await ask(connection, "hi")

    with use_script() as script:
        script.reply("Hello there, Ann!")
        events = run(use)
    assert [event.type for event in events][:3] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
    ]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "Hello there, Ann!"
    assert events[-1].response.output_text == "Hello there, Ann!"
    (request,) = script.requests
    assert (request.model, request.messages[0].text, request.is_streamed) == ("gpt-4.1-mini", "hi", True)


def test_a_tool_is_called_and_its_result_is_seen(run: Runs) -> None:
    tool = {"type": "function", "name": "get_weather", "parameters": {}, "strict": False}

    async def use(connection: Any) -> str:
        first = (await ask(connection, "Weather?", tools=[tool]))[-1].response
        (call,) = first.output
        assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Rome"})
        output = [{"type": "function_call_output", "call_id": call.call_id, "output": "18"}]
        second = (await ask(connection, output, previous_response_id=first.id))[-1].response
        assert second.previous_response_id == first.id
        return second.output_text

    with use_script() as script:
        script.tool_call("get_weather", city="Rome").reply("18 degrees.")
        assert run(use) == "18 degrees."
    assert script.requests[0].tools[0].name == "get_weather"
    assert (script.requests[1].messages[0].role, script.requests[1].messages[0].text) == ("tool", "18")
    assert script.left == []


def test_an_error_is_nested_as_on_this_connection_and_the_next_question_is_answered(run: Runs) -> None:
    async def use(connection: Any) -> tuple[Any, str]:
        (error,) = await ask(connection, "hi")
        return error, (await ask(connection, "hi"))[-1].response.output_text

    with use_script() as script:
        script.error(429, retry_after=2).reply("Now.")
        error, text = run(use)
    assert (error.type, error.status, error.error.code) == ("error", 429, "rate_limit_exceeded")
    assert error.error.headers["retry-after"] == "2"
    assert text == "Now."


def test_answers_are_chosen_by_content(run: Runs) -> None:
    async def use(connection: Any) -> list[str]:
        return [(await ask(connection, said))[-1].response.output_text for said in ("b", "a", "b")]

    with use_script() as script:
        script.when(last="a").reply("A")
        script.when(last="b").reply("B1").reply("B2")
        assert run(use) == ["B1", "A", "B2"]


def test_each_stream_gets_its_own_answer(run: Runs) -> None:
    async def use(connection: Any) -> dict[str, str]:
        for name in ("one", "two", "three"):
            await of(connection.response.create(model="m", input=name, stream_id=name))
        texts = dict.fromkeys(("one", "two", "three"), "")
        left = set(texts)
        while left:
            event = await of(connection.recv())
            if event.type == "response.output_text.delta":
                texts[event.stream_id] += event.delta
            elif event.type == "response.completed":
                left.discard(event.stream_id)
        return texts

    with use_script() as script:
        for name in ("one", "two", "three"):
            script.when(last=name).reply(f"This is {name} of three.")
        assert run(use) == {name: f"This is {name} of three." for name in ("one", "two", "three")}


def test_what_only_prepares_takes_no_answer(run: Runs) -> None:
    async def use(connection: Any) -> list[str]:
        first = (await ask(connection, "hi", generate=False))[-1].response
        assert first.output == []
        return [(await ask(connection, "hi", previous_response_id=first.id))[-1].response.output_text]

    with use_script() as script:
        script.reply("Hello.")
        assert run(use) == ["Hello."]


def test_a_question_without_an_answer_is_a_miss_where_it_is_sent(run: Runs) -> None:
    async def use(connection: Any) -> None:
        await ask(connection, "one")
        with pytest.raises(UnscriptedRequest, match="no answer is scripted for a message to wss://"):
            await ask(connection, "two")

    with use_script() as script:
        script.reply("1")
        run(use)
    assert [request.text for request in script.requests] == ["one", "two"]


def test_a_message_that_no_script_understands_is_named() -> None:
    with use_script() as script, connect(URL) as connection:
        script.reply("1")
        with pytest.raises(UnscriptedRequest, match=r"only answers response.create, and this is 'response.steer'"):
            connection.send('{"type":"response.steer"}')


def test_a_key_in_such_a_message_is_not_shown_wherever_the_message_is_cut() -> None:
    key = "sk-proj-aB3dE5gH7jK9mN1pQ3rS5tU7vW9xY1zA3bC5"
    with use_script() as script, connect(URL) as connection:
        script.reply("1")
        with pytest.raises(UnscriptedRequest) as told:
            connection.send(f'{{"type":"x", "text": "{"y" * 160} {key}"}}')
    assert key[:12] not in str(told.value)


def test_no_json_is_named() -> None:
    with use_script() as script, connect(URL) as connection:
        script.reply("1")
        with pytest.raises(UnscriptedRequest, match="the message is no JSON object"):
            connection.send("hello")


def test_a_reader_that_has_asked_nothing_is_told_so(root: Path) -> None:
    write_script(root)
    told = pytest.raises(UnscriptedRequest, match="has answered all its questions")
    with aquila.use_cassette("greeting", silence=0.1), connect(URL) as connection, told:
        connection.recv()


def test_two_connections_share_a_script(run: Runs) -> None:
    async def use(connection: Any) -> str:
        return str((await ask(connection, "hi"))[-1].response.output_text)

    with use_script() as script:
        script.reply("1").reply("2")
        assert [run(use), run(use)] == ["1", "2"]


def test_a_program_may_leave_in_the_midst_of_an_answer() -> None:
    with use_script() as script:
        script.reply("one two three", times=2)
        for _ in range(2):
            with connect(URL) as connection:
                connection.send('{"type":"response.create","input":"hi"}')
                assert json.loads(connection.recv())["type"] == "response.created"
    assert script.left == []


@given(chunks=st.lists(st.text(), min_size=1), calls=st.lists(st.text(alphabet="abc", min_size=1), max_size=2))
@settings(max_examples=25, deadline=None)
@pytest.mark.slow
def test_whatever_is_said_comes_whole(chunks: list[str], calls: list[str]) -> None:
    async def use(connection: Any) -> Any:
        return await ask(connection, "hi")

    with use_script() as script:
        script.reply(chunks=chunks, tool_calls=[(name, {"n": at}) for at, name in enumerate(calls)])
        events = Runs(False, "responses")(use)
    text = "".join(chunks)
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == text
    response = events[-1].response
    assert response.output_text == text
    called = [(item.name, json.loads(item.arguments)) for item in response.output if item.type == "function_call"]
    assert called == [(name, {"n": at}) for at, name in enumerate(calls)]


def write_script(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    (root / "greeting.script.yaml").write_text("script:\n- reply: Hello.\n", encoding="utf-8")


def test_a_script_in_a_file_answers(root: Path, run: Runs) -> None:
    async def use(connection: Any) -> str:
        return str((await ask(connection, "hi"))[-1].response.output_text)

    write_script(root)
    for transport in ("replay", "live"):
        with aquila.use_cassette("greeting", transport=transport) as used:
            assert run(use) == "Hello."
        assert [session.mode for session in used._scope.sessions.opened()] == ["replay"]


def test_the_pieces_of_a_paced_answer_take_their_time() -> None:
    with use_script() as script, connect(URL) as connection:
        script.reply(chunks=["a", "b"], pace=0.05, first=0.05)
        begin = time.monotonic()
        connection.send('{"type":"response.create","input":"hi"}')
        while json.loads(connection.recv())["type"] != "response.completed":
            pass
        assert time.monotonic() - begin >= 0.1
