"""A caller that stops waiting: what came is recorded, and a replay is silent behind it, as the provider was."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import openai
import pytest

import aquila
from aquila.cassettes.model import Cassette
from aquila.cassettes.storage.cassette_files import load_cassette, save_cassette
from aquila.errors import CassetteMiss, RequestTimeout, SessionClosed, StreamClosed
from aquila.recording.storing.recorder import ScopeRecording
from aquila.transports.record import _AnswerRecorder
from tests.support.limits import with_a_limit_in_time
from tests.support.silent_provider import Silent
from tests.support.slow import slow_but
from tests.support.upstream import Answer, streamed, upstream

LIMIT = 0.2
"""The seconds that the program of a test waits for what never comes; on a slow machine more."""


@functools.cache
def warm_clients() -> None:
    """Load what the first request of a process loads: the programs here limit their time."""
    with (
        upstream(lambda path, body: streamed("one")) as server,
        aquila.use_cassette("warm", transport="record"),
    ):
        url = f"{server.url}/v1"
        stream_within(url, 60.0)
        anyio.run(ask_within_async, url, 60.0)
        read_on(url)
        for program in (limit_with_anyio, limit_httpx_with_asyncio, limit_openai_with_asyncio):
            with contextlib.suppress(TimeoutError, IndexError):
                anyio.run(program, url, [], 60.0)


@pytest.fixture
def provider(root: Path) -> Iterator[Silent]:
    warm_clients()
    with upstream(lambda path, body: Answer()) as server:
        silent = Silent(server, chunks=2)
        try:
            yield silent
        finally:
            silent.goes_on.set()


BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}


async def read_async(url: str, seen: list[bytes]) -> None:
    async with (
        httpx2.AsyncClient() as client,
        client.stream("POST", f"{url}/chat/completions", json=BODY, timeout=60) as answer,
    ):
        async for chunk in answer.aiter_raw():
            seen.append(chunk)


async def cancel_a_task(url: str, seen: list[bytes], limit: float) -> None:
    task = asyncio.create_task(read_async(url, seen))
    await asyncio.sleep(limit)
    task.cancel()
    await task


async def limit_with_asyncio(url: str, seen: list[bytes], limit: float) -> None:
    async with asyncio.timeout(limit):
        await read_async(url, seen)


async def limit_with_anyio(url: str, seen: list[bytes], limit: float) -> None:
    with anyio.fail_after(limit):
        await read_async(url, seen)


async def limit_httpx_with_asyncio(url: str, seen: list[bytes], limit: float) -> None:
    async with (
        asyncio.timeout(limit),
        httpx.AsyncClient() as client,
        client.stream("POST", f"{url}/chat/completions", json=BODY, timeout=60) as answer,
    ):
        async for chunk in answer.aiter_raw():
            seen.append(chunk)


async def limit_openai_with_asyncio(url: str, seen: list[bytes], limit: float) -> None:
    async with asyncio.timeout(limit), openai.AsyncOpenAI(api_key="-", base_url=url) as client:
        create: Any = client.chat.completions.create
        async for chunk in await create(**BODY):
            seen.append(str(chunk.choices[0].delta.content).encode())


PROGRAMS: dict[str, Callable[[str, list[bytes], float], Any]] = {
    "a cancelled task": cancel_a_task,
    "asyncio.timeout": limit_with_asyncio,
    "anyio.fail_after": limit_with_anyio,
    "anyio.fail_after under trio": limit_with_anyio,
    "asyncio.timeout around httpx": limit_httpx_with_asyncio,
    "asyncio.timeout around openai": limit_openai_with_asyncio,
}


def end_of(program: str, url: str, limit: float) -> tuple[type[BaseException], list[bytes]]:
    """Run a program; return how it ended and what it had read by then."""
    seen: list[bytes] = []
    try:
        anyio.run(PROGRAMS[program], url, seen, limit, backend="trio" if program.endswith("trio") else "asyncio")
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever ended it
        return type(error), seen
    raise AssertionError("the program was not ended")


def in_time(root: Path, provider: Silent, scenario: Callable[[float], None]) -> None:
    """Run a scenario with a limit that strikes when the provider has fallen silent."""

    def begin_anew(limit: float) -> None:
        shutil.rmtree(root, ignore_errors=True)
        provider.server.requests.clear()
        provider.goes_on.clear()
        scenario(limit)

    with_a_limit_in_time(begin_anew, LIMIT)


def the_end(root: Path) -> str:
    (stored,) = load_cassette(root / "x.yaml").interactions
    return stored.response.end


@pytest.mark.parametrize("says_nothing", [False, True], ids=["after two chunks", "before the answer"])
@pytest.mark.parametrize("program", slow_but(["a cancelled task"], PROGRAMS))
def test_a_limit_of_the_program_ends_the_replay_as_it_ended_the_recording(
    root: Path, provider: Silent, program: str, says_nothing: bool
) -> None:
    provider.says_nothing = says_nothing

    def scenario(limit: float) -> None:
        with aquila.use_cassette("x", transport="record"):
            recorded = end_of(program, provider.url, limit)
        assert len(recorded[1]) == (0 if says_nothing else 2)
        assert the_end(root) == "silent"
        with aquila.use_cassette("x", transport="replay") as cassette:
            assert end_of(program, provider.url, limit) == recorded
            assert not cassette.misses
        assert len(provider.server.requests) == 1

    in_time(root, provider, scenario)


@pytest.mark.anyio
@pytest.mark.parametrize("library", [httpx, httpx2])
async def test_an_async_client_that_fails_by_itself_has_not_stopped_waiting(
    root: Path, provider: Silent, library: Any
) -> None:
    async def fail(event: str, told: dict[str, Any]) -> None:
        raise RuntimeError("Event loop is closed")

    with aquila.use_cassette("x", transport="record") as cassette:
        async with library.AsyncClient() as client:
            with pytest.raises(RuntimeError, match="closed"):
                await client.post(f"{provider.url}/chat/completions", json=BODY, extensions={"trace": fail})
        assert cassette.record_count == 0


def record_silence(root: Path, provider: Silent) -> None:
    def scenario(limit: float) -> None:
        with aquila.use_cassette("x", transport="record"):
            _, seen = end_of("asyncio.timeout", provider.url, limit)
        assert len(seen) == (0 if provider.says_nothing else 2)
        assert the_end(root) == "silent"

    in_time(root, provider, scenario)


def read_on(url: str, **options: Any) -> None:
    with httpx2.Client(**options) as client, client.stream("POST", f"{url}/chat/completions", json=BODY) as answer:
        for _ in answer.iter_raw():
            pass


@pytest.mark.parametrize("says_nothing", [False, True])
def test_a_program_that_waits_longer_than_recorded_misses_and_never_hangs(
    root: Path, provider: Silent, says_nothing: bool
) -> None:
    provider.says_nothing = says_nothing
    record_silence(root, provider)
    with aquila.use_cassette("x", transport="replay", silence=0.1) as cassette:
        with pytest.raises(CassetteMiss, match=r"stopped waiting after [0-9.]+ s; now it has waited for [0-9.]+ s"):
            read_on(provider.url, timeout=None)
        assert len(cassette.misses) == 1
        cassette.forget_misses()


@pytest.mark.parametrize("says_nothing", [False, True])
def test_the_clients_own_limit_strikes_at_once_if_the_recorded_wait_had_reached_it(
    root: Path, provider: Silent, says_nothing: bool
) -> None:
    provider.says_nothing = says_nothing
    record_silence(root, provider)
    (stored,) = load_cassette(root / "x.yaml").interactions
    with aquila.use_cassette("x", transport="replay", silence=60):
        with pytest.raises(httpx2.ReadTimeout):
            read_on(provider.url, timeout=0.01)
        assert stored.response.ended >= 10


def test_a_read_after_the_caller_had_left_between_two_reads_is_a_miss_and_counts(root: Path, provider: Silent) -> None:
    provider.goes_on.set()
    url = f"{provider.url}/chat/completions"
    with (
        aquila.use_cassette("x", transport="record"),
        httpx2.Client() as client,
        client.stream("POST", url, json=BODY) as answer,
    ):
        next(answer.iter_raw())
    assert the_end(root) == "closed"
    with aquila.use_cassette("x", transport="replay", silence=60) as cassette:
        with contextlib.suppress(BaseException):  # as a program does that swallows it
            read_on(provider.url)
        assert len(cassette.misses) == 1
        cassette.forget_misses()


def close_from_another_thread(provider: Silent, limit: float) -> tuple[list[bytes], type[BaseException] | None]:
    seen: list[bytes] = []
    url = f"{provider.url}/chat/completions"
    with httpx2.Client(timeout=60) as client, client.stream("POST", url, json=BODY) as answer:

        def close() -> None:
            answer.close()
            provider.goes_on.set()  # closing a socket does not wake its reader

        timer = threading.Timer(limit, close)
        try:
            for chunk in answer.iter_raw():
                seen.append(chunk)
                if len(seen) == 2:
                    timer.start()
        except httpx2.HTTPError as error:
            return seen, type(error)
        finally:
            timer.join()
    return seen, None


def test_a_replay_is_ended_by_another_thread_that_closes_it(root: Path, provider: Silent) -> None:
    def scenario(limit: float) -> None:
        with aquila.use_cassette("x", transport="record"):
            recorded, _ = close_from_another_thread(provider, limit)
        assert the_end(root) == "silent"
        with aquila.use_cassette("x", transport="replay", silence=60):
            assert close_from_another_thread(provider, limit) == (recorded[:2], httpx2.ReadError)

    in_time(root, provider, scenario)


def close_a_stream(url: str, limit: float) -> tuple[str, type[BaseException]]:
    stream = aquila.stream("hi", base_url=url, endpoint="chat", api_key="-", timeout=60)
    timer = threading.Timer(limit, stream.close)
    text = ""
    with stream:
        try:
            for event in stream:
                if isinstance(event, aquila.Chunk):
                    text += event.text
                    timer.start()
        except StreamClosed as error:
            return text, type(error)
        finally:
            timer.join()
    raise AssertionError(f"not closed: {text!r}")


def test_a_stream_of_aquila_that_another_thread_closes_is_closed_so_in_a_replay(root: Path, provider: Silent) -> None:
    def scenario(limit: float) -> None:
        with aquila.use_cassette("x", transport="record"):
            recorded = close_a_stream(provider.url, limit)
        assert the_end(root) == "silent"
        with aquila.use_cassette("x", transport="replay", silence=60):
            assert close_a_stream(provider.url, limit) == recorded

    in_time(root, provider, scenario)


def ask_within(url: str, seconds: float) -> str:
    try:
        limits = aquila.Timeouts(total=seconds)
        return aquila.ask("hi", base_url=url, endpoint="chat", api_key="-", timeout=limits, max_retries=2).text
    except RequestTimeout as error:
        return str(error)


async def ask_within_async(url: str, seconds: float) -> str:
    try:
        limits = aquila.Timeouts(total=seconds)
        answer = await aquila.aask("hi", base_url=url, endpoint="chat", api_key="-", timeout=limits, max_retries=2)
        return answer.text
    except RequestTimeout as error:
        return str(error)


def stream_within(url: str, seconds: float, busy: float = 0) -> str:
    """Read a stream. The program is busy for so many seconds after each event."""
    limits = aquila.Timeouts(total=seconds)
    try:
        with aquila.stream("hi", base_url=url, endpoint="chat", api_key="-", timeout=limits) as stream:
            for _ in stream:
                time.sleep(busy)
    except RequestTimeout as error:
        return str(error)
    return "whole"


@pytest.mark.parametrize("says_nothing", slow_but([False], [False, True]))
@pytest.mark.parametrize(
    "ask",
    [ask_within, lambda url, seconds: anyio.run(ask_within_async, url, seconds), stream_within],
    ids=["ask", "aask", "stream"],
)
def test_the_total_time_of_a_call_strikes_at_once(
    root: Path, provider: Silent, ask: Callable[[str, float], str], says_nothing: bool
) -> None:
    provider.says_nothing = says_nothing

    def scenario(limit: float) -> None:
        with aquila.use_cassette("x", transport="record"):
            recorded = ask(provider.url, limit)
        assert "total" in recorded
        (stored,) = load_cassette(root / "x.yaml").interactions
        assert (stored.response.end, stored.response.error) == ("silent", f"TimeLimit: total, {limit} s")
        # A recording that says that it took an hour: whoever waited for that would not come back.
        hour = replace(stored, response=replace(stored.response, ended=3_600_000))
        save_cassette(root / "x.yaml", Cassette((hour,)))
        with aquila.use_cassette("x", transport="replay", silence=3600) as cassette:
            assert ask(provider.url, limit) == recorded
            assert not cassette.misses

    in_time(root, provider, scenario)


async def stream_within_async(url: str, seconds: float, busy: float) -> str:
    limits = aquila.Timeouts(total=seconds)
    try:
        async with aquila.astream("hi", base_url=url, endpoint="chat", api_key="-", timeout=limits) as stream:
            async for _ in stream:
                await anyio.sleep(busy)
    except RequestTimeout as error:
        return str(error)
    return "whole"


@pytest.mark.parametrize(
    "stream",
    [stream_within, lambda *arguments: anyio.run(stream_within_async, *arguments)],
    ids=["stream", "astream"],
)
def test_the_total_time_of_a_call_that_is_over_between_two_reads_strikes_in_a_replay(
    root: Path, provider: Silent, stream: Callable[[str, float, float], str]
) -> None:
    def scenario(limit: float) -> None:
        with aquila.use_cassette("x", transport="record"):
            recorded = stream(provider.url, limit, limit)
        assert "total" in recorded
        assert the_end(root) == "silent"
        with aquila.use_cassette("x", transport="replay", silence=3600) as cassette:
            assert stream(provider.url, limit, 0) == recorded
            assert not cassette.misses

    in_time(root, provider, scenario)


def test_a_reader_that_outlives_its_cassette_is_told(root: Path, provider: Silent) -> None:
    record_silence(root, provider)
    errors: list[BaseException] = []
    reading = threading.Event()

    def read() -> None:
        try:
            with (
                httpx2.Client(timeout=None) as client,
                client.stream("POST", f"{provider.url}/chat/completions", json=BODY) as answer,
            ):
                for _ in answer.iter_raw():
                    reading.set()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            errors.append(error)

    reader = threading.Thread(target=read)
    with aquila.use_cassette("x", transport="replay", silence=600):
        reader.start()
        assert reading.wait(60)
    reader.join(60)
    assert [type(error) for error in errors] == [SessionClosed]


def test_a_cassette_waits_for_an_answer_that_another_thread_is_storing(
    root: Path, provider: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.goes_on.set()
    storing, goes_on = threading.Event(), threading.Event()
    errors: list[Exception] = []
    store, abandon = ScopeRecording.store_interaction, _AnswerRecorder.abandon

    def store_when_told(*arguments: Any, **options: Any) -> None:
        storing.set()
        assert goes_on.wait(60)
        store(*arguments, **options)

    def abandon_again(self: _AnswerRecorder, *, left_open: bool) -> None:
        if storing.is_set():
            goes_on.set()  # the cassette asks for what is not stored yet
        abandon(self, left_open=left_open)

    def close() -> None:
        try:
            answer.close()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            errors.append(error)

    monkeypatch.setattr(ScopeRecording, "store_interaction", store_when_told)
    monkeypatch.setattr(_AnswerRecorder, "abandon", abandon_again)
    closer = threading.Thread(target=close)
    with aquila.use_cassette("x", transport="record"), httpx2.Client() as client:
        answer = client.send(client.build_request("POST", f"{provider.url}/chat/completions", json=BODY), stream=True)
        chunks = answer.iter_raw()  # kept: a dropped one closes the answer
        next(chunks)
        closer.start()
        assert storing.wait(60)
    goes_on.set()
    closer.join()
    assert not errors
    assert the_end(root) == "closed"
