"""The SDK of OpenAI: conversations of the Responses API and of Realtime, in threads and in event loops."""

from __future__ import annotations

import base64
import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aquila
from aquila.errors import CassetteMiss, PlayedOut
from tests.support.alike import replayed_alike
from tests.support.openai_connections import Runs, Use, of
from tests.support.openai_web_sockets import OpenAIProvider
from tests.support.web_sockets import WebSocketProvider, break_off, web_socket_provider

pytestmark = pytest.mark.filterwarnings("ignore:connect\\(\\) must be used as a context manager")


@pytest.fixture(params=["in a thread", "in a loop"])
def in_loop(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "in a loop")


@pytest.fixture
def provider() -> Iterator[WebSocketProvider]:
    with web_socket_provider("api.openai.com", speak=OpenAIProvider().speak) as running:
        yield running


def in_both(run: Runs, use: Use, provider: WebSocketProvider) -> Any:
    """Return what a program gets when it is recorded. A replay must give the same, without the provider."""
    got = replayed_alike(lambda: run(use))
    assert len(provider.paths) == 1
    return got


async def until(connection: Any, kind: str) -> list[Any]:
    """The events up to one of a kind."""
    events = []
    while not events or events[-1].type not in (kind, "error"):
        events.append(await of(connection.recv()))
    return events


async def ask(connection: Any, said: Any, **options: Any) -> Any:
    await of(connection.response.create(model="m", input=said, **options))
    return (await until(connection, "response.completed"))[-1].response


async def ask_weather(connection: Any) -> list[str]:
    first = await ask(
        connection, "weather", tools=[{"type": "function", "name": "look", "parameters": {}, "strict": True}]
    )
    (call,) = first.output
    assert call.name == "look"
    output = [{"type": "function_call_output", "call_id": call.call_id, "output": "blue"}]
    second = await ask(connection, output, previous_response_id=first.id)
    return [first.id, call.call_id, second.id, second.output_text]


def test_a_responses_conversation_with_a_tool_is_replayed(
    in_loop: bool, provider: WebSocketProvider, root: Path
) -> None:
    run = Runs(in_loop, "responses")
    assert in_both(run, ask_weather, provider)[-1] == "it is blue"
    assert provider.paths == ["/v1/responses"]
    assert "sk-proj" not in (root / "x.yaml").read_text(encoding="utf-8")


def test_an_error_of_the_provider_is_replayed(in_loop: bool, provider: WebSocketProvider, root: Path) -> None:
    async def use(connection: Any) -> tuple[str, str]:
        await of(connection.response.create(model="m", input="hi", previous_response_id="resp_unknown"))
        (event,) = await until(connection, "error")
        return event.error.code, (await ask(connection, "still here")).output_text

    run = Runs(in_loop, "responses")
    assert in_both(run, use, provider) == ("previous_response_not_found", "STILL HERE")


def test_a_changed_tool_result_is_a_miss_with_its_path(in_loop: bool, provider: WebSocketProvider, root: Path) -> None:
    run = Runs(in_loop, "responses")
    with aquila.use_cassette("x", transport="record"):
        run(ask_weather)

    async def use(connection: Any) -> None:
        first = await ask(
            connection, "weather", tools=[{"type": "function", "name": "look", "parameters": {}, "strict": True}]
        )
        output = [{"type": "function_call_output", "call_id": first.output[0].call_id, "output": "grey"}]
        await ask(connection, output, previous_response_id=first.id)

    with aquila.use_cassette("x"), pytest.raises(CassetteMiss, match="output") as caught:
        run(use)
    assert "recorded 'blue', now 'grey'" in str(caught.value)


def test_another_question_than_was_asked_is_played_out(in_loop: bool, provider: WebSocketProvider, root: Path) -> None:
    run = Runs(in_loop, "responses")
    with aquila.use_cassette("x", transport="record"):
        run(lambda connection: ask(connection, "one"))

    async def use(connection: Any) -> None:
        await ask(connection, "one")
        await ask(connection, "two")

    with aquila.use_cassette("x"), pytest.raises(PlayedOut):
        run(use)


