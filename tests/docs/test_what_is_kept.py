"""The table of what is kept in which case: each row is recorded, compared with what the page says, and replayed."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huey import MemoryHuey

import aquila
from aquila.cassettes.model import Interaction
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import CassetteMiss
from aquila.recording import recorder
from tests.docs.snippets import REPOSITORY
from tests.support.failing_server import FailingServer, failing_server
from tests.support.upstream import streamed, upstream

PAGE = REPOSITORY / "docs" / "cassettes-and-testing.md"
TITLE = "### What is kept in which case"


def rows_of_the_page() -> dict[str, list[str]]:
    """The ends that the page names, by what happens while recording."""
    section = PAGE.read_text().partition(TITLE)[2].partition("\n#")[0]
    cells = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return {row[0]: re.findall(r"`([^`]+)`", row[2]) for row in cells[2:]}


def describe_end(interaction: Interaction) -> str:
    response = interaction.response
    return f"{response.status if response.has_begun else 'none'} {response.end}"


def ends_in(path: Path) -> list[str]:
    return [describe_end(each) for each in load_cassette(path).interactions]


class Provider:
    """Streams an answer, and holds it back where a test says so; or fails."""

    def __init__(self, streams: str, failing: FailingServer) -> None:
        self.streams = streams
        self.failing = failing


@pytest.fixture
def provider(root: Path) -> Iterator[Provider]:
    silent = threading.Event()

    def hold_back(number: int) -> None:
        if number == 2:
            silent.wait(60)

    def script(path: str, body: bytes) -> Any:
        if b"nothing" in body:
            silent.wait(60)
        return streamed("one two three", before_chunk=hold_back if b"silence" in body else lambda number: None,
                        breaks=b"breaks" in body)  # fmt: skip

    with upstream(script) as server, failing_server("") as failing:
        try:
            yield Provider(server.url, failing)
        finally:
            silent.set()


def read(provider: Provider, prompt: str, *, at_most: int = 1000) -> tuple[list[bytes], str]:
    """Read a stream; return its chunks and the class of the error that ended it."""
    seen: list[bytes] = []
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(httpx2.Client(timeout=60))
        body = {"stream": True, "prompt": prompt}
        answer = stack.enter_context(client.stream("POST", f"{provider.streams}/v1/completions", json=body))
        try:
            for chunk in answer.iter_raw():
                seen.append(chunk)
                if len(seen) == at_most:
                    break
        except httpx2.TransportError as error:
            return seen, type(error).__name__
    return seen, ""


def stop_waiting(provider: Provider, prompt: str) -> int:
    async def read_on(seen: list[bytes]) -> None:
        body = {"stream": True, "prompt": prompt}
        async with (
            httpx2.AsyncClient(timeout=60) as client,
            client.stream("POST", f"{provider.streams}/v1/completions", json=body) as answer,
        ):
            async for chunk in answer.aiter_raw():
                seen.append(chunk)

    async def limit() -> int:
        seen: list[bytes] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await read_on(seen)
        return len(seen)

    return asyncio.run(limit())


def ask(provider: Provider, *failures: str, attempts: int = 1) -> str:
    """Ask once, as one call of a client with some attempts."""
    provider.failing.failures += failures
    outcome = ""
    with httpx2.Client() as client:
        for attempt in range(attempts):
            headers = {"x-stainless-retry-count": str(attempt)}
            try:
                answer = client.post(f"{provider.failing.url}/completions", json={}, headers=headers)
            except httpx2.TransportError as error:
                outcome = type(error).__name__
                continue
            outcome = str(answer.status_code)
            if answer.is_success or answer.headers.get("x-should-retry") == "false":
                break
    return outcome


def retry_with_huey(provider: Provider) -> list[str]:
    huey = MemoryHuey()
    seen: list[str] = []

    @huey.task(retries=1)
    def job() -> None:
        seen.append(ask(provider))
        if seen[-1] != "200":
            raise RuntimeError(seen[-1])

    job()
    while (task := huey.dequeue()) is not None:
        huey.execute(task)
    return seen


def fail_in_mid_stream(provider: Provider) -> list[bytes]:
    whole, _ = read(provider, "whole")
    with httpx2.Client() as client:
        body = {"stream": True, "prompt": "left open"}
        with client.stream("POST", f"{provider.streams}/v1/completions", json=body) as answer:
            for _chunk in answer.iter_raw():
                raise ZeroDivisionError
    return whole


def once_failing(provider: Provider, program: Callable[[], object], *failures: str) -> object:
    if not provider.failing.requests:
        provider.failing.failures += failures
    return program()


PROGRAMS: dict[str, Callable[[Provider], object]] = {
    "an answer is read to its end": lambda provider: read(provider, "whole"),
    "the program leaves a stream between two reads": lambda provider: read(provider, "whole", at_most=2),
    "the program stops waiting within an answer: cancelled, a time limit, closed by another thread": (
        lambda provider: stop_waiting(provider, "silence")
    ),
    "the program stops waiting before the answer begins": lambda provider: stop_waiting(provider, "nothing"),
    "the connection breaks within an answer": lambda provider: read(provider, "breaks"),
    "the connection is refused, reset, breaks or times out before the answer": (
        lambda provider: once_failing(provider, lambda: ask(provider), "closed")
    ),
    "one call of a client overcomes a failure": (
        lambda provider: once_failing(provider, lambda: ask(provider, attempts=2), "503")
    ),
    "one call of a client gives up": (
        lambda provider: once_failing(provider, lambda: ask(provider, attempts=2), "503", "503")
    ),
    "the program tries again after a failure, or Huey does": (
        lambda provider: once_failing(provider, lambda: retry_with_huey(provider), "500")
    ),
    "`aquila_record_errors = all`, and a client overcomes a failure": (
        lambda provider: once_failing(provider, lambda: ask(provider, attempts=2), "503")
    ),
}


def test_the_page_has_a_row_for_each_case_and_no_other() -> None:
    assert set(rows_of_the_page()) == {*PROGRAMS, "a test fails", "a run is interrupted or killed"}


@pytest.mark.parametrize("case", PROGRAMS)
def test_what_the_page_says_is_kept_and_the_replay_is_the_same(root: Path, provider: Provider, case: str) -> None:
    errors = "all" if "record_errors" in case else "last"
    with aquila.use_cassette("x", transport="record", record_errors=errors):
        recorded = PROGRAMS[case](provider)
    assert ends_in(root / "x.yaml") == rows_of_the_page()[case]
    with aquila.use_cassette("x", transport="replay") as cassette:
        assert PROGRAMS[case](provider) == recorded
        assert cassette.all_played
        assert not cassette.misses


def test_a_further_read_is_a_miss(root: Path, provider: Provider) -> None:
    with aquila.use_cassette("x", transport="record"):
        read(provider, "whole", at_most=2)
    with aquila.use_cassette("x", transport="replay") as cassette:
        with pytest.raises(CassetteMiss):
            read(provider, "whole")
        cassette.forget_misses()


def test_a_failed_block_keeps_beside_what_was_finished(root: Path, provider: Provider) -> None:
    with pytest.raises(ZeroDivisionError), aquila.use_cassette("x", transport="record"):
        fail_in_mid_stream(provider)
    assert not (root / "x.yaml").exists()
    assert ends_in(root / "x.pending.yaml") == rows_of_the_page()["a test fails"]


def test_a_killed_run_leaves_what_was_finished_to_the_next(root: Path, provider: Provider, tmp_path: Path) -> None:
    program = f"""
import os, httpx2, aquila
with aquila.use_cassette("x", transport="record", cassette_dir={str(root)!r}), httpx2.Client() as client:
    client.post({provider.streams + "/v1/completions"!r}, json={{"prompt": "whole"}})
    with client.stream("POST", {provider.streams + "/v1/completions"!r}, json={{"prompt": "left"}}) as answer:
        next(answer.iter_raw())
    os._exit(1)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    recorder.recover_journals(root)
    assert ends_in(root / "x.yaml") == rows_of_the_page()["a run is interrupted or killed"]
