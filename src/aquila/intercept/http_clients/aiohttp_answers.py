"""Answers requests of aiohttp from a scope, by a client middleware (aiohttp 3.12), the one nearest to the network.

So everything above it is aiohttp's own: redirects, cookies, authentication, limits, errors by status. A real answer is
read while it arrives. The program reads a real or recorded answer through a subclass of aiohttp's own reader.
``other_clients`` patches aiohttp and adds the middleware. Older versions are answered over redirected sockets.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import socket
import ssl
import types
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import httpx2
from aiohttp.http import StreamWriter
from multidict import CIMultiDict, CIMultiDictProxy

from aquila.cassettes.content_codings import DamagedBody, Decoder, decoder_for
from aquila.intercept.policy import find_answering_scope
from aquila.transports.callers.http_client_answers import is_disconnection, own_error
from aquila.transports.callers.intercepted_requests import route_for_async
from aquila.transports.callers.system_errors import os_error_from_text
from aquila.transports.own_requests import own_request
from aquila.transports.upstreams import Upstream
from aquila.transports.wire import encode_headers, innermost_stream, parse_url

_Handler = Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]

_ERRORS: tuple[type[Exception], ...] = (aiohttp.ClientError, OSError)
"""The errors that aiohttp raises when the network fails. A time-out is an ``OSError``."""

_REAL = "aquila_aiohttp_response"
"""The extension of an httpx2 response that holds the aiohttp response from which it was made."""


def with_middleware(session: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a request of a session, with the middleware that answers it from a scope."""
    own = options.get("middlewares")
    # Middlewares of a request replace those of the session (a private attribute), so these are passed on.
    own = session._middlewares if own is None else own
    buffered: int = session._read_bufsize if options.get("read_bufsize") is None else options["read_bufsize"]
    limits = _limits_of(options.get("timeout"), session.timeout)
    # aiohttp must not undo content codings. The recorder does so, in one way for all clients, and knows all codings
    # that aiohttp knows.
    answer = functools.partial(_answer_request, limits=limits, buffered=buffered)
    return {**options, "middlewares": (*own, answer), "auto_decompress": False}


def _limits_of(given: Any, usual: aiohttp.ClientTimeout) -> dict[str, float | None]:
    """Return the limits of a request in seconds: ``read`` as in httpx2, and ``total``, which a plain number sets."""
    if isinstance(given, (int, float)):
        return {"total": given}
    limits = given if isinstance(given, aiohttp.ClientTimeout) else usual
    return {"read": limits.sock_read, "total": limits.total}


async def _answer_request(
    request: aiohttp.ClientRequest, handler: _Handler, *, limits: dict[str, float | None], buffered: int
) -> aiohttp.ClientResponse:
    url = request.url
    answering = find_answering_scope(request.method, url.scheme, url.host or "", url.port, url.raw_path)
    if answering is None:  # a redirect has led to a host for which no scope answers
        return _decode(await handler(request), buffered)
    await _check_fields(request)
    body = request.body if isinstance(request.body, bytes) else await _read_body(request)
    fields = encode_headers(request.headers.items())
    asked = httpx2.Request(
        request.method, parse_url(str(url)), headers=fields, content=body, extensions={"timeout": limits}
    )
    route = await route_for_async(*answering, _SessionUpstream(request, handler))
    failure = None
    try:
        answer = await route.answer_async(asked)
    except httpx2.RequestError as error:
        failure = _error_before_body(error, request)
    if failure is not None:
        raise failure  # outside of the `except`, which would set the error of httpx2 as its context
    real: aiohttp.ClientResponse | None = answer.extensions.get(_REAL)
    stream: Any = answer.stream
    has_arrived = real is not None and real.content.is_eof()
    if real is not None and isinstance(innermost_stream(answer), _AiohttpBody):  # neither recorded nor replayed
        if isinstance(stream, _AiohttpBody):
            return _decode(real, buffered)
        response, pieces = real, _decode_pieces(real, aiter(stream))  # `stream` notes how the program reads it
    else:
        response = _make_response(request, answer) if real is None else _without_coding(real, answer.headers)
        pieces = aiter(stream)
    abandon = getattr(stream, "abandon", None)
    reader = _AnswerStreamReader(pieces, abandon, buffered, in_chunks=_comes_in_chunks(real))
    if real is None:
        reader.on_eof(response._response_eof)
    response.content = reader
    if has_arrived:
        # Many programs do not read the body of an error. It has arrived, so it is recorded completely.
        await reader.read_ahead()
    return response


