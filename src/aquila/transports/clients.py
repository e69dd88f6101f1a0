"""Ready HTTP clients over Aquila's transports, for ``ask`` and ``stream`` and for any other openai client."""

from __future__ import annotations

import functools
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Unpack

import httpx2

from aquila.transports.routing import Route, Transport, active_route, resolve_route

if TYPE_CHECKING:
    from aquila.transports.client_options import HttpClientOptions

# The openai SDK's own limits: ten minutes, and five seconds to connect.
_TIMEOUT = httpx2.Timeout(600.0, connect=5.0)


def http_client(
    *, transport: str | Transport | None = None, cassette: str | None = None, **options: Unpack[HttpClientOptions]
) -> httpx2.Client:
    """Return an httpx2 client for any SDK: ``openai.OpenAI(http_client=aquila.http_client())``.

    Each of its requests goes where the settings and the scope in force say at that moment, so one client can live as
    long as the program. ``transport`` and ``cassette`` fix them, as in ``ask``. ``options`` go to ``httpx2.Client``.
    """
    return httpx2.Client(transport=RoutingTransport(transport, cassette), **_with_defaults(options))


def async_http_client(
    *, transport: str | Transport | None = None, cassette: str | None = None, **options: Unpack[HttpClientOptions]
) -> httpx2.AsyncClient:
    """The async twin of ``http_client``: ``openai.AsyncOpenAI(http_client=aquila.async_http_client())``."""
    return httpx2.AsyncClient(transport=AsyncRoutingTransport(transport, cassette), **_with_defaults(options))


def _with_defaults(options: HttpClientOptions) -> dict[str, Any]:
    return {"timeout": _TIMEOUT, "follow_redirects": True, **options}


@functools.cache
def sync_client() -> httpx2.Client:
    """The one client of this process through which sync calls go. It holds no connections: the routes do."""
    return http_client()


_async_clients: weakref.WeakKeyDictionary[Any, httpx2.AsyncClient] = weakref.WeakKeyDictionary()


def async_client() -> httpx2.AsyncClient:
    """The client of the running event loop through which async calls go."""
    import anyio.lowlevel

    loop = anyio.lowlevel.current_token().native_token
    client = _async_clients.get(loop)
    if client is None:
        client = _async_clients[loop] = async_http_client()
    return client


def time_limits(*, connect: float, read: float) -> httpx2.Timeout:
    """Time limits of a request in seconds: to connect, and between two pieces of the answer."""
    return httpx2.Timeout(read, connect=connect)


class RoutingTransport(httpx2.BaseTransport):
    """Sends each request through the route in force when it is made."""

    def __init__(self, transport: str | Transport | None = None, cassette: str | None = None) -> None:
        self._transport = transport
        self._cassette = cassette

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        route = active_route()
        if route is not None:
            return route.sync_transport().handle_request(request)
        route = resolve_route(transport=self._transport, cassette=self._cassette)
        if not route.is_one_call:
            return route.sync_transport().handle_request(request)
        try:
            response = route.sync_transport().handle_request(request)
        except BaseException:
            route.close(failed=True)
            raise
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = _LastStream(response.stream, route)
        return response


class AsyncRoutingTransport(httpx2.AsyncBaseTransport):
    """The async twin of ``RoutingTransport``."""

    def __init__(self, transport: str | Transport | None = None, cassette: str | None = None) -> None:
        self._transport = transport
        self._cassette = cassette

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        route = active_route()
        if route is not None:
            return await route.async_transport().handle_async_request(request)
        route = await resolve_route_async(transport=self._transport, cassette=self._cassette)
        if not route.is_one_call:
            return await route.async_transport().handle_async_request(request)
        try:
            response = await route.async_transport().handle_async_request(request)
        except BaseException:
            await close_route_async(route, failed=True)
            raise
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _AsyncLastStream(response.stream, route)
        return response


class _LastStream(httpx2.SyncByteStream):
    """The answer of a call that no scope surrounds: the call ends with it."""

    def __init__(self, stream: httpx2.SyncByteStream, route: Route) -> None:
        self._stream = stream
        self._route = route

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._route.close()


class _AsyncLastStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, route: Route) -> None:
        self._stream = stream
        self._route = route

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._stream:
            yield data

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await close_route_async(self._route)


async def resolve_route_async(*, transport: str | Transport | None = None, cassette: str | None = None) -> Route:
    """``resolve`` without blocking the event loop: a cassette is read in a thread."""
    import anyio.to_thread

    return await anyio.to_thread.run_sync(functools.partial(resolve_route, transport=transport, cassette=cassette))


async def close_route_async(route: Route, *, failed: bool = False) -> None:
    """``route.close`` without blocking the event loop; a cancelled caller does not keep it from being done."""
    if not route.is_one_call:
        return
    import anyio.to_thread

    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(functools.partial(route.close, failed=failed))
