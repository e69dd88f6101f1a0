"""A request that its client refuses to send fails in the same way with a cassette: nothing is recorded or missed."""

from __future__ import annotations

import asyncio
import http.client
import os
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
import requests
import urllib3

import aquila
from tests.support.alike import replayed_alike
from tests.support.upstream import Answer, Upstream, upstream

PATH = "/v1/models"


def by_http_client(url: str, target: str = PATH, method: str = "GET", **fields: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request(method, target, headers=fields)
    connection.getresponse()


def by_steps_of_http_client(url: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.putrequest("GET", PATH)
    connection.putheader("x-team", "a\nb")
    connection.endheaders()


def by_aiohttp(url: str) -> None:
    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            await session.get(url + PATH, headers={"x-team": "a\nb"})

    asyncio.run(ask())


UNSENDABLE: dict[str, Callable[[str], object]] = {
    "an address that is not ASCII, by urllib": lambda url: urllib.request.urlopen(f"{url}{PATH}/ü"),
    "an address that is not ASCII, by http.client": lambda url: by_http_client(url, f"{PATH}/ü"),
    "a method with the end of its line": lambda url: by_http_client(url, method="GET\n"),
    "a name with a colon": lambda url: by_http_client(url, **{"x-team:": "a"}),
    "a value of two lines": lambda url: by_http_client(url, **{"x-team": "a\nb"}),
    "a value of two lines, step by step": by_steps_of_http_client,
    "a value of two lines, by urllib3": lambda url: urllib3.request("GET", url + PATH, headers={"x-team": "a\nb"}),
    "a method of two words, by urllib3": lambda url: urllib3.request("GET IT", url + PATH),
    "a value that is not Latin-1, by requests": lambda url: requests.get(
        url + PATH, headers={"x-team": "€"}, timeout=60
    ),
    "a value of two lines, by aiohttp": by_aiohttp,
    "no value, by urllib": lambda url: urllib.request.urlopen(
        urllib.request.Request(url + PATH, headers={"x-team": os.environ.get("NO_SUCH")})  # type: ignore[dict-item]
    ),
    "no value, by urllib3": lambda url: urllib3.request("GET", url + PATH, headers={"x-team": None}),  # type: ignore[dict-item]
}


def fail(send: Callable[[str], object], url: str) -> str:
    with pytest.raises((ValueError, TypeError, http.client.InvalidURL)) as raised:
        send(url)
    return repr(raised.value)


@pytest.mark.parametrize("send", UNSENDABLE.values(), ids=UNSENDABLE)
def test_it_fails_as_without_a_cassette_and_is_not_recorded(
    send: Callable[[str], object], server: Upstream, root: Path
) -> None:
    alone = fail(send, server.url)
    with aquila.use_cassette("x", transport="record"):
        assert fail(send, server.url) == alone
    assert not list(root.rglob("*.yaml"))
    with aquila.use_cassette("x", transport="replay"):
        assert fail(send, server.url) == alone
    assert server.requests == []


@pytest.mark.parametrize("value", ["Grüße", "a\tb"])
def test_an_unusual_value_that_its_client_sends_is_sent(value: str, server: Upstream) -> None:
    def ask() -> int:
        return requests.get(server.url + PATH, headers={"x-team": value}, timeout=60).status_code

    assert replayed_alike(ask) == 200
    assert len(server.requests) == 1


def test_a_replay_connects_nowhere_to_check_the_fields_of_a_body_in_chunks(root: Path) -> None:
    def ask(url: str) -> int:
        pieces = iter([b"a", b"b"])
        return requests.post(url + PATH, data=pieces, headers={"x-team": "Grüße"}, timeout=60).status_code

    with upstream(lambda path, body: Answer()) as server, aquila.use_cassette("x", transport="record"):
        assert ask(server.url) == 200
    with aquila.use_cassette("x"):  # the server is gone
        assert ask(server.url) == 200
