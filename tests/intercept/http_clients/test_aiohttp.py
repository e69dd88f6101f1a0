"""aiohttp keeps all that is its own while a scope answers: redirects, cookies, limits, middlewares, cancellation."""

from __future__ import annotations

import asyncio
import gzip
import io
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import aquila
from aquila.cassettes.model import RecordedResponse
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import MissingDependency
from aquila.recording import runtime
from aquila.recording.reporting.exchange_watch import ExchangeWatch, WatchedExchange
from tests.support.accepting_server import SayingServer
from tests.support.alike import replayed_alike
from tests.support.limits import with_a_limit_in_time
from tests.support.upstream import Answer, Upstream

PATH = "/v1/chat/completions"


def stored_responses(root: Path) -> list[RecordedResponse]:
    return [stored.response for stored in load_cassette(root / "x.yaml").interactions]


def in_both(use: Callable[[aiohttp.ClientSession], Awaitable[Any]], **options: Any) -> Any:
    """What a program gets when it is recorded. A replay must give the same."""

    async def go() -> Any:
        async with aiohttp.ClientSession(**options) as session:
            return await use(session)

    return replayed_alike(lambda: asyncio.run(go()))


def test_a_reader_that_stops_waiting_misses_nothing(server: Upstream) -> None:
    go_on = threading.Event()
    server.script = lambda path, body: Answer(
        chunks=[b"one ", b"two"], before_chunk=lambda number: go_on.wait(60) if number else None
    )

    async def use(session: aiohttp.ClientSession) -> bytes:
        async with session.post(server.url + PATH) as answer:
            got = await answer.content.readany()
            if not go_on.is_set():
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(answer.content.readany(), 0.05)
                go_on.set()
            return got + await answer.read()

    assert in_both(use) == b"one two"


def test_a_program_that_waits_for_the_end_of_each_chunk_gets_every_one(server: Upstream) -> None:
    """The loop that aiohttp's documentation has."""
    server.script = lambda path, body: Answer(chunks=[b"one ", b"two"])

    async def use(session: aiohttp.ClientSession) -> list[bytes]:
        got, buffer = [], b""
        async with session.post(server.url + PATH) as answer:
            async for data, end_of_http_chunk in answer.content.iter_chunks():
                buffer += data
                if end_of_http_chunk:
                    got.append(buffer)
                    buffer = b""
        return got

    assert in_both(use) == [b"one ", b"two"]


@pytest.mark.parametrize("by", ["session", "request"])
def test_a_line_may_be_as_long_as_the_program_allows(server: Upstream, by: str) -> None:
    line, options = b"a" * 600_000 + b"\n", {"read_bufsize": 400_000}
    server.script = lambda path, body: Answer(chunks=[line[:500_000], line[500_000:], b"end"])

    async def use(session: aiohttp.ClientSession) -> list[int]:
        own: Any = options if by == "request" else {}
        async with session.post(server.url + PATH, **own) as answer:
            return [len(line) async for line in answer.content]

    assert in_both(use, **(options if by == "session" else {})) == [600_001, 3]


