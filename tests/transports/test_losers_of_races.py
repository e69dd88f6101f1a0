"""Requests that race: one that is cancelled while its answer is stored has lost, in the recording as in the program."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import httpx
import pytest

import aquila
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.recording import runtime
from aquila.recording.replayed_time_limits import TimeLimit, time_limit
from aquila.recording.storing.interrupted_runs import recover_journals
from aquila.recording.storing.record_budget import RecordBudget, Spent
from aquila.recording.storing.recorder import ScopeRecording, StoredRecordings
from aquila.transports.record import _AnswerRecorder
from tests.support.upstream import Answer, streamed, upstream


async def ask(url: str, model: str) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{url}/v1/chat/completions", json={"model": model, "messages": []})
        return answer.text


async def race(url: str) -> list[str]:
    tasks = [asyncio.create_task(ask(url, model)) for model in ("loser", "winner")]
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    return [task.result() for task in done]


async def lose(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask, and cancel that when the answer is stored and the program has not got its end."""
    is_stored, may_go_on = threading.Event(), threading.Event()
    finish = _AnswerRecorder.finish_answer

    def finish_slowly(recorder: _AnswerRecorder) -> tuple[bytes, ...]:
        rest = finish(recorder)
        is_stored.set()
        may_go_on.wait(60)
        return rest

    with monkeypatch.context() as patch:
        patch.setattr(_AnswerRecorder, "finish_answer", finish_slowly)
        loser = asyncio.create_task(ask(url, "loser"))
        await asyncio.to_thread(is_stored.wait, 60)
        loser.cancel()
        may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await loser


def test_the_winner_wins_the_replay(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lose_and_win() -> str:
        await lose(server.url, monkeypatch)
        return await ask(server.url, "winner")

    def answer(path: str, body: bytes) -> Answer:
        return Answer(chunks=[b'{"usage": {"total_tokens": 5}, "asked": ', body, b"}"])

    with upstream(answer) as server:
        with aquila.use_cassette("x", transport="record", record_budget="100 tokens"):
            won = asyncio.run(lose_and_win())
        assert runtime.current_run().state_of(RecordBudget).spent() == Spent(requests=2, tokens=10)
        loser, winner = load_cassette(root / "x.yaml").interactions
        assert (loser.response.end, winner.response.end) == ("silent", "complete")
        with aquila.use_cassette("x", transport="replay"):
            assert asyncio.run(race(server.url)) == [won]


def test_the_limit_for_which_it_was_cancelled_is_recorded_so_that_it_strikes_at_once_in_the_replay(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        upstream(lambda path, body: Answer(chunks=[b"the answer"])) as server,
        aquila.use_cassette("x", transport="record"),
        time_limit(TimeLimit("total", 0, TimeoutError)),
    ):
        asyncio.run(lose(server.url, monkeypatch))
    (lost,) = load_cassette(root / "x.yaml").interactions
    assert (lost.response.end, lost.response.error) == ("silent", "TimeLimit: total, 0 s")


def test_a_loser_is_not_kept_beside_the_cassette_if_the_block_fails(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        upstream(lambda path, body: Answer(chunks=[b"the answer"])) as server,
        pytest.raises(RuntimeError, match="it failed"),
        aquila.use_cassette("x", transport="record"),
    ):
        asyncio.run(lose(server.url, monkeypatch))
        raise RuntimeError("it failed")
    assert not list(root.rglob("*.yaml"))


def test_an_event_stream_that_was_read_up_to_its_terminator_has_not_lost(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        upstream(lambda path, body: streamed("one")) as server,
        aquila.use_cassette("x", transport="record"),
    ):
        asyncio.run(lose(server.url, monkeypatch))
    (stored,) = load_cassette(root / "x.yaml").interactions
    assert stored.response.end == "complete"


def test_a_loser_is_not_recovered_from_a_run_that_was_killed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(recording: ScopeRecording, **how: object) -> StoredRecordings:
        recording._journal.close()
        return StoredRecordings()

    monkeypatch.setattr(ScopeRecording, "close", die)
    with (
        upstream(lambda path, body: Answer(chunks=[b"the answer"])) as server,
        aquila.use_cassette("x", transport="record"),
    ):
        asyncio.run(lose(server.url, monkeypatch))
    monkeypatch.undo()
    recovered = recover_journals(root)
    assert (recovered.cassettes, recovered.failures) == ([], [])  # the kill may have ended that answer


def test_a_task_that_outlives_its_block_waits_for_its_answer_in_a_replay_too(root: Path) -> None:
    is_asked, may_answer = threading.Event(), threading.Event()

    def answer(path: str, body: bytes) -> Answer:
        is_asked.set()
        may_answer.wait(60)
        return Answer(chunks=[b"late"])

    async def ask_beyond_the_block(url: str) -> str:
        with aquila.use_cassette("x", transport="record"):
            task = asyncio.create_task(ask(url, "m"))
            await asyncio.to_thread(is_asked.wait, 60)
        may_answer.set()
        return await task

    async def leave(url: str) -> bool:
        with aquila.use_cassette("x", transport="replay") as cassette:
            task = asyncio.create_task(ask(url, "m"))
            while not cassette.requests:
                await asyncio.sleep(0)
        return task.cancel()

    with upstream(answer) as server:
        assert asyncio.run(ask_beyond_the_block(server.url)) == "late"
        (stored,) = load_cassette(root / "x.yaml").interactions
        assert (stored.response.status, stored.response.end) == (0, "silent")
        assert asyncio.run(leave(server.url))
