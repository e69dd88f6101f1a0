"""The engine on cassettes: what happens while recording happens again on replay, without a key and a provider."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import aquila
from aquila.cassettes.model import Interaction
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import AuthenticationError, CassetteMiss, RequestTimeout, StreamBroken
from aquila.events import Chunk, Event, Retry
from aquila.recording.runtime import current_run
from tests.support.engines import KEY, Engine, cancel_while_reading
from tests.support.limits import with_a_limit_in_time
from tests.support.provider import STREAMS, chat_chunk, chat_stream, one_call, response_object
from tests.support.runs import separate_run
from tests.support.server import Answer, cut, json_answer, serving, sse

FIRST = sse(chat_chunk("first"), done=False)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project of its own, outside pytest's rules and outside this test's scope."""
    with separate_run(tmp_path):
        yield tmp_path / "cassettes"


def recording(url: str, **options: Any) -> dict[str, Any]:
    return {"transport": "record", "cassette": "x", "base_url": url, "api_key": KEY, **options}


def replaying(url: str, **options: Any) -> dict[str, Any]:
    return {"transport": "replay", "cassette": "x", "base_url": url, "api_key": None, **options}


def recorded(folder: Path) -> tuple[Interaction, ...]:
    return load_cassette(folder / "x.yaml").interactions


