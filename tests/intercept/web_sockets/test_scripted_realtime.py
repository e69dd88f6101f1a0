"""Scripts answer sessions of OpenAI's Realtime: what the openai SDK and other clients get of them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.sync.client import connect

from aquila.errors import UnscriptedRequest
from aquila.testing import use_script
from tests.support.openai_connections import Runs, of

pytestmark = [
    pytest.mark.filterwarnings("ignore:connect\\(\\) must be used as a context manager"),
    pytest.mark.usefixtures("root"),
]

URL = "wss://api.openai.com/v1/realtime?model=gpt-realtime"
SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
TOOL = {"type": "function", "name": "get_weather", "description": "The weather.", "parameters": {"type": "object"}}


@pytest.fixture(params=[False, True], ids=["in a thread", "in a loop"])
def run(request: pytest.FixtureRequest) -> Runs:
    return Runs(request.param, "realtime", model="gpt-realtime")


async def hear(session: Any, kind: str = "response.done") -> list[Any]:
    """The events up to one of a kind. Each is as its type demands."""
    events: list[Any] = []
    while not events or events[-1].type not in (kind, "error"):
        event = await of(session.recv())
        SERVER_EVENT.validate_python(event.to_dict())
        events.append(event)
    return events


async def begin(session: Any, **options: Any) -> None:
    """Take the greeting, and ask for text."""
    assert (await hear(session, "session.created"))[0].session.model == "gpt-realtime"
    await of(session.session.update(session={"type": "realtime", "output_modalities": ["text"], **options}))
    (updated,) = await hear(session, "session.updated")
    assert updated.session.output_modalities == ["text"]


async def say(session: Any, text: str) -> list[Any]:
    content = [{"type": "input_text", "text": text}]
    await of(session.conversation.item.create(item={"type": "message", "role": "user", "content": content}))
    return await hear(session, "conversation.item.done")


async def ask(session: Any, text: str, **response: Any) -> list[Any]:
    await say(session, text)
    await of(session.response.create(response=response) if response else session.response.create())
    return await hear(session)


def text_of(events: list[Any], kind: str = "output_text") -> str:
    return "".join(event.delta for event in events if event.type == f"response.{kind}.delta")


def test_a_text_is_answered_as_text(run: Runs) -> None:
    async def use(session: Any) -> list[Any]:
        await begin(session, instructions="Be brief.")
        return await ask(session, "hi")

    with use_script() as script:
        script.reply("Hello there!", usage=(12, 3))
        events = run(use)
    assert [event.type for event in events] == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    assert text_of(events) == "Hello there!"
    done = events[-1].response
    assert (done.status, done.output[0].content[0].text) == ("completed", "Hello there!")
    assert (done.usage.input_tokens, done.usage.output_tokens) == (12, 3)
    (request,) = script.requests
    assert (request.model, request.form) == ("gpt-realtime", "OpenAI Realtime")
    assert [(message.role, message.text) for message in request.messages] == [("system", "Be brief."), ("user", "hi")]


def test_speech_comes_as_its_transcript_with_silence_as_sound(run: Runs) -> None:
    async def use(session: Any) -> list[Any]:
        await hear(session, "session.created")
        return await ask(session, "hi")

    with use_script() as script:
        script.reply("Hello there!")
        events = run(use)
    assert text_of(events, "output_audio_transcript") == "Hello there!"
    sound = b"".join(base64.b64decode(each.delta) for each in events if each.type == "response.output_audio.delta")
    assert sound
    assert not any(sound)
    assert events[-1].response.output[0].content[0].transcript == "Hello there!"


def test_a_tool_is_called_and_what_was_said_is_remembered(run: Runs) -> None:
    async def use(session: Any) -> str:
        await begin(session, tools=[TOOL])
        first = await ask(session, "Weather?")
        (call,) = first[-1].response.output
        (done,) = [event for event in first if event.type == "response.function_call_arguments.done"]
        assert (call.name, done.name, json.loads(done.arguments)) == ("get_weather", "get_weather", {"city": "Rome"})
        assert "".join(each.delta for each in first if each.type.endswith("arguments.delta")) == done.arguments
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "18"}
        await of(session.conversation.item.create(item=output))
        await hear(session, "conversation.item.done")
        await of(session.response.create())
        return text_of(await hear(session))

    with use_script() as script:
        script.tool_call("get_weather", city="Rome").reply("18 degrees.")
        assert run(use) == "18 degrees."
    assert script.requests[0].tools[0].name == "get_weather"
    user, assistant, result = script.requests[1].messages
    assert (user.text, assistant.tool_calls[0].name, result.role, result.text) == (
        "Weather?",
        "get_weather",
        "tool",
        "18",
    )


def test_an_answer_outside_of_the_conversation_leaves_nothing_in_it(run: Runs) -> None:
    async def use(session: Any) -> list[str]:
        await begin(session)
        aside = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "aside"}]}]
        await of(session.response.create(response={"conversation": "none", "input": aside, "metadata": {"topic": "a"}}))
        events = await hear(session)
        assert events[-1].response.metadata == {"topic": "a"}
        assert not any(event.type.startswith("conversation.") for event in events)
        return [text_of(events), text_of(await ask(session, "hi"))]

    with use_script() as script:
        script.when("aside").reply("Aside.")
        script.reply("Hello.")
        assert run(use) == ["Aside.", "Hello."]
    assert [message.text for message in script.requests[1].messages] == ["hi"]


def test_what_is_heard_is_an_item_without_a_transcript(run: Runs) -> None:
    async def use(session: Any) -> list[str]:
        await begin(session)
        await of(session.input_audio_buffer.commit())
        (error,) = await hear(session, "error")
        await of(session.input_audio_buffer.append(audio=base64.b64encode(b"\1\2" * 50).decode()))
        await of(session.input_audio_buffer.clear())
        await hear(session, "input_audio_buffer.cleared")
        await of(session.input_audio_buffer.append(audio=base64.b64encode(b"\1\2" * 50).decode()))
        await of(session.input_audio_buffer.commit())
        committed = (await hear(session, "input_audio_buffer.committed"))[0]
        item = (await hear(session, "conversation.item.done"))[-1].item
        assert item.id == committed.item_id
        await of(session.response.create())
        return [error.error.code, text_of(await hear(session))]

    with use_script() as script:
        script.reply("I heard you.")
        assert run(use) == ["input_audio_buffer_commit_empty", "I heard you."]
    assert script.requests[0].messages[0].parts == ("audio",)


def test_a_failure_is_a_response_that_failed_and_a_mistake_is_an_error(run: Runs) -> None:
    async def use(session: Any) -> tuple[Any, Any, str]:
        await begin(session)
        failed = (await ask(session, "a"))[-1].response
        error = (await ask(session, "b"))[-1].error
        return failed, error, text_of(await ask(session, "c"))

    with use_script() as script:
        script.error(429).error(400, "No.").reply("Yes.")
        failed, error, text = run(use)
    assert (failed.status, failed.status_details.error.code) == ("failed", "rate_limit_exceeded")
    assert (error.type, error.message, text) == ("invalid_request_error", "No.", "Yes.")


def test_an_answer_is_cancelled_while_it_is_told() -> None:
    with use_script() as script, connect(URL) as connection:
        script.reply(chunks=["word "] * 100, pace=0.2).reply("Again.")
        assert json.loads(connection.recv())["type"] == "session.created"
        connection.send('{"type":"session.update","session":{"output_modalities":["text"]}}')
        connection.send('{"type":"response.create"}')
        while json.loads(connection.recv())["type"] != "response.output_text.delta":
            pass
        connection.send('{"type":"response.cancel"}')
        while (event := json.loads(connection.recv()))["type"] == "response.output_text.delta":
            pass
        done = event["response"]
        assert (done["status"], done["output"]) == ("cancelled", [])
        assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        connection.send('{"type":"response.cancel","event_id":"mine"}')
        error = json.loads(connection.recv())["error"]
        assert (error["code"], error["event_id"]) == ("response_cancel_not_active", "mine")
        connection.send('{"type":"response.create"}')
        kinds = []
        while not kinds or kinds[-1] != "response.done":
            kinds.append(json.loads(connection.recv())["type"])
    assert script.requests[1].messages == ()


@pytest.mark.parametrize("fault", ["garbage(at=7)", "truncated_json(at=7)"])
def test_an_answer_with_a_fault_is_cancelled(fault: str) -> None:
    with use_script(faults=fault) as script, connect(URL) as connection:
        script.reply(chunks=["word "] * 10, pace=0.2)
        connection.send('{"type":"session.update","session":{"output_modalities":["text"]}}')
        connection.send('{"type":"response.create"}')
        connection.send('{"type":"response.cancel"}')
        events = []
        while not events or events[-1]["type"] != "response.done":
            events.append(json.loads(connection.recv()))
    assert events[-1]["response"]["status"] == "cancelled"


def test_items_are_placed_deleted_and_retrieved(run: Runs) -> None:
    async def use(session: Any) -> None:
        await begin(session)
        first = (await say(session, "second"))[-1].item
        content = [{"type": "input_text", "text": "first"}]
        item = {"type": "message", "role": "user", "content": content, "id": "mine"}
        await of(session.conversation.item.create(item=item, previous_item_id="root"))
        assert (await hear(session, "conversation.item.done"))[-1].previous_item_id is None
        await of(session.conversation.item.retrieve(item_id="mine"))
        assert (await hear(session, "conversation.item.retrieved"))[-1].item.content[0].text == "first"
        await of(session.response.create())
        await hear(session)
        await of(session.conversation.item.delete(item_id=first.id))
        await hear(session, "conversation.item.deleted")
        await of(session.response.create())
        await hear(session)

    with use_script() as script:
        script.reply("1").reply("2")
        run(use)
    assert [message.text for message in script.requests[0].messages] == ["first", "second"]
    assert [message.text for message in script.requests[1].messages] == ["first", "1"]


def test_what_was_spoken_is_forgotten_when_it_is_truncated(run: Runs) -> None:
    async def use(session: Any) -> Any:
        await hear(session, "session.created")
        spoken = (await ask(session, "hi"))[-1].response.output[0]
        await of(session.conversation.item.truncate(item_id=spoken.id, content_index=0, audio_end_ms=5))
        assert (await hear(session, "conversation.item.truncated"))[-1].audio_end_ms == 5
        written = (await ask(session, "and?", output_modalities=["text"]))[-1].response.output[0]
        await of(session.conversation.item.truncate(item_id=written.id, content_index=0, audio_end_ms=5))
        error = (await hear(session, "error"))[-1].error
        await ask(session, "well?")
        return error

    with use_script() as script:
        script.reply("Spoken.").reply("Written.").reply("Well.")
        error = run(use)
    assert (error.code, error.message) == (
        "unsupported_content_type",
        "Only model output audio messages can be truncated",
    )
    said = [(message.role, message.text) for message in script.requests[2].messages]
    assert said == [("user", "hi"), ("assistant", ""), ("user", "and?"), ("assistant", "Written."), ("user", "well?")]


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ('{"type":"session.update","session":{"type":"transcription"}}', "cannot transcribe sound"),
        ('{"type":"output_audio_buffer.clear"}', "a script does not answer 'output_audio_buffer.clear'"),
        ('{"type":"conversation.item.delete","item_id":"x"}', "has no item 'x'"),
        ('{"type":"response.create"}', "no answer is scripted for a message to wss://api.openai.com/v1/realtime"),
    ],
)
def test_what_no_script_can_do_is_a_miss_where_it_is_sent(message: str, named: str) -> None:
    with use_script(), connect(URL) as connection, pytest.raises(UnscriptedRequest, match=named):
        connection.send(message)


@given(
    chunks=st.lists(st.text(), min_size=1),
    calls=st.lists(st.text(alphabet="abc", min_size=1), max_size=2),
    speaks=st.booleans(),
)
@settings(max_examples=25, deadline=None)
@pytest.mark.slow
def test_whatever_is_said_comes_whole(chunks: list[str], calls: list[str], speaks: bool) -> None:
    async def use(session: Any) -> list[Any]:
        await hear(session, "session.created")
        return await ask(session, "hi", output_modalities=["audio" if speaks else "text"])

    with use_script() as script:
        script.reply(chunks=chunks, tool_calls=[(name, {"n": at}) for at, name in enumerate(calls)])
        events = Runs(False, "realtime", model="gpt-realtime")(use)
    text = "".join(chunks)
    assert text_of(events, "output_audio_transcript" if speaks else "output_text") == text
    output = events[-1].response.output
    said = [
        part.transcript if speaks else part.text for item in output if item.type == "message" for part in item.content
    ]
    assert "".join(said) == text
    called = [(item.name, json.loads(item.arguments)) for item in output if item.type == "function_call"]
    assert called == [(name, {"n": at}) for at, name in enumerate(calls)]
