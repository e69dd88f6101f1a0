"""Mocks of other libraries below a client keep working in a cassette, and are not recorded."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import httpcore
import httpcore2
import httpx
import httpx2
import pytest
import requests
import vcr

import aquila
from tests.support.upstream import Upstream

URL = "https://api.openai.com/v1/chat/completions"
LIBRARIES = [(httpx, httpcore), (httpx2, httpcore2)]
IDS = ["httpx", "httpx2"]


@pytest.fixture
def recorded(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The cassettes that were recorded so far."""
    monkeypatch.setenv("AQUILA_TRANSPORT", "record")
    return lambda: [path.name for path in root.rglob("*.yaml")]


def answer_sync(core: Any) -> Callable[..., Any]:
    return lambda pool, request: core.Response(200, content=b'"mock"')


def answer_async(core: Any) -> Callable[..., Any]:
    async def handle(pool: Any, request: Any) -> Any:
        return core.Response(200, content=b'"mock"')

    return handle


@pytest.mark.parametrize(("library", "core"), LIBRARIES, ids=IDS)
@pytest.mark.parametrize("made_before", [True, False])
def test_a_mock_of_the_pool_answers(
    recorded: Callable[[], list[str]], library: Any, core: Any, made_before: bool
) -> None:
    client = library.Client() if made_before else None
    with aquila.use_cassette("x"), mock.patch.object(core.ConnectionPool, "handle_request", answer_sync(core)):
        client = client or library.Client()
        assert client.post(URL, json={}).json() == "mock"
    client.close()
    assert recorded() == []


@pytest.mark.parametrize(("library", "core"), LIBRARIES, ids=IDS)
def test_a_mock_of_the_asynchronous_pool_answers(recorded: Callable[[], list[str]], library: Any, core: Any) -> None:
    async def ask() -> Any:
        async with library.AsyncClient() as client:
            return (await client.post(URL, json={})).json()

    with (
        aquila.use_cassette("x"),
        mock.patch.object(core.AsyncConnectionPool, "handle_async_request", answer_async(core)),
    ):
        assert asyncio.run(ask()) == "mock"
    assert recorded() == []


@pytest.mark.parametrize(("library", "core"), LIBRARIES, ids=IDS)
def test_a_mock_of_one_pool_answers(recorded: Callable[[], list[str]], library: Any, core: Any) -> None:
    transport = library.HTTPTransport()
    transport._pool.handle_request = lambda request: core.Response(200, content=b'"mock"')
    with aquila.use_cassette("x"), library.Client(transport=transport) as client:
        assert client.post(URL, json={}).json() == "mock"
    assert recorded() == []


@pytest.mark.parametrize(("library", "core"), LIBRARIES, ids=IDS)
@pytest.mark.parametrize("inside", [True, False])
def test_a_mock_of_the_transport_answers(
    recorded: Callable[[], list[str]], library: Any, core: Any, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put() -> None:
        answer = functools.partial(library.Response, 200, content=b'"mock"')
        monkeypatch.setattr(library.HTTPTransport, "handle_request", lambda transport, request: answer())

    if not inside:
        put()
    with aquila.use_cassette("x"):
        if inside:
            put()
        assert library.post(URL, json={}).json() == "mock"
        monkeypatch.undo()
    assert recorded() == []


def test_what_wraps_the_pool_and_says_so_is_no_mock(
    recorded: Callable[[], list[str]], server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = httpcore.ConnectionPool.handle_request
    seen: list[Any] = []

    @functools.wraps(original)
    def trace(pool: Any, request: Any) -> Any:
        seen.append(request)
        return original(pool, request)

    monkeypatch.setattr(httpcore.ConnectionPool, "handle_request", trace)
    monkeypatch.setenv("AQUILA_LOOPBACK", "all")
    with aquila.use_cassette("x"):
        assert httpx.post(f"{server.url}/v1/chat/completions", json={}).status_code == 200
    assert len(seen) == 1
    assert recorded() == ["x.yaml"]


def test_a_cassette_of_vcrpy_within_one_of_aquila_answers(recorded: Callable[[], list[str]], tmp_path: Path) -> None:
    tmp_path.joinpath("theirs.yaml").write_text(
        json.dumps(
            {
                "version": 1,
                "interactions": [
                    {
                        "request": {"method": "POST", "uri": URL, "body": "{}", "headers": {}},
                        "response": {
                            "status": {"code": 200, "message": "OK"},
                            "headers": {},
                            "body": {"string": '"mock"'},
                        },
                    }
                ],
            }
        )
    )
    with aquila.use_cassette("x"), vcr.use_cassette(str(tmp_path / "theirs.yaml"), record_mode="none"):
        assert requests.post(URL, json={}, timeout=60).json() == "mock"
    assert recorded() == []
