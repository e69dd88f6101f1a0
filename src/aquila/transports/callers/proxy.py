"""Answers requests that came in over HTTP, for ``aquila serve``.

The server passes requests and gets answers as plain values. The upstream is fixed when the ``Proxy`` is created, so no
request can choose where it is sent.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

import httpx2
from anyio import CapacityLimiter, to_thread

from aquila.cassettes.redaction.request_headers import SUBPROTOCOLS
from aquila.errors import CassetteMiss, ConfigError, UnknownTransport
from aquila.lazy_patterns import lazy_pattern
from aquila.recording.environment import DUMMY_KEY
from aquila.recording.scope import Scope
from aquila.transports.record import AsyncRecordedStream
from aquila.transports.replay import AsyncReplayStream
from aquila.transports.routes.route import Route
from aquila.transports.routes.routing import open_route_async
from aquila.transports.routes.scope_route import RUNS_ELSEWHERE
from aquila.transports.upstreams import Upstream, find_upstream
from aquila.transports.wire import decode_headers, encode_headers, innermost_stream

Headers = list[tuple[str, str]]
LIVE_UPSTREAM = "https://api.openai.com"

NO_CASSETTE = (
    "no cassette for this request: start the server with --cassette NAME, send the header x-aquila-cassette: NAME, or "
    "put /@NAME before the path"
)

HOP_BY_HOP = frozenset(
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
"""Header fields about a single connection (RFC 9110, 7.6.1), and fields that the next hop sets by itself."""
CREDENTIALS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
"""The header fields in which clients send their API key."""
_KEY_IN_QUERY = "key"
"""The query parameter in which Gemini's clients send their API key."""


_ADDRESS = lazy_pattern(r"(?:[\w-]+(?:\.[\w-]+)+|localhost|\[[0-9a-fA-F:.]+\]|[\w-]+(?=:[0-9]))(?::[0-9]+)?(?:/\S*)?")
"""The URL of a server without its scheme, such as ``localhost:11434``. A transport may be ``module:factory``."""


class UpstreamFailed(Exception):
    """The upstream could not be reached, or broke off."""


class FailureReplayed(UpstreamFailed):
    """A recorded failure, or a fault. The upstream was not asked."""


class _OneRequest(Upstream):
    """An upstream for one request, which notes whether it was asked."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(upstream.name, needs_key=upstream.needs_key)
        self.transport_error = upstream.transport_error
        self.was_asked = False
        self._upstream = upstream

    async def send_request_async(self, request: httpx2.Request) -> httpx2.Response:
        self.was_asked = True
        return await self._upstream.send_request_async(request)


class KeyWithheld(Exception):
    """A request without its own key would have to be sent for a client that may not use the server's key."""


class UpstreamRequest(NamedTuple):
    """The target and header fields for the upstream. ``withholds_key``: it has a dummy key, so it must not be sent."""

    target: str
    headers: Headers
    withholds_key: bool


