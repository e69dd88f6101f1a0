"""Answers for intercepted requests: through the same transports as Aquila's own, whichever library the client uses.

A request of httpx2 goes through as it is. One of httpx becomes a request of httpx2 and its answer one of httpx, so that
replaying and recording exist once.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx2

from aquila.config import Settings
from aquila.recording.scope import Scope
from aquila.transports.http_libraries import HTTPX_FAMILY
from aquila.transports.routing import CASSETTE_MODES, CassetteRoute, PlainRoute, Route, Upstream, find_upstream

Send = Callable[[Any], Any]
"""The client's own way to the network: a request of its library in, an answer of its library out."""


def answer_request(scope: Scope, settings: Settings, request: Any, send: Send) -> Any:
    """Answer a sync request of httpx2 or httpx from a scope. ``send`` is the upstream where ``live`` is meant."""
    library = _library_of(request)
    route = route_for(scope, settings, Upstream("live", lambda: _ClientsOwn(send, library), None))
    if library is httpx2:
        return route.sync_transport().handle_request(request)
    request.read()
    try:
        return _convert_response(library, route.sync_transport().handle_request(_convert_request(httpx2, request)))
    except httpx2.TransportError as error:
        raise _translate_error(error, library) from error


async def answer_request_async(scope: Scope, settings: Settings, request: Any, send: Send) -> Any:
    """The async twin of ``answer``."""
    library = _library_of(request)
    own = Upstream("live", None, lambda: _AsyncClientsOwn(send, library))
    if _is_ready(scope, settings):
        route = route_for(scope, settings, own)
    else:
        import anyio.to_thread  # a cassette is read in a thread, so that the event loop goes on

        route = await anyio.to_thread.run_sync(functools.partial(route_for, scope, settings, own))
    if library is httpx2:
        return await route.async_transport().handle_async_request(request)
    await request.aread()
    try:
        return _convert_response(
            library, await route.async_transport().handle_async_request(_convert_request(httpx2, request))
        )
    except httpx2.TransportError as error:
        raise _translate_error(error, library) from error


def _is_ready(scope: Scope, settings: Settings) -> bool:
    mode = "replay" if settings.transport == "replay" else settings.record
    return settings.transport not in CASSETTE_MODES or scope.sessions.has_session(scope.default_cassette or "", mode)


def route_for(scope: Scope, settings: Settings, own: Upstream) -> Route:
    """The route of a request that a scope answers. ``own`` is the client's way out, where ``live`` is meant."""
    if settings.transport not in CASSETTE_MODES:
        return PlainRoute(settings.transport, find_upstream(settings.transport))
    assert scope.default_cassette is not None
    if settings.transport == "replay":
        return CassetteRoute("replay", scope, scope.default_cassette, settings, None)
    # The client's own transport knows the client's proxies and certificates.
    upstream = own if settings.upstream == "live" else find_upstream(settings.upstream)
    return CassetteRoute("record", scope, scope.default_cassette, settings, upstream)


def _library_of(thing: Any) -> Any:
    """The library, httpx2 or httpx, that an object of it comes from. It is loaded: it made the object."""
    for base in type(thing).__mro__:
        name = base.__module__.partition(".")[0]
        if name in HTTPX_FAMILY:
            return importlib.import_module(name)
    raise TypeError(f"{type(thing).__name__} belongs to none of {', '.join(HTTPX_FAMILY)}")


def _convert_request(library: Any, request: Any) -> Any:
    """A request whose body has been read, in the terms of another library."""
    return library.Request(
        request.method,
        str(request.url),
        headers=request.headers.raw,
        content=request.content,
        extensions=request.extensions,
    )


def _convert_response(library: Any, response: Any) -> Any:
    """An answer that is still arriving, in the terms of another library."""
    return library.Response(
        response.status_code,
        headers=response.headers.raw,
        stream=_stream_class(library)(response.stream),
        extensions=response.extensions,
    )


def _translate_error(error: Exception, library: Any) -> Exception:
    """The exception of the same name in another library of the family."""
    for base in type(error).__mro__:
        same: Any = getattr(library, base.__name__, None)
        if same is not None and issubclass(same, library.TransportError):
            translated: Exception = same(str(error))
            return translated
    return error


class _ClientsOwn(httpx2.BaseTransport):
    """The client's own way to the network, as a transport of httpx2."""

    def __init__(self, send: Send, library: Any) -> None:
        self._send = send
        self._library = library

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._library is httpx2:
            response: httpx2.Response = self._send(request)
            return response
        try:
            response = _convert_response(httpx2, self._send(_convert_request(self._library, request)))
        except self._library.TransportError as error:
            raise _translate_error(error, httpx2) from error
        return response


class _AsyncClientsOwn(httpx2.AsyncBaseTransport):
    """The async twin of ``_ClientsOwn``."""

    def __init__(self, send: Callable[[Any], Awaitable[Any]], library: Any) -> None:
        self._send = send
        self._library = library

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._library is httpx2:
            response: httpx2.Response = await self._send(request)
            return response
        try:
            response = _convert_response(httpx2, await self._send(_convert_request(self._library, request)))
        except self._library.TransportError as error:
            raise _translate_error(error, httpx2) from error
        return response


@functools.cache
def _stream_class(library: Any) -> Any:
    """A class of streams of one library that pass on the chunks of another's, and its errors translated."""

    class Stream(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any) -> None:
            self._stream = stream
            self._error = _library_of(stream).TransportError

        def __iter__(self) -> Iterator[bytes]:
            try:
                yield from self._stream
            except self._error as error:
                raise _translate_error(error, library) from error

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for chunk in self._stream:
                    yield chunk
            except self._error as error:
                raise _translate_error(error, library) from error

        def close(self) -> None:
            self._stream.close()

        async def aclose(self) -> None:
            await self._stream.aclose()

    return Stream