async def _read_body(request: aiohttp.ClientRequest) -> bytes:
    """Return the body of a request. If the program's own code for it fails, raise what aiohttp makes of the error."""
    body: Any = request.body
    try:
        return bytes(await body.as_bytes())  # httpx2 would take a bytearray or a memoryview for an iterator of pieces
    except OSError:  # for which aiohttp does the same, whoever raises it
        raise
    except Exception as error:
        message = f"Failed to send bytes into the underlying connection: {error!r}"
        raise aiohttp.ClientConnectionError(message) from error


async def _check_fields(request: aiohttp.ClientRequest) -> None:
    """Raise aiohttp's own error for a header field that it refuses to send, because it would look like two."""
    if not all(value.isprintable() for value in request.headers.values()):
        writer = StreamWriter(_NoConnection(), asyncio.get_running_loop())  # type: ignore[arg-type]
        await writer.write_headers("", request.headers)  # into its buffer


class _SessionUpstream(Upstream):
    """Sends a request through the session itself."""

    def __init__(self, request: aiohttp.ClientRequest, handler: _Handler) -> None:
        super().__init__("live")
        self._request = request
        self._handler = handler

    async def send_request_async(self, request: httpx2.Request) -> httpx2.Response:
        with own_request():
            try:
                real = await self._handler(self._request)
            except _ERRORS as error:
                raise _to_transport_error(error) from error
        reason = (real.reason or "").encode("latin-1", "replace")
        return httpx2.Response(
            real.status,
            headers=list(real.raw_headers),
            stream=_AiohttpBody(real.content),
            extensions={"reason_phrase": reason, _REAL: real},
        )


class _AiohttpBody(httpx2.AsyncByteStream):
    """The body of an answer of aiohttp, in the pieces in which it arrives."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            # `at_eof` is checked first: all answers without a body share one reader, whose chunks show no end after the
            # first answer.
            while not self._content.at_eof():
                arrived = [await self._content.readchunk()]
                # Read all that has arrived, without waiting: if the connection breaks, the reader drops the rest of its
                # buffer, which is private.
                while getattr(self._content, "_buffer", ()):
                    arrived.append(await self._content.readchunk())
                for data, has_ended in arrived:  # the flag is for a chunk of HTTP, not for the body
                    if data:
                        yield data
                    elif not has_ended:
                        return
        except _ERRORS as error:
            raise _to_transport_error(error) from error

    async def aclose(self) -> None:
        """Do nothing, because the program closes the answer itself."""


class _AnswerStreamReader(aiohttp.StreamReader):
    """The reader with which a program reads an answer. The next piece is requested when the program waits for it.

    ``abandon`` is called if the program closes the answer before its end. ``buffered`` is the ``read_bufsize`` of the
    program, by which aiohttp judges whether a line is too long. ``in_chunks``: each piece counts as a chunk of HTTP, as
    ``iter_chunks`` needs.
    """

    def __init__(
        self, pieces: AsyncIterator[bytes], abandon: Callable[[], None] | None, buffered: int, *, in_chunks: bool
    ) -> None:
        super().__init__(_NoConnection(), buffered, loop=asyncio.get_running_loop())  # type: ignore[arg-type]
        self._in_chunks = in_chunks
        if in_chunks:
            self.begin_http_chunk_receiving()
        self._pieces = pieces
        self._abandon = abandon
        # The task that fetches the next piece. If the program stops waiting (a time limit), the task goes on, so that
        # no piece is lost; the next read waits for it. `set_exception` cancels it.
        self._awaited: asyncio.Task[bytes | None] | None = None

    async def _wait(self, func_name: str) -> None:
        # Overrides a private method of `StreamReader`, the only one in which all its ways to read wait for data.
        if self._awaited is None:
            self._awaited = asyncio.ensure_future(_next_piece(self._pieces))
        failure = None
        try:
            piece = await asyncio.shield(self._awaited)
        except httpx2.RequestError as error:
            failure = _error_in_body(error)
        except asyncio.CancelledError:
            if not self._awaited.cancelled():
                raise  # the program stopped waiting
            failure = aiohttp.ClientConnectionError("Connection closed")
        self._awaited = None
        if failure is not None:
            super().set_exception(failure)
            raise failure  # outside of the `except`, as above
        if piece is None:
            self.feed_eof()
        else:
            self.feed_data(piece)
            if self._in_chunks:
                self.end_http_chunk_receiving()

    async def read_ahead(self) -> None:
        """Read to the end. An error is kept: the program gets it after it has read the data before it."""
        try:
            while not self._eof:  # private: `at_eof` is also false while something is left to be read
                await self._wait("read_ahead")
        except _ERRORS:
            pass

    def set_exception(self, exc: Any, *args: Any) -> None:
        # An answer calls this when it is closed or released, whether or not it has been read.
        super().set_exception(exc, *args)
        if self._awaited is not None:
            self._awaited.cancel()
        if self._abandon is not None and not self._eof:
            self._abandon()


async def _next_piece(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)


class _NoConnection:
    """Stands in for the connection that a ``StreamReader`` pauses when its buffer is full. Here nothing is paused."""

    connected = True
    _reading_paused = False

    def pause_reading(self) -> None:
        """Do nothing."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Do nothing."""


