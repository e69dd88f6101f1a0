"""A task that another one stopped between two reads, as a server stops a stream whose own caller has left."""

from __future__ import annotations

from pathlib import Path

import anyio
import httpx2
import pytest

import aquila
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import RecordingTooShort
from tests.support.upstream import streamed, upstream

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


async def read(url: str, seen: list[bytes], *, pauses_after: int | None = None) -> None:
    async with httpx2.AsyncClient() as client, client.stream("POST", url, json=BODY, timeout=60) as answer:
        async for chunk in answer.aiter_raw():
            seen.append(chunk)
            if len(seen) == pauses_after:
                await anyio.sleep_forever()


async def stop(url: str, *, pauses_after: int | None = None) -> list[bytes]:
    """Stop a reader when nothing else goes on: in a pause of its own, or where it waits for more than was recorded."""
    seen: list[bytes] = []
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: read(url, seen, pauses_after=pauses_after))
        while len(seen) < 2:
            await anyio.sleep(0.001)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    return seen


@pytest.fixture
def recorded(root: Path) -> tuple[str, list[bytes]]:
    """The URL of an answer that was left between two reads, and what of it was read."""
    with upstream(lambda path, body: streamed("one two three")) as server:
        url = f"{server.url}/v1/chat/completions"
        with aquila.use_cassette("x", transport="record"):
            seen = anyio.run(lambda: stop(url, pauses_after=2))
    assert [row.response.end for row in load_cassette(root / "x.yaml").interactions] == ["closed"]
    return url, seen


def test_a_faster_replay_leaves_the_other_task_time_to_stop_it(recorded: tuple[str, list[bytes]]) -> None:
    url, seen = recorded
    with aquila.use_cassette("x", transport="replay") as cassette:
        assert anyio.run(lambda: stop(url)) == seen
        assert cassette.all_played


def test_a_program_that_nobody_stops_misses_in_the_end(
    recorded: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pass_by(seconds: float) -> None:
        slept.append(seconds)

    slept: list[float] = []
    monkeypatch.setattr(anyio, "sleep", pass_by)
    with aquila.use_cassette("x", transport="replay", silence=1) as cassette:
        with pytest.raises(RecordingTooShort, match=r"after 2 chunks.*recorded pace"):
            anyio.run(read, recorded[0], [])
        cassette.forget_misses()
    assert sum(slept) == pytest.approx(1, abs=0.1)
