"""The table of what a recording keeps: each row is recorded, compared with the page, and replayed."""

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
from aquila.errors import CassetteMiss, CassetteWriteError
from aquila.recording.storing import interrupted_runs
from tests.docs.snippets import REPOSITORY
from tests.support.failing_server import FailingServer, failing_server
from tests.support.slow import slow_but
from tests.support.upstream import Answer, streamed, upstream

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
    """Streams an answer, or fails. A test may make it wait at any place."""

    def __init__(self, streams: str, failing: FailingServer, says_nothing_more: threading.Event) -> None:
        self.streams = streams
        self.failing = failing
        self.says_nothing_more = says_nothing_more  # set when it has sent everything and is silent


@pytest.fixture
def provider(root: Path) -> Iterator[Provider]:
    over, says_nothing_more = threading.Event(), threading.Event()

    def be_silent() -> None:
        says_nothing_more.set()
        over.wait(60)

    def hold_back(number: int) -> None:
        if number == 2:
            be_silent()

    def script(path: str, body: bytes) -> Any:
        if b"damaged" in body:
            return Answer(headers={"content-encoding": "gzip"}, chunks=[b"no gzip"])
        if b"large" in body:
            return Answer(headers={"content-type": "text/plain"}, chunks=[b"many " * 60_000, b"words"])
        if b"odd status" in body:
            return Answer(status=999)
        if b"nothing" in body:
            be_silent()
        return streamed("one two three", before_chunk=hold_back if b"silence" in body else lambda number: None,
                        breaks=b"breaks" in body)  # fmt: skip

    with upstream(script) as server, failing_server("") as failing:
        try:
            yield Provider(server.url, failing, says_nothing_more)
        finally:
            over.set()


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
        except httpx2.RequestError as error:
            return seen, type(error).__name__
    return seen, ""


async def read_on(provider: Provider, prompt: str, seen: list[bytes]) -> None:
    body = {"stream": True, "prompt": prompt}
    async with (
        httpx2.AsyncClient(timeout=60) as client,
        client.stream("POST", f"{provider.streams}/v1/completions", json=body) as answer,
    ):
        async for chunk in answer.aiter_raw():
            seen.append(chunk)


def stop_waiting(provider: Provider, prompt: str) -> int:
    async def limit() -> int:
        seen: list[bytes] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as within:
                begins = asyncio.create_task(begin(within, seen))
                await read_on(provider, prompt, seen)
        await begins
        return len(seen)

    async def begin(within: asyncio.Timeout, seen: list[bytes]) -> None:
        while not provider.says_nothing_more.is_set() or len(seen) < (2 if prompt == "silence" else 0):
            await asyncio.sleep(0)
        within.reschedule(asyncio.get_running_loop().time() + 0.3)

    return asyncio.run(limit())


def cancel(provider: Provider) -> int:
    async def cancelled() -> int:
        seen: list[bytes] = []
        reading = asyncio.create_task(read_on(provider, "silence", seen))
        while len(seen) < 2:
            await asyncio.sleep(0)
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        return len(seen)

    return asyncio.run(cancelled())


def ask(provider: Provider, *failures: str, attempts: int = 1, title: str = "eagles") -> str:
    """Ask once, as one call of a client with some attempts. ``title``: a header field."""
    provider.failing.failures += failures
    outcome = ""
    with httpx2.Client() as client:
        for attempt in range(attempts):
            headers = {"x-stainless-retry-count": str(attempt), "x-title": title}
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
    "the program stops reading a stream, between two reads": lambda provider: read(provider, "whole", at_most=2),
    "the program stops waiting within an answer: cancelled, a time limit, closed by another thread": (
        lambda provider: stop_waiting(provider, "silence")
    ),
    "a body is not what its content coding says": lambda provider: read(provider, "damaged"),
    "a body of more than 256 KiB comes": lambda provider: read(provider, "large"),
    "the program stops waiting before the answer begins": lambda provider: stop_waiting(provider, "nothing"),
    "the connection breaks within an answer": lambda provider: read(provider, "breaks"),
    "the connection is refused, reset, breaks or times out before the answer": (
        lambda provider: once_failing(provider, lambda: ask(provider), "closed")
    ),
    "the client itself refuses to send the request, as for a line break in a header field": (
        lambda provider: ask(provider, title="two\nlines")
    ),
    "a client's own retry succeeds after a failure": (
        lambda provider: once_failing(provider, lambda: ask(provider, attempts=2), "503")
    ),
    "a client gives up after its own retries": (
        lambda provider: once_failing(provider, lambda: ask(provider, attempts=2), "503", "503")
    ),
    "the program tries again after a failure, or Huey does": (
        lambda provider: once_failing(provider, lambda: retry_with_huey(provider), "500")
    ),
    "a client's own retry succeeds, with `aquila_record_errors = all`": (
        lambda provider: once_failing(provider, lambda: ask(provider, attempts=2), "503")
    ),
}


