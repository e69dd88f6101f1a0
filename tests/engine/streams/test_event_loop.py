"""Asynchronous calls never block the event loop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx

import aquila
from tests.support.engines import live
from tests.support.provider import chat_stream, one_call
from tests.support.runs import separate_run
from tests.support.server import Answer, cut, json_answer, serving


def slow_tool() -> str:
    """A tool that blocks: it must be run off the loop."""
    import time

    time.sleep(0.01)
    return "slow"


async def everything(options: dict[str, Any]) -> None:
    reply = await aquila.aask("Hi", **options)
    assert reply.text == "fine"
    async with aquila.astream("Hi", **options) as stream:
        assert [event async for event in stream]


@pytest.fixture
def _warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules are imported from disk on first use; that is not what is measured."""
    with serving(chat_stream("x")) as server:
        asyncio.run(aquila.aask("Hi", **live({"base_url": server.url})))


@pytest.mark.usefixtures("_warm")
def test_calls_with_tools_retries_and_sinks_block_nothing() -> None:
    refusal = json_answer({"error": {"message": "again"}}, 503, retry_after_ms="1")
    script = [refusal, one_call("slow_tool", "{}"), Answer(cut(chat_stream("fine")))]
    with serving(*script, *script) as server, blockbuster_ctx("aquila"):
        options = live({"base_url": server.url, "tools": [slow_tool], "sink": None})
        asyncio.run(everything(options))


@pytest.mark.usefixtures("_warm")
def test_recording_and_replaying_block_nothing(tmp_path: Path) -> None:
    with separate_run(tmp_path), serving(*[chat_stream("fine")] * 2) as server:
        options = live({"base_url": server.url, "cassette": "x", "transport": "record"})
        with blockbuster_ctx("aquila"):
            asyncio.run(everything(options))
            asyncio.run(everything(options | {"transport": "replay", "api_key": None}))


@pytest.mark.usefixtures("_warm")
@pytest.mark.parametrize("transport", ["replay", "record", "live"])
def test_a_script_in_a_file_blocks_nothing_and_needs_no_key(transport: str, tmp_path: Path) -> None:
    (tmp_path / "cassettes").mkdir()
    (tmp_path / "cassettes/x.script.yaml").write_text("script:\n- when: {model: '*'}\n  reply: fine\n")
    with separate_run(tmp_path, command_line={"transport": transport}), blockbuster_ctx("aquila"):
        asyncio.run(everything({"cassette": "x"}))


def test_the_check_itself_finds_a_blocking_call() -> None:
    from blockbuster import BlockingError

    async def scenario() -> None:
        slow_tool()

    with blockbuster_ctx(__name__), pytest.raises(BlockingError):
        asyncio.run(scenario())