class _WithholdingTransport(httpx2.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        raise KeyWithheld


_WITHHOLDING = Upstream("key withheld", make_async=_WithholdingTransport)
"""The upstream of requests that may be replayed but not sent: it raises ``KeyWithheld``."""


@dataclass(frozen=True, slots=True)
class ProxiedAnswer:
    """An answer with chunks that are still arriving. ``close`` must be awaited, however many of them were read."""

    status: int
    headers: Headers
    origin: str
    """``replayed``, ``recorded`` (while its chunks are read), or ``passed on``."""
    chunks: Callable[[], AsyncIterator[bytes]]
    close: Callable[[], Awaitable[None]]


class Proxy:
    """Answers from cassettes, or from the upstream into cassettes.

    ``scope`` returns the scope that counts plays. ``upstream`` is the URL of the provider, or the name of a transport
    that answers instead (``local``, ``module:factory``). ``key`` is the server's own API key; a dummy counts as none.
    Raises ``ConfigError`` for an ``upstream`` that is neither, and ``UnknownTransport``.

    The attribute ``base`` is the base URL of requests, without a slash at its end. The attribute ``upstream`` is the
    ``Upstream`` to which they are sent, and ``has_key`` says whether there is a key for them.
    """

    def __init__(self, scope: Callable[[], Scope], *, upstream: str | None = None, key: str | None = None) -> None:
        self._scope = scope
        self._key = None if key is None or key.endswith(DUMMY_KEY) else key
        self.has_key = self._key is not None
        self._explaining = CapacityLimiter(1)
        self.base, self.upstream = _resolve_upstream(upstream or LIVE_UPSTREAM)

    @property
    def scope(self) -> Scope:
        """The scope that answers requests now."""
        return self._scope()

    async def answer_request(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        *,
        cassette: str | None = None,
        may_use_key: bool = False,
    ) -> ProxiedAnswer:
        """Answer a request. ``target`` is its path with its query. ``cassette`` replaces the scope's default.

        ``may_use_key`` puts the server's key in the place of a dummy key. Raises ``CassetteMiss`` and whatever opening
        a cassette raises, ``ConfigError`` without a cassette, ``UpstreamFailed``, and ``KeyWithheld``.
        """
        outgoing = self.prepare_request(target, headers, may_use_key=may_use_key)
        upstream = _OneRequest(_WITHHOLDING if outgoing.withholds_key else self.upstream)
        route = await self._find_route(cassette, upstream)
        fields = encode_headers(outgoing.headers)
        extensions = {RUNS_ELSEWHERE: self._explain_in_thread}
        request = httpx2.Request(
            method, self.base + outgoing.target, headers=fields, content=body, extensions=extensions
        )
        try:
            response = await route.answer_async(request)
        except httpx2.TransportError as error:
            failed = UpstreamFailed if upstream.was_asked else FailureReplayed
            raise failed(f"{type(error).__name__}: {str(error) or 'no answer'}") from error
        # For HEAD, the length is part of the answer. Else the server counts the body, which may have been decoded.
        left_out = HOP_BY_HOP - {"content-length"} if method == "HEAD" else HOP_BY_HOP
        returned = [field for field in decode_headers(response.headers.raw) if field[0] not in left_out]
        chunks = functools.partial(_iterate_chunks, response)
        return ProxiedAnswer(response.status_code, returned, _origin_of(response), chunks, response.aclose)

    def prepare_request(
        self, target: str, headers: Iterable[tuple[str, str]], *, may_use_key: bool = False
    ) -> UpstreamRequest:
        """Return what is sent to the upstream. With ``may_use_key``, the server's key replaces a dummy key."""
        sent = [
            (name, value)
            for name, value in headers
            if name.lower() not in HOP_BY_HOP and not name.lower().startswith("x-aquila-")
        ]
        shown = keys_shown_by(target, sent)
        if self._key is None or not self.upstream.needs_key or not any(key.endswith(DUMMY_KEY) for key in shown):
            return UpstreamRequest(target, sent, False)
        if not may_use_key:
            return UpstreamRequest(target, sent, True)
        fields = [(name, _put_into_field(self._key, name, value)) for name, value in sent]
        return UpstreamRequest(_put_into_query(self._key, target), fields, False)

    async def _explain_in_thread(self, explain: Callable[[], CassetteMiss]) -> CassetteMiss:
        """Explain a miss while the loop answers other clients; one at a time, because threads share the interpreter."""
        return await to_thread.run_sync(explain, limiter=self._explaining)

    async def _find_route(self, cassette: str | None, upstream: Upstream) -> Route:
        scope = self._scope()
        settings = scope.settings
        name = cassette or scope.default_cassette
        route = await open_route_async(settings.transport, scope, settings, name, lambda _: upstream, client=upstream)
        if route is None:
            raise ConfigError(NO_CASSETTE)
        return route


def split_credential(value: str) -> tuple[str, str]:
    """Split the value of a credential field into its prefix, such as ``Bearer ``, and the API key."""
    found = re.match(r"(?i:bearer)\s+", value)
    return (found[0], value[found.end() :].strip()) if found else ("", value.strip())


def keys_shown_by(target: str, headers: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield all values in a request that may be API keys. ``target`` is its path with the query.

    They stand in header fields, in the query (Gemini), or at the end of a subprotocol that a WebSocket offers, because
    a page in a browser cannot set header fields. Such a value may have a prefix, because some clients accept no key
    without the prefix of their provider, such as ``hf_``.
    """
    yield from dict(parse_qsl(target.partition("?")[2])).get(_KEY_IN_QUERY, "").split()
    for name, value in headers:
        if name.lower() in CREDENTIALS:
            yield split_credential(value)[1]
        elif name.lower() == SUBPROTOCOLS:
            yield from map(str.strip, value.split(","))


def _put_into_field(key: str, name: str, value: str) -> str:
    """Return the value of a header field with its dummy key replaced by ``key``."""
    if name.lower() == SUBPROTOCOLS:
        return value.replace(DUMMY_KEY, key)
    bearer, shown = split_credential(value)
    return bearer + key if name.lower() in CREDENTIALS and shown.endswith(DUMMY_KEY) else value


def _put_into_query(key: str, target: str) -> str:
    return re.sub(rf"(?<=[?&]{_KEY_IN_QUERY}=)[^&]*{re.escape(DUMMY_KEY)}(?=&|$)", lambda _: quote(key), target)


def _origin_of(response: httpx2.Response) -> str:
    stream = innermost_stream(response)
    if isinstance(stream, AsyncReplayStream):
        return "replayed"
    return "recorded" if isinstance(stream, AsyncRecordedStream) else "passed on"


async def _iterate_chunks(response: httpx2.Response) -> AsyncIterator[bytes]:
    stream: Any = response.stream
    try:
        async for chunk in stream:
            yield chunk
    except httpx2.RequestError as error:  # a failure of the network, or of decoding the body
        raise UpstreamFailed(f"{type(error).__name__}: {error}") from error


def _resolve_upstream(upstream: str) -> tuple[str, Upstream]:
    """Return the base URL of all requests, and the upstream that answers them."""
    if "://" not in upstream:
        try:
            return LIVE_UPSTREAM, find_upstream(upstream)
        except UnknownTransport as error:
            if _ADDRESS.fullmatch(upstream) is None:
                raise
            scheme = "http" if ":" in upstream else "https"  # servers with a port are mostly on this machine
            advice = f"write {scheme}://{upstream}"
            if _has_module(upstream):
                advice += f", or {':'.join(upstream.rsplit('.', 1))} for a transport of yours"
            raise ConfigError(f"upstream {upstream!r} lacks its scheme: {advice}") from error
    if not _is_server_url(upstream):
        raise ConfigError(f"upstream {upstream!r} is not the URL of a server, such as {LIVE_UPSTREAM}")
    # Clients are told a base URL that ends in /v1, so their paths begin with it.
    return upstream.rstrip("/").removesuffix("/v1"), find_upstream("live")


def _has_module(text: str) -> bool:
    """Return whether a text without a colon may mean a function in a module of the project."""
    names = text.split(".")
    if not all(map(str.isidentifier, names)):
        return False
    return os.path.exists(names[0]) or os.path.exists(f"{names[0]}.py") or find_spec(names[0]) is not None


def _is_server_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        has_server = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half of an IPv6 address, or a port that is no number
        return False
    return has_server and not (parts.query or parts.fragment)
