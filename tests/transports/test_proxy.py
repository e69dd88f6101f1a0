"""What `aquila serve` passes on between a client and an upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from aquila.errors import ConfigError
from aquila.recording.scope import Scope
from aquila.recording.sessions.filters import Filters
from aquila.transports.callers.proxy import FailureReplayed, Proxy, UpstreamFailed
from tests.support.runs import name_upstream

# RFC 9110, 7.6.1, and what the next hop says by itself.
OF_ONE_CONNECTION = (
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
)


class Echo(httpx2.AsyncBaseTransport):
    """Keeps the headers of the last request, and answers with headers of one connection."""

    def __init__(self, headers: list[tuple[str, str]]) -> None:
        self.answered = headers
        self.received: dict[str, str] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.received = dict(request.headers)
        response = httpx2.Response(200)
        response.headers = httpx2.Headers(self.answered)
        return response


@pytest.mark.parametrize("spell", [str.lower, str.title, str.upper])
@pytest.mark.parametrize("name", OF_ONE_CONNECTION)
def test_headers_of_one_connection_are_not_passed_on(name: str, spell: Callable[[str], str], root: Path) -> None:
    echo = Echo([(spell(name), "theirs"), ("X-Request-Id", "1")])
    name_upstream("echo", echo)
    proxy = Proxy(lambda: Scope(kind="block", options={"transport": "live"}), upstream="echo")
    answer = asyncio.run(proxy.answer_request("POST", "/v1/models", [(spell(name), "ours"), ("Accept", "a/b")], b""))
    assert echo.received.get(name) != "ours"
    assert echo.received["accept"] == "a/b"
    assert answer.headers == [("x-request-id", "1")]


class Silent(httpx2.AsyncBaseTransport):
    """Fails as asynchronous connections do that are reset: the error has no text."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadError("")


def test_a_failure_without_a_text_is_explained(root: Path) -> None:
    name_upstream("silent", Silent())
    proxy = Proxy(lambda: Scope(kind="block", options={"transport": "live"}), upstream="silent")
    with pytest.raises(UpstreamFailed, match=r"^ReadError: no answer$"):
        asyncio.run(proxy.answer_request("POST", "/v1/models", [], b""))


def test_the_upstream_is_asked_what_filters_keep_out_of_the_cassette(root: Path) -> None:
    name_upstream("silent", Silent())
    scope = Scope(kind="block", options={"guard": "off", "transport": "replay"})
    scope.use_filters(Filters(change_request=lambda request: None))
    proxy = Proxy(lambda: scope, upstream="silent")
    with pytest.raises(UpstreamFailed, match=r"^ReadError: ") as failed:
        asyncio.run(proxy.answer_request("POST", "/v1/models", [], b"", cassette="x"))
    assert not isinstance(failed.value, FailureReplayed)


@pytest.mark.parametrize(
    ("upstream", "advised"),
    [
        ("localhost:11434", "write http://localhost:11434"),
        ("[::1]:11434/v1", r"write http://\[::1\]:11434/v1"),
        ("models:8080", "write http://models:8080"),
        ("api.groq.com/openai/v1", "write https://api.groq.com/openai/v1"),
        ("api.groq.com", "write https://api.groq.com$"),
        ("json.tool.main", "write https://json.tool.main, or json.tool:main for a transport of yours$"),
        ("livve", "did you mean 'live'"),
        ("no_such_package.module:make", "cannot import 'no_such_package.module'"),
    ],
)
def test_an_upstream_that_lacks_its_scheme_is_refused_with_what_to_write(upstream: str, advised: str) -> None:
    with pytest.raises(ConfigError, match=advised):
        Proxy(lambda: Scope(kind="block"), upstream=upstream)
