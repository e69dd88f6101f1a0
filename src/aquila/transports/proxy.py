"""Answers for requests that came in over HTTP: what `aquila serve` does behind its door.

The server hands over a request in plain terms and gets an answer in plain terms. The upstream is fixed when the
``Proxy`` is made: no request chooses where it is sent.
"""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from aquila.config import DUMMY_KEY, Settings
from aquila.errors import ConfigError
from aquila.recording.scope import Scope
from aquila.transports.record import AsyncRecordedStream
from aquila.transports.replay import AsyncReplayStream
from aquila.transports.routes import Route
from aquila.transports.scope_routes import open_route_async
from aquila.transports.upstreams import Upstream, find_upstream

Headers = list[tuple[str, str]]
LIVE_UPSTREAM = "https://api.openai.com"

# What concerns one connection alone (RFC 9110, 7.6.1), and what the next hop says by itself.
_HOP_BY_HOP = frozenset(
    {
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
    }
)
CREDENTIALS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
"""The header fields in which clients send their API key."""


class UpstreamFailed(Exception):
    """The upstream could not be reached, or broke off."""


class KeyWithheld(Exception):
    """A request without a key of its own would have to be sent, for a client that may not use the server's."""


class _WithholdingTransport(httpx2.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        raise KeyWithheld


_WITHHOLDING = Upstream("key withheld", make_async=_WithholdingTransport)
"""The upstream of requests that may be replayed, and not sent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose chunks are still to come. ``close`` must be awaited however far they were read."""

    status: int
    headers: Headers
    origin: str
    """Where it comes from: ``replayed``, ``recorded`` (it will be, chunk by chunk), or ``passed on``."""
    chunks: Callable[[], AsyncIterator[bytes]]
    close: Callable[[], Awaitable[None]]


class Proxy:
    """Answers from cassettes, or from the upstream into cassettes.

    ``scope`` gives the scope that counts plays; ``upstream`` is the URL that takes the place of the server's own, or a
    transport's name (``local``, ``module:factory``) that answers instead; ``key`` is the server's own API key.
    Raises ``ConfigError`` for an upstream that is neither, and ``UnknownTransport``.
    """

    def __init__(self, scope: Callable[[], Scope], *, upstream: str | None = None, key: str | None = None) -> None:
        self._scope = scope
        self._key = key
        self._base, self._upstream = _resolve_upstream(upstream or LIVE_UPSTREAM)

    @property
    def base(self) -> str:
        """The URL that takes the place of the server's own, without a slash at its end."""
        return self._base

    @property
    def settings(self) -> Settings:
        """The settings of the scope that answers now."""
        return self._scope().settings

    async def answer_request(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        *,
        cassette: str | None = None,
        may_use_key: bool = False,
    ) -> Answer:
        """Answer a request. ``target`` is its path with its query, ``cassette`` overrules the scope's default.

        ``may_use_key`` puts the server's key in the place of a dummy key. Raises ``CassetteMiss`` and whatever opening
        a cassette raises, ``ConfigError`` without a cassette, ``UpstreamFailed``, and ``KeyWithheld``.
        """
        sent = [
            (name, value)
            for name, value in headers
            if name.lower() not in _HOP_BY_HOP and not name.lower().startswith("x-aquila-")
        ]
        upstream = self._upstream
        if self._key is not None and upstream.needs_key and any(_is_dummy_credential(*field) for field in sent):
            if may_use_key:
                sent = [self._with_own_key(*field) for field in sent]
            else:
                upstream = _WITHHOLDING
        route = await self._find_route(cassette, upstream)
        request = httpx2.Request(method, self._base + target, headers=sent, content=body)
        try:
            response = await route.answer_async(request)
        except httpx2.TransportError as error:
            raise UpstreamFailed(f"{type(error).__name__}: {error or 'no answer'}") from error
        returned = [(name, value) for name, value in response.headers.multi_items() if name.lower() not in _HOP_BY_HOP]
        chunks = functools.partial(_iterate_chunks, response)
        return Answer(response.status_code, returned, _origin_of(response), chunks, response.aclose)

    async def _find_route(self, cassette: str | None, upstream: Upstream) -> Route:
        scope = self._scope()
        settings = scope.settings
        name = cassette or scope.default_cassette
        route = await open_route_async(settings.transport, scope, settings, name, lambda _: upstream)
        if route is None:
            raise ConfigError(
                "no cassette for this request: start the server with --cassette NAME, send the header "
                "x-aquila-cassette: NAME, or put /@NAME before the path"
            )
        return route

    def _with_own_key(self, name: str, value: str) -> tuple[str, str]:
        if self._key is None or not _is_dummy_credential(name, value):
            return name, value
        return name, split_credential(value)[0] + self._key


def split_credential(value: str) -> tuple[str, str]:
    """Split the value of a header field with an API key into what stands before the key (``Bearer ``) and the key."""
    found = re.match(r"(?i:bearer)\s+", value)
    return (found[0], value[found.end() :].strip()) if found else ("", value.strip())


def _is_dummy_credential(name: str, value: str) -> bool:
    # Some clients want a beginning of their provider's: `hf_` and the dummy.
    return name.lower() in CREDENTIALS and split_credential(value)[1].endswith(DUMMY_KEY)


def _origin_of(response: httpx2.Response) -> str:
    if isinstance(response.stream, AsyncReplayStream):
        return "replayed"
    return "recorded" if isinstance(response.stream, AsyncRecordedStream) else "passed on"


async def _iterate_chunks(response: httpx2.Response) -> AsyncIterator[bytes]:
    stream: Any = response.stream
    try:
        async for chunk in stream:
            yield chunk
    except httpx2.RequestError as error:  # of the network, or of a body that is not what its coding says
        raise UpstreamFailed(f"{type(error).__name__}: {error}") from error


def _resolve_upstream(upstream: str) -> tuple[str, Upstream]:
    """The base of every request's URL, and what answers it."""
    if "://" not in upstream:
        return LIVE_UPSTREAM, find_upstream(upstream)
    parts = urlsplit(upstream)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(f"upstream {upstream!r} is not the URL of a server, such as {LIVE_UPSTREAM}")
    # Clients are told a base URL that ends in /v1, so their paths begin with it.
    return upstream.rstrip("/").removesuffix("/v1"), find_upstream("live")
