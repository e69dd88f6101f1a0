"""A request that filters keep out of cassettes goes its own way, whichever client makes it, and past the guard."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable

import aiohttp
import httpx
import httpx2
import pytest
import requests

import aquila
from aquila.cassettes.model import RecordedRequest
from aquila.recording.scope import current_scope
from aquila.recording.sessions.filters import Filters
from tests.support.guarded import GuardedRun
from tests.support.upstream import Answer, Upstream

TEXT = b"not recorded " * 50


def by_httpx_async(url: str) -> bytes:
    async def get() -> bytes:
        async with httpx.AsyncClient() as client:
            return (await client.get(url)).content

    return asyncio.run(get())


def by_aiohttp(url: str) -> bytes:
    async def get() -> bytes:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return await answer.read()

    return asyncio.run(get())


WAYS: dict[str, Callable[[str], bytes]] = {
    "httpx2": lambda url: httpx2.get(url).content,
    "httpx": lambda url: httpx.get(url).content,
    "httpx-async": by_httpx_async,
    "requests": lambda url: requests.get(url, timeout=60).content,
    "aiohttp": by_aiohttp,
}


def pass_token(request: RecordedRequest) -> RecordedRequest | None:
    return None if "/token" in request.url else request


@pytest.mark.parametrize("transport", ["replay", "record"])
@pytest.mark.parametrize("way", WAYS)
def test_it_is_answered_by_the_network_and_not_recorded(way: str, transport: str, server: Upstream) -> None:
    packed = {"content-type": "text/plain", "content-encoding": "gzip"}
    server.script = lambda path, body: Answer(200, packed, [gzip.compress(TEXT)])
    for count in (1, 2):
        with aquila.use_cassette("x", transport=transport, loopback="all") as cassette:
            scope = current_scope()
            assert scope is not None
            scope.use_filters(Filters(change_request=pass_token))
            assert WAYS[way](f"{server.url}/token?x=1") == TEXT
            assert not cassette.misses
            assert (cassette.play_count, cassette.record_count) == (0, 0)
        assert len(server.requests) == count


def test_the_guard_refuses_it_like_a_request_that_no_cassette_answers(run: GuardedRun, provider: Upstream) -> None:
    result = run(
        """
        import httpx, requests
        from aquila.errors import LiveCallRefused
        from aquila.recording.sessions.filters import Filters
        from aquila.recording.scope import current_scope

        @pytest.mark.parametrize("get", [httpx.get, requests.get])
        def test_it(get, aquila_cassette, aquila_refusals):
            current_scope().use_filters(Filters(change_request=lambda request: None))
            with pytest.raises(LiveCallRefused, match="GET http://.* was refused: nothing in this run asks"):
                get(URL)
            aquila_refusals.forget()
            current_scope().let_through(lambda host: host == HOST, "")
            assert get(URL).status_code == 200
        """
    )
    result.assert_outcomes(passed=2)
    assert len(provider.requests) == 2


def test_the_guard_refuses_a_handshake_that_filters_keep_out(run: GuardedRun) -> None:
    result = run(
        """
        from websockets.sync.client import connect
        from aquila.errors import LiveCallRefused
        from aquila.recording.sessions.filters import Filters
        from aquila.recording.scope import current_scope

        def test_it(aquila_cassette, aquila_refusals):
            current_scope().use_filters(Filters(change_request=lambda request: None))
            with pytest.raises(LiveCallRefused, match="GET wss://.* was refused: nothing in this run asks"):
                connect("wss://llm.corp.example/v1/realtime")
            aquila_refusals.forget()
        """
    )
    result.assert_outcomes(passed=1)
