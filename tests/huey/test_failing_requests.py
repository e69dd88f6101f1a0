"""Tasks whose requests fail or are not waited for, recorded and replayed: whatever ends them, and in which worker."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from huey.exceptions import TaskTimeout

import aquila
from aquila.cassettes.model import Cassette
from aquila.cassettes.storage.cassette_files import load_cassette, save_cassette
from aquila.errors import RemoteTaskError
from aquila.huey import FileHuey, MemoryHuey, ask_task, follow, partial_answer
from aquila.huey.testing import drain_queue, perform_job, run_consumer, use_test_queue
from aquila.huey.testing.fixture_types import WorkerType
from tests.support.failing_server import failing_server
from tests.support.limits import with_a_limit_in_time
from tests.support.silent_provider import Silent
from tests.support.upstream import streamed, upstream

T = TypeVar("T")

needs_gevent = pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")

LIMIT = 0.5
"""The time limit of the tasks, in seconds, unless the machine needs longer until the provider falls silent."""


@pytest.fixture
def provider(root: Path) -> Iterator[Silent]:
    with upstream(lambda path, body: streamed("warm")) as server:
        with aquila.use_cassette("warm", transport="record"):  # what the first request loads takes time
            aquila.ask("hi", base_url=f"{server.url}/v1", endpoint="chat", api_key="-")
        silent = Silent(server, chunks=3)
        server.requests.clear()
        try:
            yield silent
        finally:
            silent.goes_on.set()


@pytest.fixture
def huey() -> Iterator[Any]:
    made = MemoryHuey("app", store_none=True)
    with use_test_queue(made):
        yield made


def open_stream(url: str) -> aquila.Stream:
    limits = aquila.Timeouts(read=7200, idle=7200)
    return aquila.stream("hi", base_url=url, endpoint="chat", api_key="-", timeout=limits, max_retries=0)


def take_an_hour(path: Path) -> None:
    """Let a recording say that its wait took an hour. Who waited for that in a replay would not come back."""
    (stored,) = load_cassette(path).interactions
    assert stored.response.end == "silent"
    save_cassette(path, Cassette((replace(stored, response=replace(stored.response, ended=3_600_000)),)))


def run_recorded_and_replayed(root: Path, provider: Silent, run: Callable[[], T]) -> tuple[T, T]:
    shutil.rmtree(root, ignore_errors=True)
    with aquila.use_cassette("x", transport="record"):
        recorded = run()
    asked = len(provider.server.requests)
    take_an_hour(root / "x.yaml")
    with aquila.use_cassette("x", transport="replay") as cassette:
        replayed = run()
        assert not cassette.misses
    assert len(provider.server.requests) == asked
    return recorded, replayed


def test_the_limit_of_a_performed_task_strikes_in_a_replay(root: Path, provider: Silent, huey: Any) -> None:
    def scenario(limit: float) -> None:
        @huey.task(name=f"job {limit}", timeout=limit)
        def job() -> None:
            with open_stream(provider.url) as stream:
                list(stream)

        ends = run_recorded_and_replayed(root, provider, lambda: perform_job(job, raises=TaskTimeout).state)
        assert ends == ("timeout", "timeout")

    with_a_limit_in_time(scenario, LIMIT)


def test_the_limit_of_a_task_that_asks_strikes_in_a_replay(root: Path, provider: Silent, huey: Any) -> None:
    def scenario(limit: float) -> None:
        task = ask_task(
            huey, "{x}", name=f"slow {limit}", base_url=provider.url, endpoint="chat", api_key="-",
            time_limit=limit, timeout=60, retries=2, cassette="",
        )  # fmt: skip

        def perform() -> tuple[str, object, int]:
            done = perform_job(task, "hi", raises=TaskTimeout)
            return done.state, type(done.exception), done.retry.left

        def run() -> tuple[str, object, int]:
            with ThreadPoolExecutor(1) as pool:  # as in a thread worker: no alarm can strike there
                return pool.submit(perform).result()

        assert run_recorded_and_replayed(root, provider, run) == (("timeout", TaskTimeout, 1),) * 2

    with_a_limit_in_time(scenario, LIMIT)


def test_the_limit_of_a_followed_stream_strikes_in_a_thread_worker(root: Path, provider: Silent, huey: Any) -> None:
    signals: list[str] = []
    huey.signal()(lambda name, task, error=None: signals.append(name))

    def scenario(limit: float) -> None:
        @huey.task(name=f"job {limit}", timeout=limit)
        def job() -> None:
            with open_stream(provider.url) as stream:
                list(follow(stream, every=60))

        def run() -> tuple[str | None, list[str]]:
            signals.clear()
            with run_consumer(raise_errors=False) as consumer:
                result = job()
                consumer.wait_for(lambda: "timeout" in signals)
            return partial_answer(huey, result), list(signals)

        recorded, replayed = run_recorded_and_replayed(root, provider, run)
        assert recorded == replayed
        assert recorded[0] == "one two "

    with_a_limit_in_time(scenario, LIMIT)


def test_a_task_that_is_revoked_while_it_waits_is_so_in_a_replay(root: Path, provider: Silent, huey: Any) -> None:
    signals: list[str] = []
    huey.signal()(lambda name, task, error=None: signals.append(name))

    @huey.task()
    def job() -> None:
        with open_stream(provider.url) as stream:
            list(follow(stream, every=0.02))

    def run() -> tuple[str | None, list[str]]:
        signals.clear()
        with run_consumer() as consumer:
            result = job()
            consumer.wait_for(lambda: partial_answer(huey, result.id) == "one two ")
            result.revoke()
            consumer.wait_for(lambda: "canceled" in signals)
        return partial_answer(huey, result), list(signals)

    recorded, replayed = run_recorded_and_replayed(root, provider, run)
    assert recorded == replayed
    assert recorded[0] == "one two "
    assert "retrying" not in recorded[1]


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and alarms")
def test_the_limit_of_a_task_strikes_in_a_process_worker(root: Path, provider: Silent, tmp_path: Path) -> None:
    def scenario(limit: float) -> None:
        huey = FileHuey("app", path=str(tmp_path / f"queue {limit}"))

        @huey.task(timeout=limit)
        def job() -> str:
            try:
                with open_stream(provider.url) as stream:
                    list(stream)
            except TaskTimeout:
                return "out of time"
            return "whole"

        def run() -> str:
            with use_test_queue(huey, storage="own"), run_consumer("process", huey=huey) as consumer:
                value: str = consumer.wait(job())
                return value

        assert run_recorded_and_replayed(root, provider, run) == ("out of time", "out of time")

    with_a_limit_in_time(scenario, LIMIT)


PLAIN_CALL = """
import asyncio
import aquila
from aquila.huey import FileHuey

