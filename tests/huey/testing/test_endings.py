"""Tasks that were ended in the midst of a slow stream end so in a replay, which has no pauses, in any worker."""

from __future__ import annotations

import functools
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huey.exceptions import CancelExecution, TaskTimeout

import aquila
from aquila.cassettes.model import Cassette
from aquila.cassettes.storage.cassette_files import load_cassette, save_cassette
from aquila.errors import RemoteTaskError
from aquila.huey import partial_answer
from aquila.huey.testing import perform_job, run_consumer, use_test_queue
from tests.support.limits import with_a_limit_in_time
from tests.support.slow import slow_but
from tests.support.upstream import Answer, Upstream, streamed, upstream

WORDS = " ".join(f"w{number}" for number in range(500))
PAUSE = 0.02
"""Seconds between two words: whole, the stream would take ten."""

WORKERS = [
    pytest.param(None, id="performed"),
    "thread",
    pytest.param("greenlet", marks=pytest.mark.slow),
    pytest.param("process", marks=pytest.mark.slow),
    pytest.param("program", marks=[pytest.mark.slow, pytest.mark.long(20)]),
]

APP = """
import asyncio
import threading
import aquila
from aquila.huey import FileHuey, afollow, current_task, follow

huey = FileHuey("app", path={place!r})

def open_stream(stream=aquila.stream):
    return stream("hi", base_url={url!r}, endpoint="chat", api_key="-", timeout=7200, max_retries=0)

@huey.task(timeout={limit})
def limited(followed):
    with open_stream() as stream:
        list(follow(stream) if followed else stream)

connection_has_ended = threading.Event()

@huey.task(retries=2)
def revoked(while_busy=False):
    with open_stream() as stream:
        for event in follow(stream, every=0.05):
            if isinstance(event, aquila.Chunk) and event.text == "w3 ":
                huey.revoke_by_id(current_task().id)
                if while_busy:
                    connection_has_ended.wait(60)

@huey.task(retries=2)
async def revoked_async(while_busy):
    async with open_stream(aquila.astream) as stream:
        async for event in afollow(stream, every=0.05):
            if isinstance(event, aquila.Chunk) and event.text == "w3 ":
                huey.revoke_by_id(current_task().id)
                if while_busy:
                    await asyncio.to_thread(connection_has_ended.wait, 60)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and alarms")


@pytest.fixture
def provider(root: Path) -> Iterator[Upstream]:
    over = threading.Event()
    slow = False
    with upstream(lambda path, body: streamed(WORDS, before_chunk=lambda number: slow and over.wait(PAUSE))) as server:
        with aquila.use_cassette("warm", transport="record"), open_stream(server) as stream:  # the first request loads
            list(stream)
        slow = True
        server.requests.clear()
        try:
            yield server
        finally:
            over.set()


def open_stream(server: Upstream) -> aquila.Stream:
    return aquila.stream("hi", base_url=f"{server.url}/v1", endpoint="chat", api_key="-", timeout=7200, max_retries=0)


def run_task(worker: Any, app: Any, job: Any, *arguments: Any) -> tuple[str, str]:
    """Run a task in a kind of worker. Return how it ended, and the text so far."""
    with use_test_queue(app.huey, storage="own"):
        if worker is None:
            run = perform_job(job, *arguments, raises=(TaskTimeout, CancelExecution))
            return type(run.exception).__name__, partial_answer(app.huey, run.task) or ""
        kind, program = ("thread", f"{app.__name__}.huey") if worker == "program" else (worker, False)
        with run_consumer(kind, huey=app.huey, subprocess=program, raise_errors=False, timeout=120) as consumer:
            result = job(*arguments)
            with pytest.raises(RemoteTaskError) as failure:
                consumer.wait(result)
            return str(failure.value).partition(": ")[2].partition("(")[0], partial_answer(app.huey, result) or ""


def run_recorded_and_replayed(root: Path, provider: Upstream, run: Callable[[], tuple[str, str]]) -> str:
    """Record what a task does, replay it, and return how it ended: both times alike."""
    (root / "x.yaml").unlink(missing_ok=True)
    with aquila.use_cassette("x", transport="record"):
        ended, text = run()
    asked = len(provider.requests)
    (stored,) = load_cassette(root / "x.yaml").interactions
    hour = replace(
        stored, response=replace(stored.response, ended=3_600_000)
    )  # Whoever waited for that did not return.
    save_cassette(root / "x.yaml", Cassette((hour,)))
    with aquila.use_cassette("x", transport="replay") as cassette:
        replayed, replayed_text = run()
        assert not cassette.misses
    assert len(provider.requests) == asked
    assert (replayed, ended) == (ended, replayed)
    for so_far in (text, replayed_text):  # Where exactly it was ended depends on how busy the machine is.
        assert WORDS.startswith(so_far.rstrip())
        assert len(so_far) < len(WORDS)
    return ended


@pytest.fixture
def make_app(import_app: Callable[[str], Any], provider: Upstream, tmp_path: Path) -> Callable[..., Any]:
    def make(limit: float | None = None) -> Any:
        place = str(tmp_path / f"queue {limit}")
        return import_app(APP.format(place=place, url=f"{provider.url}/v1", limit=limit))

    return make


@pytest.mark.parametrize("followed", slow_but([False], [True, False]), ids=["followed", "plain"])
@pytest.mark.parametrize("worker", WORKERS)
def test_a_time_limit_that_struck_between_two_words_strikes_in_a_replay(
    root: Path, provider: Upstream, make_app: Callable[..., Any], worker: Any, followed: bool
) -> None:
    def scenario(limit: float) -> None:
        app = make_app(limit)
        run = functools.partial(run_task, worker, app, app.limited, followed)
        assert run_recorded_and_replayed(root, provider, run) == "TaskTimeout"

    # What the first request loads takes time, in each program anew.
    with_a_limit_in_time(scenario, 2 if worker == "program" else 0.4)


@pytest.mark.parametrize("worker", WORKERS)
def test_a_task_that_was_revoked_between_two_words_is_so_in_a_replay(
    root: Path, provider: Upstream, make_app: Callable[..., Any], worker: Any
) -> None:
    app = make_app()
    run = functools.partial(run_task, worker, app, app.revoked)
    assert run_recorded_and_replayed(root, provider, run) == "CancelExecution"


@pytest.mark.parametrize(
    ("worker", "task"),
    slow_but(
        [(None, "revoked"), ("thread", "revoked_async")],
        itertools.product([None, "thread"], ["revoked", "revoked_async"]),
        of_several_names=True,
    ),
)
def test_a_task_that_was_revoked_while_it_worked_with_a_word_is_so_in_a_replay_that_works_faster(
    root: Path, provider: Upstream, make_app: Callable[..., Any], worker: Any, task: str
) -> None:
    app = make_app()
    answer = provider.script

    def tell_the_end(path: str, body: bytes) -> Answer:
        answered = answer(path, body)

        def chunks() -> Iterator[bytes]:
            try:
                yield from answered.chunks
            finally:
                app.connection_has_ended.set()

        return replace(answered, chunks=chunks())

    provider.script = tell_the_end
    run = functools.partial(run_task, worker, app, getattr(app, task), True)
    assert run_recorded_and_replayed(root, provider, run) == "CancelExecution"