FAILS_FIRST = "the connection is refused, reset, breaks or times out before the answer"
OTHER_WAYS: list[tuple[str, Callable[[Provider], object]]] = [
    ("the program stops waiting within an answer: cancelled, a time limit, closed by another thread", cancel),
    (FAILS_FIRST, lambda provider: once_failing(provider, lambda: ask(provider), "reset")),
    (FAILS_FIRST, lambda provider: once_failing(provider, lambda: ask(provider), "garbage")),
]
"""More programs to which the same happens."""
QUICK = [row for row in (*PROGRAMS.items(), *OTHER_WAYS) if row[1] is cancel or "stops waiting" not in row[0]]
"""Those that wait for no limit of time."""

CHILD_IS_KILLED = "a child process is killed within an answer"
ODD_STATUS = "the server answers with a status that HTTP does not have"
SKIPS = "a test skips or xfails"


def test_the_page_has_a_row_for_each_case_and_no_other() -> None:
    others = {ODD_STATUS, SKIPS, "a test fails", "a run is interrupted or killed", CHILD_IS_KILLED}
    assert set(rows_of_the_page()) == {*PROGRAMS, *others}


@pytest.mark.parametrize(("case", "program"), slow_but(QUICK, [*PROGRAMS.items(), *OTHER_WAYS], of_several_names=True))
def test_each_row_is_recorded_as_the_page_says_and_replays_the_same(
    root: Path, provider: Provider, case: str, program: Callable[[Provider], object]
) -> None:
    errors = "all" if "record_errors" in case else "last"
    with aquila.use_cassette("x", transport="record", record_errors=errors):
        recorded = program(provider)
    assert ends_in(root / "x.yaml") == rows_of_the_page()[case]
    assert (root / "@bodies").exists() == ("256 KiB" in case)
    with aquila.use_cassette("x", transport="replay") as cassette:
        assert program(provider) == recorded
        assert cassette.all_played
        assert not cassette.misses


def test_a_further_read_is_a_miss(root: Path, provider: Provider) -> None:
    with aquila.use_cassette("x", transport="record"):
        read(provider, "whole", at_most=2)
    with aquila.use_cassette("x", transport="replay") as cassette:
        with pytest.raises(CassetteMiss):
            read(provider, "whole")
        cassette.forget_misses()


def test_an_answer_with_a_status_that_http_does_not_have_is_refused(root: Path, provider: Provider) -> None:
    with (
        pytest.raises(CassetteWriteError, match="status 999, which HTTP does not have"),
        aquila.use_cassette("x", transport="record"),
    ):
        read(provider, "odd status")
    assert rows_of_the_page()[ODD_STATUS] == list(root.glob("*.yaml")) == []


@pytest.mark.parametrize("ends", slow_but(["pytest.skip()"], ["pytest.skip()", "pytest.xfail()"]))
@pytest.mark.slow
def test_requests_before_a_skip_are_recorded(provider: Provider, tmp_path: Path, ends: str) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_x.py").write_text(f"""
import httpx2, pytest

def test_ends(aquila_cassette):
    assert httpx2.post({provider.streams + "/v1/completions"!r}, json={{"prompt": "whole"}}).is_success
    {ends}
""")
    for arguments in (["--aquila-record"], []):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    assert ends_in(tmp_path / "cassettes" / "test_x" / "test_ends.yaml") == rows_of_the_page()[SKIPS]


def test_a_failed_block_stores_finished_answers_as_pending(root: Path, provider: Provider) -> None:
    with pytest.raises(ZeroDivisionError), aquila.use_cassette("x", transport="record"):
        fail_in_mid_stream(provider)
    assert not (root / "x.yaml").exists()
    assert ends_in(root / "x.pending.yaml") == rows_of_the_page()["a test fails"]


@pytest.mark.slow
def test_a_killed_run_leaves_finished_answers_to_the_next(root: Path, provider: Provider, tmp_path: Path) -> None:
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
    interrupted_runs.recover_journals(root)
    assert ends_in(root / "x.yaml") == rows_of_the_page()["a run is interrupted or killed"]


@pytest.mark.slow
def test_a_killed_child_process_leaves_its_finished_answers(root: Path, provider: Provider) -> None:
    program = f"""
import httpx2
with httpx2.Client() as client:
    client.post({provider.streams + "/v1/completions"!r}, json={{"prompt": "whole"}})
    with client.stream("POST", {provider.streams + "/v1/completions"!r}, json={{"prompt": "silence"}}) as answer:
        for chunk in answer.iter_raw():
            print("a chunk", flush=True)
"""
    with (
        aquila.use_cassette("x", transport="record"),
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child,
    ):
        assert child.stdout is not None
        child.stdout.readline()
        child.kill()
    assert ends_in(root / "x.yaml") == rows_of_the_page()[CHILD_IS_KILLED]