def test_two_responses_in_flight_keep_their_lanes(in_loop: bool, provider: WebSocketProvider, root: Path) -> None:
    async def use(connection: Any) -> dict[str, str]:
        for lane in ("a", "b"):
            await of(
                connection.send({"type": "response.create", "model": "m", "input": f"lane {lane}", "stream_id": lane})
            )
        texts: dict[str, str] = {}
        while len(texts) < 2:
            event = await of(connection.recv())
            if event.type == "response.completed":
                texts[event.stream_id] = event.response.output_text
        return texts

    run = Runs(in_loop, "responses")
    assert in_both(run, use, provider) == {"a": "LANE A", "b": "LANE B"}


def test_a_realtime_conversation_of_texts_is_replayed_with_the_ids_of_its_client(
    in_loop: bool, provider: WebSocketProvider, root: Path
) -> None:
    async def use(connection: Any) -> tuple[bool, str]:
        await until(connection, "session.created")
        await of(connection.session.update(session={"type": "realtime", "output_modalities": ["text"]}))
        await until(connection, "session.updated")
        mine = f"item_{uuid.uuid4().hex[:20]}"  # another one in every run
        content = [{"type": "input_text", "text": "good morning"}]
        item = {"id": mine, "type": "message", "role": "user", "content": content}
        await of(connection.conversation.item.create(item=item, event_id=f"event_{uuid.uuid4().hex}"))
        added = (await until(connection, "conversation.item.added"))[-1]
        await of(connection.response.create())
        events = await until(connection, "response.done")
        deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
        return added.item.id == mine, "".join(deltas)

    run = Runs(in_loop, "realtime", model="m")
    assert in_both(run, use, provider) == (True, "GOOD MORNING ")


def test_audio_is_one_sound_however_it_was_cut(in_loop: bool, provider: WebSocketProvider, root: Path) -> None:
    sound = random.Random(1).randbytes(6000)
    cuts = random.Random(2)

    async def use(connection: Any) -> bytes:
        await until(connection, "session.created")
        at = 0
        while at < len(sound):
            size = cuts.choice([300, 480, 960])  # another one each time
            await of(connection.input_audio_buffer.append(audio=base64.b64encode(sound[at : at + size]).decode()))
            at += size
        await of(connection.input_audio_buffer.commit())
        await until(connection, "input_audio_buffer.committed")
        await of(connection.response.create())
        events = await until(connection, "response.done")
        deltas = [event.delta for event in events if event.type == "response.output_audio.delta"]
        return b"".join(map(base64.b64decode, deltas))

    run = Runs(in_loop, "realtime", model="m")
    assert in_both(run, use, provider) == sound[::-1]
    said = [path.read_bytes()[44:] for path in (root / "@bodies").glob("*.wav")]  # behind the header
    assert sorted(said) == sorted([sound, sound[::-1]])


def test_another_sound_is_a_miss(in_loop: bool, provider: WebSocketProvider, root: Path) -> None:
    async def say(connection: Any, sound: bytes) -> None:
        await until(connection, "session.created")
        await of(connection.input_audio_buffer.append(audio=base64.b64encode(sound).decode()))

    run = Runs(in_loop, "realtime", model="m")
    with aquila.use_cassette("x", transport="record"):
        run(lambda connection: say(connection, b"\1" * 600))
    with aquila.use_cassette("x"), pytest.raises(CassetteMiss):
        run(lambda connection: say(connection, b"\2" * 600))


def test_an_abnormal_close_is_the_error_that_it_was(in_loop: bool, provider: WebSocketProvider, root: Path) -> None:
    def speak(connection: Any) -> None:
        connection.recv(60)
        break_off(connection)

    provider.speak = speak

    async def use(connection: Any) -> str:
        await of(connection.response.create(model="m", input="hi"))
        with pytest.raises(Exception, match="close") as caught:
            await of(connection.recv())
        return caught.type.__name__

    in_both(Runs(in_loop, "responses"), use, provider)


def test_a_refused_handshake_is_the_error_that_it_was(in_loop: bool, provider: WebSocketProvider, root: Path) -> None:
    provider.refuse = lambda connection, request: connection.respond(401, '{"error":{"message":"no such key"}}')
    run = Runs(in_loop, "realtime", model="m")

    async def never(connection: Any) -> None:
        raise AssertionError("it was refused")

    def fail() -> tuple[str, int]:
        with pytest.raises(Exception, match="401") as caught:
            run(never)
        error: Any = caught.value
        return caught.type.__name__, error.response.status_code

    replayed_alike(fail)
    assert len(provider.paths) == 1
