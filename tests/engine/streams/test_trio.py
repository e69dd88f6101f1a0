"""Asynchronous calls under trio: asking and iterating are not tied to asyncio."""

from __future__ import annotations

import httpx2
import pytest
import trio

import aquila
from aquila.errors import ConfigError
from tests.support.provider import chat_stream

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


def test_what_needs_a_task_of_its_own_is_refused_under_trio() -> None:
    async def scenario() -> None:
        with pytest.raises(ConfigError, match="need asyncio"):
            aquila.astream("Hi", transport=answering(), sink=aquila.Sink.ignore())
        with pytest.raises(ConfigError, match="need asyncio"):
            await aquila.astream("Hi", transport=answering()).result(timeout=5)

    trio.run(scenario)