def test_a_body_that_nobody_reads_is_kept_if_it_has_arrived(root: Path) -> None:
    async def use(session: aiohttp.ClientSession) -> int:
        async with session.post(server.url + PATH) as answer:
            return answer.status

    with SayingServer(b'HTTP/1.1 400 Bad Request\r\ncontent-length: 12\r\n\r\n{"error": 1}') as server:
        assert in_both(use) == 400
    (kept,) = stored_responses(root)
    assert (kept.body, kept.end) == (b'{"error": 1}', "complete")


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_a_body_that_is_no_bytes_object_is_sent_and_compared(server: Upstream, kind: type) -> None:
    server.script = lambda path, body: Answer(chunks=[body])

    async def use(session: aiohttp.ClientSession) -> bytes:
        async with session.post(server.url + PATH, data=kind(b"a tern")) as answer:
            return await answer.read()

    assert in_both(use) == b"a tern"


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (KeyError("of the program"), aiohttp.ClientConnectionError),
        (OSError(5, "of the program"), aiohttp.ClientOSError),
        (TimeoutError("of the program"), TimeoutError),
    ],
)
def test_an_error_of_a_body_comes_as_without_a_cassette(
    server: Upstream, raised: Exception, expected: type[Exception]
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        raise raised

    async def ask() -> Exception:
        async with aiohttp.ClientSession() as session:
            with pytest.raises((aiohttp.ClientError, KeyError, OSError)) as caught:
                await session.post(server.url + PATH, data=pieces())
            return caught.value

    alone = asyncio.run(ask())
    for transport in ("record", "replay"):
        with aquila.use_cassette("x", transport=transport):
            found = asyncio.run(ask())
        assert type(found) is type(alone) is expected
        assert (found.__cause__ is raised) is (alone.__cause__ is raised)


def test_an_error_by_status_is_raised(server: Upstream) -> None:
    server.script = lambda path, body: Answer(503, chunks=[b"busy"])

    async def use(session: aiohttp.ClientSession) -> tuple[int, str]:
        with pytest.raises(aiohttp.ClientResponseError) as caught:
            await session.post(server.url + PATH)
        return caught.value.status, caught.value.message

    assert in_both(use, raise_for_status=True) == (503, "Service Unavailable")


def test_middlewares_of_the_program_see_the_answer(server: Upstream) -> None:
    server.script = lambda path, body: Answer()
    seen: list[int] = []

    async def watch(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        response = await handler(request)
        seen.append(response.status)
        return response

    async def use(session: aiohttp.ClientSession) -> Any:
        async with session.post(server.url + PATH) as first:
            await first.read()
        async with session.post(server.url + PATH, middlewares=()) as second:
            return await second.json()

    assert in_both(use, middlewares=(watch,)) == {}
    assert seen == [200, 200]


def test_bodies_that_are_read_once_are_sent_and_compared(server: Upstream) -> None:
    server.script = lambda path, body: Answer(chunks=[b"got ", body])

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async def use(session: aiohttp.ClientSession) -> list[bytes]:
        got = []
        async with session.post(server.url + PATH, data=pieces(), headers={"content-length": "7"}) as answer:
            got.append(await answer.read())
        for data in (io.BytesIO(b"a file"), "text"):
            async with session.post(server.url + PATH, data=data) as answer:
                got.append(await answer.read())
        return got

    assert in_both(use) == [b"got one two", b"got a file", b"got text"]


@pytest.mark.parametrize(
    ("limit", "raised", "kept"),
    [("sock_read", aiohttp.SocketTimeoutError, "ReadTimeout"), ("total", TimeoutError, "TimeoutException")],
)
def test_a_limit_of_the_client_is_its_own_error_also_when_replayed(
    server: Upstream, root: Path, limit: str, raised: type[Exception], kept: str
) -> None:
    over = threading.Event()
    server.script = lambda path, body: Answer(
        chunks=[b"one", b"two"], before_chunk=lambda number: over.wait(60) if number else None
    )

    async def use(session: aiohttp.ClientSession) -> tuple[bytes, type[Exception]]:
        got = b""
        with pytest.raises(TimeoutError) as caught:
            async with session.post(server.url + PATH) as answer:
                async for piece in answer.content.iter_any():
                    got += piece
        return got, caught.type

    def scenario(seconds: float) -> None:
        shutil.rmtree(root, ignore_errors=True)
        # The limit of the whole request is no error of aiohttp's: a program that catches ClientError does not catch it.
        assert in_both(use, timeout=aiohttp.ClientTimeout(**{limit: seconds})) == (b"one", raised)
        assert [(response.end, response.error.partition(":")[0]) for response in stored_responses(root)] == [
            ("broken", kept)
        ]

    try:
        with_a_limit_in_time(scenario, 0.3)
    finally:
        over.set()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(Answer(chunks=[b"sold"]), b"sold"), (Answer(204, {"content-encoding": "gzip"}, chunks=[], breaks=True), b"")],
    ids=["a body", "none of any coding"],
)
def test_a_redirect_leads_out_of_what_a_scope_answers(server: Upstream, answer: Answer, expected: bytes) -> None:
    def script(path: str, body: bytes) -> Answer:
        return Answer(307, headers={"location": "/shop"}) if path == PATH else answer

    server.script = script

    async def use(session: aiohttp.ClientSession) -> tuple[bytes, int]:
        async with session.post(server.url + PATH, data=b"{}") as answer:
            return await answer.read(), len(answer.history)

    assert in_both(use) == (expected, 1)
    assert [path for path, _ in server.requests] == [PATH, "/shop", "/shop"]


def test_answers_without_a_body_are_complete(server: Upstream, root: Path) -> None:
    async def use(session: aiohttp.ClientSession) -> list[tuple[int, bytes]]:
        found = []
        for _ in range(2):  # aiohttp has one reader for all of them, which knows only once that nothing comes
            async with session.head(server.url + PATH) as answer:
                found.append((answer.status, await answer.read()))
        return found

    in_both(use)
    assert [response.end for response in stored_responses(root)] == ["complete"] * 2


def test_a_report_changes_nothing_of_a_live_answer(server: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {"content-type": "application/json", "content-encoding": "gzip"}
    server.script = lambda path, body: Answer(200, fields, chunks=[gzip.compress(b'{"said": "hello"}')])
    noted: list[WatchedExchange] = []
    watch = ExchangeWatch(lambda several, *_: noted.extend(several), lambda told: None)
    monkeypatch.setattr(runtime.current_run(), "exchange_watch", watch)

    async def go() -> Any:
        async with aiohttp.ClientSession() as session, session.post(server.url + PATH) as answer:
            return await answer.json()

    with aquila.use_cassette("x", transport="live", providers=server.url.partition("//")[2]):
        assert asyncio.run(go()) == {"said": "hello"}
    watch.end_test()
    (exchange,) = noted
    assert exchange.response is not None
    assert exchange.response.body == b'{"said": "hello"}'


def test_an_aiohttp_without_middlewares_says_what_to_install_where_its_sockets_are_not_redirected(
    server: Upstream,
) -> None:
    async def go() -> None:
        async with aiohttp.ClientSession() as session:
            del session._middlewares  # which aiohttp has since 3.12
            await session.post(server.url + PATH)

    with aquila.use_cassette("x", transport="record"), pytest.raises(MissingDependency) as caught:
        asyncio.run(go())
    assert str(caught.value).endswith(
        "a cassette, but for a provider in a test run, needs the package 'aiohttp' in version 3.12.2 or newer, and "
        f"{aiohttp.__version__} is installed; install it with: pip install 'aiohttp>=3.12.2'"
    )
    assert not server.requests
