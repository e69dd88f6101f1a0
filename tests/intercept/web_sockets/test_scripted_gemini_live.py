"""Scripts answer sessions of Gemini Live: what google-genai, where it is installed, and plain clients get of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from aquila.errors import UnscriptedRequest
from aquila.testing import use_script

pytestmark = pytest.mark.usefixtures("root")

URL = (
    "wss://generativelanguage.googleapis.com/ws/google.ai.generativelanguage.v1beta.GenerativeService"
    ".BidiGenerateContent?key=AIza-not-a-key"
)
MODEL = "models/gemini-live-2.5-flash"


class Session:
    """A session, as a plain client has it."""

    def __init__(self, connection: Any, **setup: Any) -> None:
        self._connection = connection
        self.send({"setup": {"model": MODEL, "generationConfig": {"responseModalities": ["TEXT"]}, **setup}})
        assert self.recv() == {"setupComplete": {}}

    def send(self, message: Any) -> None:
        self._connection.send(json.dumps(message))

    def recv(self) -> Any:
        message = self._connection.recv()
        assert isinstance(message, bytes)
        return json.loads(message)

    def say(self, text: str) -> list[Any]:
        turn = {"role": "user", "parts": [{"text": text}]}
        self.send({"client_content": {"turns": [turn], "turn_complete": True}})
        return self.hear()

    def hear(self) -> list[Any]:
        messages = []
        while not messages or not ("toolCall" in messages[-1] or is_complete(messages[-1])):
            messages.append(self.recv())
        return messages


def is_complete(message: Any) -> bool:
    return bool(message.get("serverContent", {}).get("turnComplete"))


def text_of(messages: list[Any]) -> str:
    turns = [message.get("serverContent", {}).get("modelTurn", {}) for message in messages]
    return "".join(part.get("text", "") for turn in turns for part in turn.get("parts", []))


def test_turns_are_answered_and_remembered() -> None:
    with use_script() as script, connect(URL) as connection:
        script.reply("Hello there!", usage=(12, 3)).reply("Again.")
        session = Session(connection, systemInstruction={"parts": [{"text": "Be brief."}]})
        first = session.say("hi")
        assert text_of(first) == "Hello there!"
        assert first[-1]["usageMetadata"] == {"promptTokenCount": 12, "responseTokenCount": 3, "totalTokenCount": 15}
        assert text_of(session.say("and?")) == "Again."
    assert script.requests[0].model == "gemini-live-2.5-flash"
    said = [(message.role, message.text) for message in script.requests[1].messages]
    assert said == [("system", "Be brief."), ("user", "hi"), ("assistant", "Hello there!"), ("user", "and?")]
    assert "AIza" not in script.requests[0].url


def test_a_tool_is_called_and_the_turn_goes_on_with_its_response() -> None:
    tool = {"functionDeclarations": [{"name": "get_weather", "parameters": {"type": "OBJECT"}}]}
    with use_script() as script, connect(URL) as connection:
        script.when(tool="get_weather", last="Weather?").tool_call("get_weather", city="Rome")
        script.reply("18 degrees.")
        session = Session(connection, tools=[tool])
        (call,) = session.say("Weather?")[-1]["toolCall"]["functionCalls"]
        assert (call["name"], call["args"]) == ("get_weather", {"city": "Rome"})
        result = {"id": call["id"], "name": "get_weather", "response": {"result": "18"}}
        session.send({"tool_response": {"function_responses": [result]}})
        assert text_of(session.hear()) == "18 degrees."
    assert [message.role for message in script.requests[1].messages] == ["user", "assistant", "tool"]


def test_speech_is_silence_with_its_transcript_where_that_was_asked_for() -> None:
    with use_script() as script, connect(URL) as connection:
        script.reply("Hello there!")
        session = Session(connection, generationConfig={"responseModalities": ["AUDIO"]}, outputAudioTranscription={})
        contents = [message["serverContent"] for message in session.say("hi")]
    assert "".join(each.get("outputTranscription", {}).get("text", "") for each in contents) == "Hello there!"
    assert "inlineData" in contents[0]["modelTurn"]["parts"][0]


def test_text_and_the_end_of_an_activity_ask_and_sound_alone_does_not() -> None:
    with use_script() as script, connect(URL) as connection:
        script.reply("Text.").reply("Sound.")
        session = Session(connection)
        session.send({"realtime_input": {"audio": {"data": "AAAA", "mime_type": "audio/pcm"}}})
        session.send({"realtimeInput": {"text": "hi"}})
        assert text_of(session.hear()) == "Text."
        session.send({"realtime_input": {"activity_end": {}}})
        assert text_of(session.hear()) == "Sound."
    assert script.requests[1].messages[-1].parts == ("audio",)


@pytest.mark.parametrize(("status", "code"), [(429, 1011), (400, 1007), (403, 1008)])
def test_an_error_closes_the_session_with_its_reason(status: int, code: int) -> None:
    with use_script() as script, connect(URL) as connection:
        script.error(status, "No more.")
        session = Session(connection)
        with pytest.raises(ConnectionClosedError) as closed:
            session.say("hi")
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, "No more.")


def test_faults_are_told_as_google_does() -> None:
    with use_script(faults="overloaded, cut_stream(after=1)") as script:
        script.reply("one two three")
        with pytest.raises(InvalidStatus) as refused:
            connect(URL)
        assert json.loads(refused.value.response.body)["error"]["status"] == "UNAVAILABLE"
        with connect(URL) as connection, pytest.raises(ConnectionClosedError):
            Session(connection).say("hi")
        with connect(URL) as connection:
            assert text_of(Session(connection).say("hi")) == "one two three"


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        (['{"client_content":{}}'], "the first message of a session is its setup"),
        (['{"setup":{}}', '{"other":{}}'], "a script does not answer other"),
        (['{"setup":{}}', '{"realtimeInput":{"text":"hi"}}'], "no answer is scripted for a message to wss://"),
    ],
)
def test_what_no_script_can_do_is_a_miss_where_it_is_sent(messages: list[str], named: str) -> None:
    with use_script(), connect(URL) as connection, pytest.raises(UnscriptedRequest, match=named):
        for message in messages:
            connection.send(message)


@pytest.mark.parametrize(
    ("finish", "named"), [("length", "MAX_TOKENS"), ("content_filter", "SAFETY"), ("refusal", "SAFETY")]
)
def test_an_end_that_the_protocol_cannot_express_is_a_miss_and_no_complete_answer(finish: Any, named: str) -> None:
    with use_script() as script, connect(URL) as connection:
        script.reply("half", finish=finish)
        session = Session(connection)
        with pytest.raises(UnscriptedRequest, match=f"Gemini Live: the scripted answer ends with {named}, which this"):
            session.say("hi")


def test_a_refusal_is_told_as_the_reason_why_a_turn_is_complete() -> None:
    with use_script() as script, connect(URL) as connection:
        script.refuse("No.")
        content = Session(connection).say("hi")[-1]["serverContent"]
    assert content == {"turnComplete": True, "turnCompleteReason": "PROHIBITED_INPUT_CONTENT"}


@given(chunks=st.lists(st.text(), min_size=1))
@settings(max_examples=25, deadline=None)
@pytest.mark.slow
def test_whatever_is_said_comes_whole(chunks: list[str]) -> None:
    with use_script() as script, connect(URL) as connection:
        script.reply(chunks=chunks)
        assert text_of(Session(connection).say("hi")) == "".join(chunks)


def test_the_sdk_of_google_understands_it() -> None:
    genai = pytest.importorskip("google.genai")

    def get_weather(city: str) -> str:
        """Tell the weather."""
        raise NotImplementedError

    async def use() -> list[str]:
        client = genai.Client(api_key="x")
        config = {"response_modalities": ["TEXT"], "tools": [get_weather]}
        told = []
        async with client.aio.live.connect(model="gemini-live-2.5-flash", config=config) as session:
            await session.send_client_content(
                turns={"role": "user", "parts": [{"text": "Weather?"}]}, turn_complete=True
            )
            text = ""
            async for message in session.receive():
                text += message.text or ""
                if message.tool_call:
                    (call,) = message.tool_call.function_calls
                    result = {"id": call.id, "name": call.name, "response": {"result": call.args["city"]}}
                    await session.send_tool_response(function_responses=[result])
            told.append(text)
            await session.send_realtime_input(text="and?")
            with pytest.raises(genai.errors.APIError) as error:
                await anext(session.receive())
            told.append(f"{error.value.code} {error.value.details}")
        return told

    with use_script() as script:
        script.tool_call("get_weather", city="Rome").reply("18 in Rome.").error(429, "No more.")
        assert asyncio.run(use()) == ["18 in Rome.", "1011 No more."]
    assert script.left == []