huey = FileHuey("app", path={place!r})
options = dict(
    base_url={url!r}, endpoint="chat", api_key="-", max_retries=0, timeout=aquila.Timeouts(read=7200, idle=7200)
)

@huey.task(timeout={limit})
def job():
    try:
        return (asyncio.run(aquila.aask("hi", **options)) if {is_async} else aquila.ask("hi", **options)).text
    except aquila.errors.AquilaError:
        return "an error that a task may handle"
"""


@pytest.mark.parametrize(
    ("worker", "is_async"),
    [
        ("thread", False),
        ("thread", True),
        pytest.param("process", False, marks=pytest.mark.slow),
        pytest.param("greenlet", False, marks=[pytest.mark.slow, needs_gevent]),
        pytest.param("greenlet", True, marks=[pytest.mark.slow, needs_gevent]),
        pytest.param("program", False, marks=[pytest.mark.slow, pytest.mark.long(20)]),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and alarms")
def test_a_plain_call_ends_with_its_task_in_any_worker(
    root: Path, provider: Silent, import_app: Callable[[str], Any], tmp_path: Path, worker: str, is_async: bool
) -> None:
    is_program, worker_type = worker == "program", cast("WorkerType", "thread" if worker == "program" else worker)

    def scenario(limit: float) -> None:
        place = str(tmp_path / f"queue {limit}")
        app = import_app(PLAIN_CALL.format(place=place, limit=limit, url=provider.url, is_async=is_async))

        def run() -> str:
            program = f"{app.__name__}.huey" if is_program else False
            workers = run_consumer(worker_type, subprocess=program, huey=app.huey, raise_errors=False, timeout=240)
            with use_test_queue(app.huey, storage="own"), workers as consumer, pytest.raises(RemoteTaskError) as error:
                consumer.wait(app.job())
            return str(error.value).partition("(")[0]

        assert run_recorded_and_replayed(root, provider, run) == ("job: TaskTimeout",) * 2

    # What the first request loads takes time, in a program of its own anew.
    with_a_limit_in_time(scenario, 4 * LIMIT if is_program else LIMIT)


@pytest.mark.parametrize("failure", ["500", "closed", "reset"])
def test_the_first_failure_of_a_task_that_huey_retries_is_kept_and_replays(root: Path, huey: Any, failure: str) -> None:
    with failing_server("") as server, contextlib.ExitStack() as stack:
        server.failures = [failure]
        task = ask_task(
            huey, "{x}", name="again", base_url=server.url, endpoint="chat", api_key="-",
            timeout=60, max_retries=0, retries=1, cassette="",
        )  # fmt: skip

        def run() -> list[tuple[str, object]]:
            task("hi")
            return [(each.state, type(each.exception)) for each in drain_queue(with_scheduled=True).runs]

        stack.enter_context(aquila.use_cassette("x", transport="record"))
        recorded = run()
        stack.close()
        asked = server.requests
        assert ([state for state, _ in recorded], asked) == (["error", "complete"], 2)
        stack.enter_context(aquila.use_cassette("x", transport="replay"))
        assert run() == recorded
        assert server.requests == asked