_WRITER = (
    {"stream_writer": types.SimpleNamespace(output_size=0)}
    if "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters
    else {}
)
"""The argument of ``ClientResponse`` that newer versions of aiohttp have: the writer of its request."""


def _make_response(request: aiohttp.ClientRequest, answer: httpx2.Response) -> aiohttp.ClientResponse:
    """Make the aiohttp response for an answer that came over no connection."""
    make: Any = request.response_class
    response: aiohttp.ClientResponse = make(
        request.method,
        request.original_url,
        writer=None,
        continue100=None,
        timer=None,
        request_info=request.request_info,
        traces=[],
        loop=asyncio.get_running_loop(),
        session=request._session,
        **_WRITER,
    )
    # The attributes that `ClientResponse.start` sets from a connection. Most of them are private.
    response._closed = False
    response.version = aiohttp.HttpVersion11
    response.status = answer.status_code
    response.reason = answer.reason_phrase
    _set_headers(response, answer.headers.raw)
    cookies = response._headers.getall("Set-Cookie", ())
    if cookies:
        response._raw_cookie_headers = tuple(cookies)
    return response


def _set_headers(response: aiohttp.ClientResponse, raw: list[tuple[bytes, bytes]]) -> None:
    fields = [
        (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")) for name, value in raw
    ]
    response._headers = CIMultiDictProxy(CIMultiDict(fields))
    response._raw_headers = tuple(raw)
    response._cache.clear()  # `headers` is a `reify` property, which keeps its first value there


def _without_coding(real: aiohttp.ClientResponse, headers: httpx2.Headers) -> aiohttp.ClientResponse:
    """Return a real answer, without the header fields of its content coding if the recorder has undone that."""
    if "content-encoding" in real.headers and "content-encoding" not in headers:
        gone = (b"content-encoding", b"content-length")
        _set_headers(real, [field for field in real.raw_headers if field[0].lower() not in gone])
    return real


def _decode(real: aiohttp.ClientResponse, buffered: int) -> aiohttp.ClientResponse:
    """Return a real answer that no scope recorded or watched, decoded as aiohttp would have done."""
    if _decoder_of(real) is not None:
        pieces = _decode_pieces(real, _read_pieces(real.content))
        real.content = _AnswerStreamReader(pieces, None, buffered, in_chunks=_comes_in_chunks(real))
    return real


def _comes_in_chunks(real: aiohttp.ClientResponse | None) -> bool:
    """Whether an answer came in chunks. A replayed one counts as such, because a cassette does not store that."""
    return real is None or "Transfer-Encoding" in real.headers


def _decoder_of(real: aiohttp.ClientResponse) -> Decoder | None:
    return decoder_for(", ".join(real.headers.getall("Content-Encoding", ())))


async def _read_pieces(arriving: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    while data := await arriving.readany():
        yield data


async def _decode_pieces(real: aiohttp.ClientResponse, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    decoder = _decoder_of(real)
    try:
        async for piece in pieces:
            yield piece if decoder is None else decoder.decode(piece)
        if decoder is not None:
            yield decoder.finish()
    except DamagedBody as error:
        raise httpx2.DecodingError(str(error)) from error


def _to_transport_error(error: Exception) -> httpx2.TransportError:
    """Return the httpx2 error for an error of aiohttp. ``_timeout_from`` is the inverse for time-outs."""
    if isinstance(error, aiohttp.ClientConnectorError):
        # In aiohttp 3.12 the error of a certificate has no `os_error`.
        return httpx2.ConnectError(str(getattr(error, "certificate_error", None) or error.os_error))
    if isinstance(error, TimeoutError):
        if not isinstance(error, aiohttp.ClientError):  # ClientTimeout(total=) has run out, which is no network error
            return httpx2.TimeoutException(str(error))
        connecting = type(error).__name__ == "ConnectionTimeoutError"  # by name: old versions lack this class
        return (httpx2.ConnectTimeout if connecting else httpx2.ReadTimeout)(str(error))
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return httpx2.RemoteProtocolError("Server disconnected")  # the error's own text may hold a part of an answer
    if isinstance(error, aiohttp.ClientResponseError):
        return httpx2.RemoteProtocolError(error.message)  # `str(error)` adds the status and the URL
    return (httpx2.ReadError if isinstance(error, OSError) else httpx2.RemoteProtocolError)(str(error))


def _error_before_body(error: httpx2.RequestError, request: aiohttp.ClientRequest) -> Exception:
    """Return the error that aiohttp raises for a request that gets no answer."""
    own = own_error(error, _ERRORS)
    if own is not None:
        return own
    text = str(error)
    if isinstance(error, httpx2.TimeoutException):
        return _timeout_from(error)
    if isinstance(error, httpx2.ConnectError):
        return connector_error(request.connection_key, os_error_from_text(text))
    if isinstance(error, httpx2.ProtocolError):
        if is_disconnection(text):
            return aiohttp.ServerDisconnectedError(text)
        return aiohttp.ClientResponseError(request.request_info, (), status=400, message=text)
    return aiohttp.ClientOSError(*os_error_from_text(text).args)


def connector_error(key: Any, error: OSError) -> Exception:
    """Return the error that aiohttp raises if no connection is made because of ``error``. ``key`` names the server."""
    if isinstance(error, socket.gaierror):
        return aiohttp.ClientConnectorDNSError(key, error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return aiohttp.ClientConnectorCertificateError(key, error)
    return (aiohttp.ClientConnectorSSLError if isinstance(error, ssl.SSLError) else aiohttp.ClientConnectorError)(
        key, error
    )


def _error_in_body(error: httpx2.RequestError) -> Exception:
    """Return the error that aiohttp raises for an answer that breaks off."""
    own = own_error(error, _ERRORS)
    if own is not None:
        return own
    return (
        _timeout_from(error) if isinstance(error, httpx2.TimeoutException) else aiohttp.ClientPayloadError(str(error))
    )


def _timeout_from(error: httpx2.TimeoutException) -> Exception:
    """Return the error that aiohttp raises when a limit has run out. For ``total`` that is a plain ``TimeoutError``."""
    if type(error) is httpx2.TimeoutException:
        return TimeoutError()
    connecting = isinstance(error, httpx2.ConnectTimeout)
    return (aiohttp.ConnectionTimeoutError if connecting else aiohttp.SocketTimeoutError)(str(error))
