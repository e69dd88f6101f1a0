"""``websocket=True`` on cassettes: a call is one conversation, which replays without a key and a provider."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

import aquila
from aquila.cassettes.model import Interaction
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.cassettes.web_socket_frames.frame import Close, Frame, read_frames
from aquila.errors import BadRequest, CassetteMiss, RateLimited, StreamBroken, StreamTimeout
from aquila.events import Chunk
from tests.support.engines import KEY, Engine
from tests.support.limits import with_a_limit_in_time
from tests.support.provider import responses_events
from tests.support.responses_over_sockets import (
    SocketProvider,
    answering,
    called,
    error_event,
    fall_silent,
    over_socket,
    say,
    then,
)
from tests.support.runs import separate_run
from tests.support.threads import run_at_once
from tests.support.web_sockets import break_off

ONE_PIECE = responses_events("one")[:3]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """A project of its own, outside pytest's rules and outside this test's scope."""
    with separate_run(tmp_path):
        yield tmp_path / "cassettes"


def double(x: int) -> int:
    """Double a number."""
    return x * 2


def recording(provider: SocketProvider, **options: Any) -> dict[str, Any]:
    return {"transport": "record", "cassette": "x", "api_key": KEY, **over_socket(provider, **options)}


def replaying(provider: SocketProvider, **options: Any) -> dict[str, Any]:
    return {**recording(provider), "transport": "replay", "api_key": None, **options}


def recorded(folder: Path) -> tuple[Interaction, ...]:
    pending = folder / "x.pending.yaml"
    if pending.exists():  # the call failed: what it recorded lies beside, for whoever accepts it
        pending.rename(folder / "x.yaml")
    return load_cassette(folder / "x.yaml").interactions


def test_a_call_with_tools_is_one_conversation_and_replays(engine: Engine, folder: Path) -> None:
    caught = dict(vars(connect))
    answers = (called(("double", '{"x": 4}')), responses_events("all ", "done", id="resp_2"))
    with answering(*answers) as provider:
        before = engine.events("Hi", metadata={"job": 1}, tools=[double], **recording(provider))
    after = engine.events("Hi", metadata={"job": 2}, tools=[double], **replaying(provider))
    assert [type(event) for event in after] == [type(event) for event in before]
    assert [event for event in after if isinstance(event, Chunk)] == [Chunk("all "), Chunk("done")]
    old, new = before[-1].response, after[-1].response
    assert (new.text, new.usage, new.raw, new.messages) == (old.text, old.usage, old.raw, old.messages)
    assert (old.meta["transport"], new.meta["transport"]) == ("record", "replay")
    (conversation,) = recorded(folder)
    frames = list(read_frames(conversation.response.chunks))
    assert [frame.sent for frame in frames if isinstance(frame, Frame)].count(True) == 2
    assert isinstance(frames[-1], Close)
    assert (frames[-1].by, frames[-1].code) == ("client", 1000)
    assert KEY.encode() not in (folder / "x.yaml").read_bytes()
    assert dict(vars(connect)) == caught


def test_a_changed_prompt_is_a_miss(engine: Engine) -> None:
    with answering(responses_events("ok")) as provider:
        engine.ask("Hi", **recording(provider))
    for changed in ({"instructions": "Be brief."}, {"temperature": 1}, {"model": "other"}):
        with pytest.raises(CassetteMiss, match=next(iter(changed))):
            engine.ask("Hi", **replaying(provider, **changed))


def test_a_changed_result_of_a_tool_is_a_miss(engine: Engine) -> None:
    def triple(x: int) -> int:
        return x * 3

    with answering(called(("double", '{"x": 4}')), responses_events("ok", id="resp_2")) as provider:
        engine.ask("Hi", tools=[double], **recording(provider))
    changed = aquila.Tool("double", aquila.tool(double).parameters, triple, description="Double a number.")
    with pytest.raises(CassetteMiss, match=r"input\[0\]\.output: recorded '8', now '12'"):
        engine.ask("Hi", tools=[changed], **replaying(provider))


def test_a_recording_of_the_sync_engine_replays_in_the_async_one() -> None:
    with answering(called(("double", '{"x": 4}')), responses_events("ok", id="resp_2")) as provider:
        aquila.ask("Hi", tools=[double], **recording(provider))
    assert asyncio.run(aquila.aask("Hi", tools=[double], **replaying(provider))).text == "ok"


def test_a_conversation_that_was_sent_again_replays(engine: Engine, folder: Path) -> None:
    lost = error_event(400, "previous_response_not_found")
    with answering(called(("double", '{"x": 4}')), lost, responses_events("ok", id="resp_2")) as provider:
        engine.ask("Hi", tools=[double], **recording(provider))
    assert len(recorded(folder)) == 2
    reply = engine.ask("Hi", tools=[double], **replaying(provider))
    assert (reply.text, reply.meta["retries"]) == ("ok", 1)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (then(ONE_PIECE, break_off), StreamBroken),
        (error_event(400, "bad"), BadRequest),
        (error_event(429, "slow_down"), RateLimited),
    ],
)
def test_recorded_failures_are_replayed(engine: Engine, folder: Path, answer: Any, kind: type[Exception]) -> None:
    with answering(answer) as provider, pytest.raises(kind) as before:
        engine.ask("Hi", max_retries=0, **recording(provider))
    assert len(recorded(folder)) == 1
    with pytest.raises(kind) as after:
        engine.ask("Hi", max_retries=0, **replaying(provider))
    assert str(after.value).partition("(")[0] == str(before.value).partition("(")[0]


def test_a_refused_handshake_is_refused_again(engine: Engine, folder: Path) -> None:
    with answering() as provider:
        provider.server.refuse = lambda connection, request: connection.respond(
            403, '{"error": {"message": "not you"}}'
        )
        with pytest.raises(aquila.errors.AuthenticationError, match="not you"):
            engine.ask("Hi", **recording(provider))
    assert recorded(folder)[0].response.status == 403
    with pytest.raises(aquila.errors.AuthenticationError, match="not you"):
        engine.ask("Hi", **replaying(provider))


def test_a_silence_that_exceeded_its_limit_does_so_again_on_replay(engine: Engine, folder: Path) -> None:
    def scenario(limit: float) -> None:
        for path in folder.glob("*"):
            path.unlink()
        with answering(then(ONE_PIECE, fall_silent)) as provider, pytest.raises(StreamTimeout, match="nothing arrived"):
            engine.ask("Hi", timeout=limit, **recording(provider))
        assert [row.response.end for row in recorded(folder)] == ["silent"]
        with pytest.raises(StreamTimeout, match="nothing arrived"):
            engine.ask("Hi", timeout=limit, **replaying(provider))

    with_a_limit_in_time(scenario, 0.1)


def test_a_stream_that_is_left_early_is_recorded_as_left(folder: Path) -> None:
    with answering(then(ONE_PIECE, fall_silent)) as provider, aquila.stream("Hi", **recording(provider)) as stream:
        assert next(event for event in stream if isinstance(event, Chunk)) == Chunk("one")
    assert [row.response.end for row in recorded(folder)] == ["closed"]
    with aquila.stream("Hi", **replaying(provider)) as stream:
        assert next(event for event in stream if isinstance(event, Chunk)) == Chunk("one")


def test_an_asynchronous_stream_that_is_left_early_is_recorded_as_left(folder: Path) -> None:
    async def leave(options: dict[str, Any]) -> None:
        async with aquila.astream("Hi", **options) as stream:
            async for event in stream:
                if isinstance(event, Chunk):
                    break

    with answering(then(ONE_PIECE, fall_silent)) as provider:
        asyncio.run(leave(recording(provider)))
    assert [row.response.end for row in recorded(folder)] == ["closed"]
    asyncio.run(leave(replaying(provider)))


def test_calls_within_a_block_use_the_cassette_of_the_block(engine: Engine) -> None:
    with answering(responses_events("one"), responses_events("two")) as provider:
        options = {**recording(provider), "cassette": None, "transport": None}
        with aquila.use_cassette("x", transport="record"):
            engine.ask("Hi", **options)
            engine.ask("Ho", **options)
    with aquila.use_cassette("x", transport="replay") as used:
        assert engine.ask("Hi", **options).text == "one"
        assert engine.ask("Ho", **options).text == "two"
        assert used.all_played


def test_calls_in_threads_replay() -> None:
    """Of equal ones the n-th connection gets the n-th conversation, of others each its own."""

    def ask_in_threads(prompts: list[str], options: dict[str, Any]) -> list[tuple[str, str]]:
        replies: list[tuple[str, str]] = []
        together = threading.Barrier(len(prompts))

        def ask(prompt: str) -> None:
            together.wait(60)
            replies.append((prompt, aquila.ask(prompt, **options).text))

        run_at_once(partial(ask, prompt) for prompt in prompts)
        return sorted(replies)

    prompts = ["a", "b", "b", "c", "d"]

    def answer(connection: Any) -> None:
        said = provider.asked[-1]["input"][0]["content"]
        say(connection, responses_events(said.upper()))

    with answering(*[answer] * 5) as provider, aquila.use_cassette("around", transport="record"):
        for prompt in prompts:
            aquila.ask(prompt, **recording(provider))
    expected = [(prompt, prompt.upper()) for prompt in prompts]
    for order in (prompts, prompts[::-1]):
        with aquila.use_cassette("x", transport="replay") as used:
            assert ask_in_threads(order, {**replaying(provider), "cassette": None, "transport": None}) == expected
            assert used.all_played