def test_replay_gives_the_same_events_without_a_provider_or_key(
    engine: Engine, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serving(Answer(cut(STREAMS[endpoint]("one ", "two")))) as server:
        url = server.url
        before = engine.events("Hi", **recording(url, endpoint=endpoint, metadata={"id": 1}))
    after = engine.events("Hi", **replaying(url, endpoint=endpoint, metadata={"id": 2}))
    assert [event for event in after if isinstance(event, Chunk)] == [Chunk("one "), Chunk("two")]
    assert [type(event) for event in after] == [type(event) for event in before]
    old, new = before[-1].response, after[-1].response
    assert (new.text, new.usage, new.raw) == (old.text, old.usage, old.raw)
    assert (old.meta["transport"], new.meta["transport"]) == ("record", "replay")
    assert new.meta["metadata"] == {"id": 2}


def test_changed_prompt_is_a_miss_and_not_a_retry(engine: Engine) -> None:
    with serving(chat_stream("ok")) as server:
        url = server.url
        engine.ask("Hi", **recording(url))
    for changed in ({"instructions": "Be brief."}, {"temperature": 1}, {"model": "other"}):
        with pytest.raises(CassetteMiss):
            engine.ask("Hi", **replaying(url, **changed))
    assert engine.ask("Hi", **replaying(url)).text == "ok"


def test_replay_does_not_wait_between_the_requests_for_a_background_answer(engine: Engine) -> None:
    options: dict[str, Any] = {"endpoint": "responses", "background": True}
    answers = [json_answer(response_object([], status=status)) for status in ("queued", "completed")]
    with serving(*answers) as server:
        url = server.url
        engine.ask("Hi", **recording(url, poll_interval=0.001, **options))
    limits = aquila.Timeouts(total=60)  # less than the interval
    assert engine.ask("Hi", **replaying(url, poll_interval=600, timeout=limits, **options)).text == ""


def test_tool_loop_is_recorded_turn_by_turn(engine: Engine) -> None:
    def double(x: int) -> int:
        runs.append(x)
        return x * 2

    runs: list[int] = []
    with serving(one_call("double", '{"x": 4}'), chat_stream("8")) as server:
        url = server.url
        engine.ask("Hi", **recording(url, tools=[double]))
    assert engine.ask("Hi", **replaying(url, tools=[double])).text == "8"
    assert runs == [4, 4]  # the tool is the caller's code, and runs on replay too

    def halve(x: int) -> int:
        return x // 2

    changed = aquila.Tool("double", aquila.tool(double).parameters, halve)
    with pytest.raises(CassetteMiss):
        engine.ask("Hi", **replaying(url, tools=[changed]))


def test_stream_that_is_left_early_is_recorded_as_closed(folder: Path) -> None:
    with serving(Answer([FIRST, threading.Event()])) as server:
        url = server.url
        with aquila.stream("Hi", **recording(url)) as stream:
            assert next(iter(stream)) == Chunk("first")
    assert [row.response.end for row in recorded(folder)] == ["closed"]
    with aquila.stream("Hi", **replaying(url)) as stream:
        assert next(iter(stream)) == Chunk("first")


@pytest.mark.parametrize("begin", [lambda stream: None, iter], ids=["untouched", "not advanced"])
def test_a_stream_that_is_dropped_unread_records_nothing(folder: Path, begin: Callable[[Any], Any]) -> None:
    begin(aquila.stream("Hi", **recording("http://127.0.0.1:9")))
    gc.collect()
    assert not folder.exists()
    assert not current_run().scopes.unclosed()


def test_a_stream_that_is_dropped_half_read_is_recorded_as_closed(folder: Path) -> None:
    with serving(Answer([FIRST, threading.Event()])) as server:
        next(iter(aquila.stream("Hi", **recording(server.url))))
        gc.collect()
    assert [row.response.end for row in recorded(folder)] == ["closed"]
    assert os.listdir(folder) == ["x.yaml"]


def test_cancelled_task_is_recorded_as_silent(folder: Path) -> None:
    with serving(Answer([FIRST, threading.Event()])) as server:
        asyncio.run(cancel_while_reading(**recording(server.url)))
    assert [row.response.end for row in recorded(folder)] == ["silent"]


def test_pushed_stream_that_is_closed_while_the_provider_is_silent_is_recorded_as_silent(folder: Path) -> None:
    arrived = threading.Event()

    def note(event: Event) -> None:
        arrived.set()

    with serving(Answer([FIRST, threading.Event()])) as server:
        stream = aquila.stream("Hi", **recording(server.url, sink=aquila.Sink.callback(note)))
        assert arrived.wait(60)
        stream.close()
    assert [row.response.end for row in recorded(folder)] == ["silent"]


def test_broken_stream_breaks_again_on_replay(engine: Engine, folder: Path) -> None:
    with serving(Answer([FIRST], broken=True)) as server:
        url = server.url
        with pytest.raises(StreamBroken):
            engine.ask("Hi", **recording(url))
    if not (folder / "x.yaml").exists():  # the call failed: what it recorded lies beside, for whoever accepts it
        (folder / "x.pending.yaml").rename(folder / "x.yaml")
    assert [row.response.end for row in recorded(folder)] == ["broken"]
    with pytest.raises(StreamBroken):
        engine.ask("Hi", **replaying(url))


def test_an_exceeded_total_time_is_recorded_and_exceeded_again_on_replay(engine: Engine, folder: Path) -> None:
    def scenario(limit: float) -> None:
        for path in folder.glob("*.yaml"):
            path.unlink()
        limits = aquila.Timeouts(idle=20, total=limit)
        with serving(Answer([FIRST, threading.Event()])) as server:
            url = server.url
            with pytest.raises(RequestTimeout, match="total"):
                engine.ask("Hi", **recording(url, timeout=limits))
        (folder / "x.pending.yaml").rename(folder / "x.yaml")  # the call failed
        assert [row.response.end for row in recorded(folder)] == ["silent"]
        with pytest.raises(RequestTimeout, match="total"):
            engine.ask("Hi", **replaying(url, timeout=limits))

    with_a_limit_in_time(scenario, 0.3)


@pytest.mark.parametrize("goes_on", [False, True], ids=["in a task that ends", "in a task that goes on"])
def test_a_stream_without_a_reader_that_another_task_closes_is_recorded_as_closed(folder: Path, goes_on: bool) -> None:
    async def read(stream: aquila.AsyncStream, has_left: asyncio.Event, is_closed: asyncio.Event) -> None:
        events: Any = aiter(stream)
        while not isinstance(await anext(events), Chunk):
            pass
        if goes_on:
            await events.aclose()  # as the garbage collector does
            has_left.set()
            await is_closed.wait()

    async def read_and_close(url: str) -> None:
        stream, has_left, is_closed = aquila.astream("Hi", **recording(url)), asyncio.Event(), asyncio.Event()
        reader = asyncio.create_task(read(stream, has_left, is_closed))
        await (has_left.wait() if goes_on else reader)
        await stream.aclose()
        is_closed.set()
        await reader

    with serving(Answer([FIRST, threading.Event()])) as server:
        asyncio.run(read_and_close(server.url))
    assert [row.response.end for row in recorded(folder)] == ["closed"]


def test_replayed_retries_do_not_wait(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AQUILA_RECORD_ERRORS", "all")
    refusal = json_answer({"error": {"message": "slow down"}}, 429, retry_after_ms="1")
    with separate_run(current_run().layers.root, ini={"record_errors": "all"}):
        with serving(refusal, chat_stream("ok")) as server:
            url = server.url
            engine.ask("Hi", **recording(url))
        events = engine.events("Hi", **replaying(url))
    assert [event.delay for event in events if isinstance(event, Retry)] == [0.001]
    assert events[-1].response.text == "ok"


def test_key_is_in_no_cassette(engine: Engine, folder: Path) -> None:
    echo = json_answer({"error": {"message": f"Incorrect API key: {KEY}"}}, 401)
    with serving(chat_stream("ok"), echo) as server:
        engine.ask("Hi", **recording(server.url))
        with pytest.raises(AuthenticationError):
            engine.ask("Ho", **recording(server.url))
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert files
    assert all(KEY.encode() not in data for data in files)


@pytest.mark.slow
def test_an_abandoned_async_stream_is_recorded_even_if_the_event_loop_ends_at_once(folder: Path) -> None:
    async def leave(url: str) -> None:
        async with aquila.astream("Hi", **recording(url)) as stream:
            async for _ in stream:
                break

    with serving(Answer([FIRST, sse(chat_chunk("second"))])) as server, aquila.use_cassette("around"):
        asyncio.run(leave(server.url))
        gc.collect()
    (stored,) = recorded(folder)
    assert stored.response.end == "closed"
