"""Answers intercepted requests of httpx2 and httpx, by the same routes as Aquila's own requests.

A request of httpx2 is used unchanged. A request of httpx becomes one of httpx2, and the answer one of httpx, so that
replaying and recording need no second implementation.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NoReturn

import httpx2

from aquila.errors import CassetteRequired
from aquila.lazy_imports import import_module
from aquila.recording.scope import Scope
from aquila.settings import Settings
from aquila.transports import CORE_LIBRARIES
from aquila.transports.own_requests import own_request
from aquila.transports.routes.route import Route
from aquila.transports.routes.routing import open_route, open_route_async
from aquila.transports.upstreams import Upstream
from aquila.transports.wire import parse_url

SendOriginal = Callable[[Any], Any]
"""The client's own transport: takes a request of its library, returns an answer of its library, or an awaitable."""


def answer_request(scope: Scope, settings: Settings, request: Any, send: SendOriginal) -> Any:
    """Answer a synchronous request of httpx2 or httpx from a scope.

    ``settings`` are those of the scope now. ``send`` is the client's own transport, used as the upstream ``live``.
    """
    library = _library_of(request)
    route = route_for(scope, settings, ClientUpstream(send, library))
    if library is httpx2:
        return route.answer(request)
    request.read()
    try:
        return _convert_response(library, route.answer(_read_request(request)))
    except httpx2.TransportError as error:
        raise _translate_error(error, library) from error


async def answer_request_async(scope: Scope, settings: Settings, request: Any, send: SendOriginal) -> Any:
    """The async twin of ``answer_request``."""
    library = _library_of(request)
    route = await route_for_async(scope, settings, ClientUpstream(send, library))
    if library is httpx2:
        return await route.answer_async(request)
    await request.aread()
    try:
        return _convert_response(library, await route.answer_async(_read_request(request)))
    except httpx2.TransportError as error:
        raise _translate_error(error, library) from error


def route_for(scope: Scope, settings: Settings, client: Upstream) -> Route:
    """Return the route of a request in a scope. ``client`` is the upstream ``live``: the client's own transport."""
    # The client's own transport knows the client's proxies and certificates.
    route = open_route(settings.transport, scope, settings, scope.default_cassette, client=client)
    return route if route is not None else _require_cassette(scope)


async def route_for_async(scope: Scope, settings: Settings, client: Upstream) -> Route:
    """``route_for`` without blocking the event loop: a cassette is read in a thread."""
    route = await open_route_async(settings.transport, scope, settings, scope.default_cassette, client=client)
    return route if route is not None else _require_cassette(scope)


def _require_cassette(scope: Scope) -> NoReturn:
    raise CassetteRequired(f"{scope.describe()}: no cassette answers this request")


class ClientUpstream(Upstream):
    """The client's own transport, as an upstream.

    ``send`` is that transport's original method, and ``library`` is the one that it belongs to. Its answers and its
    errors are left as they are: the recorder reads those of httpx as well, and the client knows its own errors.
    """

    name = "live"
    needs_key = False

    def __init__(self, send: SendOriginal, library: Any) -> None:
        # Without ``super().__init__()``, to save time: every intercepted request creates a `ClientUpstream`.
        self._send = send
        self._library = library
        self.transport_error = library.TransportError

    def send_request(self, request: httpx2.Request) -> httpx2.Response:
        with own_request():
            response: httpx2.Response = self._send(self._request_for_client(request))
        return response

    async def send_request_async(self, request: httpx2.Request) -> httpx2.Response:
        with own_request():
            response: httpx2.Response = await self._send(self._request_for_client(request))
        return response

    def _request_for_client(self, request: httpx2.Request) -> Any:
        if self._library is httpx2:
            return request
        # As a stream, because the header fields are complete. With ``content``, a length would be added to those of a
        # body that is sent in chunks, and servers refuse a request with both.
        return self._library.Request(
            request.method,
            str(request.url),
            headers=request.headers.raw,
            stream=self._library.ByteStream(request.content),
            extensions=request.extensions,
        )


def _library_of(thing: Any) -> Any:
    """Return the library, httpx2 or httpx, of an object. It must be loaded already, because it made the object."""
    if isinstance(thing, httpx2.Request):  # the most frequent case, several times as fast as the loop below
        return httpx2
    for base in type(thing).__mro__:
        name = base.__module__.partition(".")[0]
        if name in CORE_LIBRARIES:
            return import_module(name)
    raise TypeError(f"{type(thing).__name__} belongs to none of {', '.join(CORE_LIBRARIES)}")


def _read_request(request: Any) -> httpx2.Request:
    """Return an equal request of httpx2 for one of httpx, whose body must have been read."""
    headers, body = request.headers, request.content
    if "host" not in headers or (body and not {"content-length", "transfer-encoding"} & headers.keys()):
        # This adds what is missing, and takes longer.
        return httpx2.Request(
            request.method, str(request.url), headers=headers.raw, content=body, extensions=request.extensions
        )
    read = httpx2.Request(
        request.method,
        parse_url(str(request.url)),
        headers=headers.raw,
        stream=httpx2.ByteStream(body),
        extensions=request.extensions,
    )
    read.read()
    return read


def _convert_response(library: Any, response: Any) -> Any:
    """Return an equal answer of another library. It may still be arriving."""
    return library.Response(
        response.status_code,
        headers=response.headers.raw,
        stream=_stream_class(library)(response.stream),
        extensions=response.extensions,
    )


def _translate_error(error: Exception, library: Any) -> Exception:
    """Return the exception of ``library`` with the same name; the error itself if there is none."""
    for base in type(error).__mro__:
        same: Any = getattr(library, base.__name__, None)
        if same is not None and issubclass(same, library.RequestError):
            translated: Exception = same(str(error))
            return translated
    return error


@functools.cache  # one class for each of httpx and httpx2, for the life of the process
def _stream_class(library: Any) -> Any:
    """Return a stream class of ``library`` that passes on the chunks of another library, and its errors translated."""

    class ConvertedStream(library.SyncByteStream, library.AsyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any) -> None:
            self._stream = stream
            # The base class of errors of the network and of decoding.
            self._error = _library_of(stream).RequestError

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

    return ConvertedStream
