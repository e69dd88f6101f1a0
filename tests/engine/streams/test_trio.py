"""Asynchronous calls under trio: asking and iterating are not tied to asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import httpx2
import pytest
import trio
import trio.testing

import aquila
from aquila.errors import ConfigError, StreamClosed, StreamError
from tests.support.provider import chat_stream, one_call
from tests.support.runs import name_upstream
from tests.support.upstream import Answer, Upstream, upstream

# The generators inside the openai SDK and httpx2 are left to the garbage collector, which trio reports.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

HEADERS = {"content-type": "text/event-stream"}


def answering() -> httpx2.MockTransport:
    return httpx2.MockTransport(lambda request: httpx2.Response(200, headers=HEADERS, content=chat_stream("a", "b")))


def test_ask_and_stream_work_under_trio() -> None:
    async def scenario() -> None:
        collector = aquila.Sink.collector()
        assert (await aquila.aask("Hi", transport=answering(), sink=collector)).text == "ab"
        assert collector.text == "ab"
        async with aquila.astream("Hi", transport=answering()) as stream:
            assert [event.text async for event in stream if isinstance(event, aquila.Chunk)] == ["a", "b"]
        assert stream.response.text == "ab"
        assert (await aquila.astream("Hi", transport=answering()).result()).text == "ab"

    trio.run(scenario)


def test_a_tool_whose_own_task_was_cancelled_fails_under_trio_too() -> None:
    def wait_for_cancelled() -> None:
        async def give_up() -> None:
            raise asyncio.CancelledError

        asyncio.run(give_up())

    answers = iter([one_call("wait_for_cancelled", "{}"), chat_stream("ok")])
    provider = httpx2.MockTransport(lambda request: httpx2.Response(200, headers=HEADERS, content=next(answers)))

    async def scenario() -> None:
        response = await aquila.aask("Hi", tools=[wait_for_cancelled], transport=provider)
        assert "the tool was cancelled" in response.messages[-2].text
        assert response.text == "ok"

    trio.run(scenario)


def test_sinks_and_time_limits_are_refused_under_trio() -> None:
    async def scenario() -> None:
        with pytest.raises(ConfigError, match="need asyncio"):
            aquila.astream("Hi", transport=answering(), sink=aquila.Sink.ignore())
        stream = aquila.astream("Hi", transport=answering())
        with pytest.raises(ConfigError, match="need asyncio; iterate it"):
            await stream.result(timeout=60)
        assert [event.text async for event in stream if isinstance(event, aquila.Chunk)] == ["a", "b"]

    trio.run(scenario)


@pytest.fixture
def slow() -> Iterator[Upstream]:
    """A server that sends one word, and holds back the rest until the test is over."""
    over = threading.Event()
    whole = chat_stream("a", "b")
    first = whole.index(b"\n\n", whole.index(b'"a"')) + 2

    def script(path: str, body: bytes) -> Answer:
        return Answer(
            headers=HEADERS,
            chunks=(whole[:first], whole[first:]),
            before_chunk=lambda number: over.wait() if number else None,
        )

    with upstream(script) as running:
        yield running
        over.set()


async def read(stream: aquila.AsyncStream, came: trio.Event) -> None:
    async for event in stream:
        if isinstance(event, aquila.Chunk):
            came.set()


@pytest.mark.parametrize("moment", ["at once", "while it waits"])
def test_a_stream_is_closed_from_another_task(slow: Upstream, moment: str) -> None:
    async def read_until_closed(stream: aquila.AsyncStream, came: trio.Event, ended: trio.Event) -> None:
        with pytest.raises(StreamClosed):
            await read(stream, came)
        ended.set()

    async def scenario() -> None:
        stream = aquila.astream("Hi", transport=slow.transport())
        came, ended = trio.Event(), trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_until_closed, stream, came, ended)
            await came.wait()
            if moment == "while it waits":
                await trio.testing.wait_all_tasks_blocked()
            await stream.aclose()
            assert not stream._is_being_read
            await ended.wait()
        await stream.aclose()

    trio.run(scenario)


def test_closing_a_stream_ends_its_call_although_an_event_has_just_arrived() -> None:
    async def scenario() -> None:
        arrived = trio.Event()

        async def events() -> AsyncGenerator[aquila.Event, None]:
            await arrived.wait()
            yield aquila.Chunk("a")

        async def read_until_closed() -> None:
            with pytest.raises(StreamClosed):
                await read(stream, trio.Event())

        stream = aquila.astream("Hi")
        driven = stream._events = events()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_until_closed)
            await trio.testing.wait_all_tasks_blocked()
            arrived.set()
            await stream.aclose()
            assert driven.ag_frame is None

    trio.run(scenario)


def test_a_task_that_is_cancelled_while_it_reads_ends(slow: Upstream) -> None:
    async def scenario() -> None:
        stream = aquila.astream("Hi", transport=slow.transport())
        came = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, stream, came)
            await came.wait()
            nursery.cancel_scope.cancel()
        with pytest.raises(StreamError, match="closed before its end"):
            _ = stream.response

    trio.run(scenario)


def test_a_cancelled_ask_ends(slow: Upstream) -> None:
    async def scenario() -> None:
        asked = trio.Event()

        async def ask() -> None:
            await aquila.aask("Hi", transport=slow.transport(), sink=aquila.Sink.callback(lambda event: asked.set()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await asked.wait()
            nursery.cancel_scope.cancel()

    trio.run(scenario)


@pytest.mark.parametrize("ending", ["close", "cancel"])
def test_a_stream_that_is_closed_or_cancelled_while_recording_is_stored(
    slow: Upstream, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQUILA_CASSETTE_DIR", str(tmp_path))
    name_upstream("slow", slow.transport())

    async def scenario() -> None:
        stream = aquila.astream("Hi")
        came = trio.Event()

        async def read_to_its_end() -> None:
            try:
                await read(stream, came)
            except StreamClosed:
                assert ending == "close"

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_to_its_end)
            await came.wait()
            if ending == "close":
                await stream.aclose()
            else:
                nursery.cancel_scope.cancel()

    with aquila.use_cassette("early", transport="record", upstream="slow"):
        trio.run(scenario)
    assert (tmp_path / "early.yaml").exists()
    assert len(slow.requests) == 1


def test_leaving_the_loop_and_closing_ends_the_call(slow: Upstream) -> None:
    async def scenario() -> None:
        async with aquila.astream("Hi", transport=slow.transport()) as stream:
            async for event in stream:
                if isinstance(event, aquila.Chunk):
                    break

    trio.run(scenario)
