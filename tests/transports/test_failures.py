"""A request that fails, fails in a replay as it did, whichever client sends it and however often it tries again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx2
import pytest
from huey import MemoryHuey

import aquila
from aquila.cassettes.storage.cassette_files import load_cassette
from tests.support import failing_clients
from tests.support.failing_clients import BODY, CLIENTS, RETRYING, what_is_seen
from tests.support.failing_server import FAILURES, FailingServer, failing_server
from tests.support.slow import product_of, slow_but, slow_but_each


def each_failure(clients: Iterable[str]) -> pytest.MarkDecorator:
    """Every client with every failure."""
    return pytest.mark.parametrize(("server", "client"), product_of(FAILURES, clients, fast=7), indirect=["server"])


@pytest.fixture
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingServer]:
    if request.param == "timeout":
        monkeypatch.setattr(failing_clients, "PATIENCE", 0.1)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)  # between attempts, in seconds
    monkeypatch.setattr("aquila.engine.calls.retry._FIRST_BACKOFF", 0.01)
    with failing_server(request.param) as running:
        yield running


def record(client: str, url: str, *, retries: int = 0) -> list[str]:
    with aquila.use_cassette("x", transport="record", upstream="live"):
        return what_is_seen(client, url, retries)


def replay(client: str, url: str, *, retries: int = 0) -> list[str]:
    with aquila.use_cassette("x", transport="replay") as cassette:
        seen = what_is_seen(client, url, retries)
        assert not cassette.misses
        assert cassette.all_played
        return seen


@each_failure(CLIENTS)
def test_a_program_sees_the_same_live_recorded_and_replayed(root: Path, server: FailingServer, client: str) -> None:
    live = what_is_seen(client, server.url, 0)
    assert record(client, server.url) == live
    asked = 0 if server.always == "refused" else 2
    server.wait_until_asked(asked)
    assert replay(client, server.url) == live
    assert server.requests == asked


@each_failure(RETRYING)
def test_a_client_that_gives_up_does_so_again_however_often_it_tries(
    root: Path, server: FailingServer, client: str
) -> None:
    live = record(client, server.url, retries=1)
    (stored,) = load_cassette(root / "x.yaml").interactions
    assert stored.response.attempts == 2
    asked = 0 if server.always == "refused" else 2
    server.wait_until_asked(asked)
    for retries in (0, 1, 2):
        assert replay(client, server.url, retries=retries) == live
    assert server.requests == asked


@pytest.mark.parametrize("client", slow_but(["openai", "aquila"], RETRYING))
def test_what_one_call_overcomes_is_not_kept(root: Path, client: str) -> None:
    with failing_server("") as server:
        server.failures = ["503"]
        assert record(client, server.url, retries=1) == replay(client, server.url, retries=1)
        assert server.requests == 2
    (stored,) = load_cassette(root / "x.yaml").interactions
    assert (stored.response.status, stored.response.attempts) == (200, 0)


def ask_in_a_loop(client: str, url: str, *, calls: int, retries: int = 0) -> list[list[str]]:
    return [what_is_seen(client, url, retries) for _ in range(calls)]


@pytest.mark.parametrize("client", slow_but_each(4, CLIENTS))
def test_what_a_loop_of_the_program_overcomes_is_kept(root: Path, client: str) -> None:
    with failing_server("") as server:
        server.failures = ["500", "429"]
        with aquila.use_cassette("x", transport="record", upstream="live"):
            recorded = ask_in_a_loop(client, server.url, calls=3)
        with aquila.use_cassette("x", transport="replay") as cassette:
            assert ask_in_a_loop(client, server.url, calls=3) == recorded
            assert cassette.play_count == 3
        assert server.requests == 3
    stored = load_cassette(root / "x.yaml").interactions
    assert [(row.response.status, row.response.attempts) for row in stored] == [(500, 1), (429, 1), (200, 0)]


@pytest.mark.parametrize(("client", "retries"), product_of(RETRYING, [0, 1, 3]))
def test_a_call_that_gave_up_takes_no_answer_of_the_next_call(root: Path, client: str, retries: int) -> None:
    with failing_server("") as server:
        server.failures = ["500", "503"]
        with aquila.use_cassette("x", transport="record", upstream="live"):
            recorded = ask_in_a_loop(client, server.url, calls=2, retries=1)
        assert server.requests == 3
        with aquila.use_cassette("x", transport="replay"):
            assert ask_in_a_loop(client, server.url, calls=2, retries=retries) == recorded
        assert server.requests == 3
    stored = load_cassette(root / "x.yaml").interactions
    assert [(row.response.status, row.response.attempts) for row in stored] == [(503, 2), (200, 0)]


@pytest.mark.parametrize("client", ["openai", "httpx", "aquila", "requests"])
def test_a_failure_that_a_task_was_retried_for_is_kept(root: Path, client: str) -> None:
    huey = MemoryHuey()
    seen: list[list[str]] = []

    @huey.task(retries=1)
    def ask(url: str) -> None:
        seen.append(what_is_seen(client, url, 0))
        if len(seen[-1]) > 1 or "Error" in seen[-1][0] or seen[-1][0] == "500":
            raise RuntimeError("the task failed")

    def run(url: str) -> list[list[str]]:
        seen.clear()
        ask(url)
        while (task := huey.dequeue()) is not None:
            huey.execute(task)
        return list(seen)

    with failing_server("") as server:
        server.failures = ["500"]
        with aquila.use_cassette("x", transport="record", upstream="live"):
            recorded = run(server.url)
        assert (len(recorded), server.requests) == (2, 2)
        with aquila.use_cassette("x", transport="replay") as cassette:
            assert run(server.url) == recorded
            assert cassette.all_played


def test_a_header_that_the_server_sent_stays_and_others_spare_the_waiting(root: Path) -> None:
    with failing_server("") as server:
        server.failures, server.headers = ["503"], {"retry-after": "20"}
        with aquila.use_cassette("x", transport="record", upstream="live"):
            record_one(server.url)
    with aquila.use_cassette("x", transport="replay"):
        headers = record_one(server.url)
    assert (headers["retry-after"], headers["x-should-retry"]) == ("20", "false")


def record_one(url: str) -> httpx2.Headers:
    with httpx2.Client() as client:
        return client.post(f"{url}/chat/completions", json=BODY).headers
