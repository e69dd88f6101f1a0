"""Answers clients on ``http.client`` from a scope, through vcrpy's stubs: urllib3, requests, botocore and others.

A stub stands in for a connection. It collects the request, and connects only if the request is sent to the network. The
answer comes from a route, as for any other client. vcrpy's own way of answering is not used, because it returns an
answer only when the answer is complete.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import socket
import sys
from collections.abc import Callable
from typing import Any

import httpx2
import vcr.patch
from vcr.request import Request
from vcr.stubs import VCRConnection, VCRHTTPConnection, VCRHTTPSConnection

from aquila.intercept.http_clients.given_bodies import has_length, join_body, plain_body
from aquila.intercept.patching import Patch
from aquila.intercept.policy import find_answering_scope
from aquila.lazy_imports import find_loaded
from aquila.transports.callers.http_client_answers import (
    ConnectionUpstream,
    own_error,
    to_connection_error,
    to_http_client,
    without_frames,
)
from aquila.transports.callers.intercepted_requests import route_for
from aquila.transports.callers.system_errors import is_of_tls, os_error_from_text
from aquila.transports.own_requests import own_request
from aquila.transports.wire import encode_headers, parse_url

# Clients for which vcrpy's patches are not used. Other modules catch them, except tornado.
_LEFT_ALONE = ("httplib", "tornado", "aiohttp", "httpx", "httpx2")


# httplib2 and urllib3 1 refer to their own classes by these names, so the names must not be patched. They take the
# classes of connections from a table and from the pools, which are patched.
_REAL_NAMES = (
    "HTTPConnectionWithTimeout",
    "HTTPSConnectionWithTimeout",
    "HTTPConnection",
    "HTTPSConnection",
    "VerifiedHTTPSConnection",
)


class VcrPatches:
    """vcrpy's patches of urllib3, botocore and httplib2, from now until ``undo``."""

    def __init__(self) -> None:
        self._patches: list[Patch] = []
        self._pools: list[Any] = []
        # vcrpy's public context manager would patch everything and push a cassette of its own. The builder lists the
        # patches one by one, so unwanted ones can be left out.
        for patcher in vcr.patch.CassettePatcherBuilder(_NoCassette()).build():
            if isinstance(patcher, vcr.patch.ConnectionRemover):
                self._pools.append(patcher)
            elif patcher.attribute not in _REAL_NAMES:
                self._patches.append(Patch(patcher.getter(), patcher.attribute, _always(_let_answer(patcher.new))))
        # vcrpy undoes all its patches while a stub uses the network. Here the classes below the stubs are not patched,
        # so the function only marks the request as Aquila's own.
        self._patches.append(Patch(vcr.patch, "force_reset", _always(own_request)))

    def undo(self) -> None:
        """Undo the patches, and remove the stubs from the pools of connections."""
        for patch in reversed(self._patches):
            patch.undo()
        for pool in self._pools:
            pool.__exit__()


_PIECE = 65536
_SENDABLE = (str, bytes, int)  # the kinds of values that `http.client` sends in header fields


def _always(value: Any) -> Callable[[Any], Any]:
    return lambda original: value


class _NoCassette:
    """Stands in for a cassette of vcrpy while the patches are built. The stubs never use it."""

    skip_patchers = _LEFT_ALONE
    custom_patches = ()
    _path = "aquila"  # private; vcrpy makes the names of the stubs from it


def _let_answer(new: Any) -> Any:
    """Return the replacement that vcrpy would put in place. A stub in it answers from a scope."""
    if isinstance(new, dict):
        return {scheme: _let_answer(stub) for scheme, stub in new.items()}
    return _answering_stub(new) if isinstance(new, type) and issubclass(new, VCRConnection) else new


# The caches hold one class for each class of connections, and live as long as the process: a connection that was turned
# into a stub keeps its class.
@functools.cache
def _answering_stub(stub: type[VCRConnection]) -> type[VCRConnection]:
    if not any(base.__module__.startswith("urllib3.") for base in stub.__mro__):
        return type(stub.__name__, (_AnsweringConnection, stub), {})
    if sys.modules["urllib3"].__version__.startswith("1."):
        return type(stub.__name__, (_LimitedBySocket, _AnsweringConnection, stub), {"_answers_late": True})
    return type(stub.__name__, (_AnsweringConnection, stub), {"_answers_late": True, "_text_coding": "utf-8"})


@functools.cache
def _stub_of(connection: Any) -> type[VCRConnection]:
    """Return the stub for a class of connections that vcrpy does not know."""
    secure = issubclass(connection, http.client.HTTPSConnection) or connection.default_port == http.client.HTTPS_PORT
    base = VCRHTTPSConnection if secure else VCRHTTPConnection
    return _answering_stub(type(connection.__name__, (base, connection), {"_baseclass": connection}))


def turn_into_stub(connection: http.client.HTTPConnection) -> None:
    """Turn a connection of any class, which is about to begin a request, into a stub."""
    # The client holds `connection`, so this object becomes the stub. Its state moves to a copy, the real connection.
    real = object.__new__(type(connection))
    real.__dict__.update(connection.__dict__)
    stub: Any = connection
    kind: Any = type(connection)
    # Python allows this because the new class is a subclass of `kind` that adds no `__slots__`.
    stub.__class__ = _stub_of(kind)
    stub.__dict__.clear()
    stub.__dict__.update(real_connection=real, _sock=None)


_OWN_FIELDS = frozenset(
    {"_answer", "_failure", "_options", "_connect_timeout", "_failed_connecting", "_is_chunked", "_has_frames"}
)
"""Attributes of a stub that do not belong to the real connection."""


class _AnsweringConnection:
    """Mixed into a stub: gets the answer from a route, and connects only if the route sends the request."""

    real_connection: Any
    timeout: Any
    _vcr_request: Request
    _answers_late = False
    _text_coding = "iso-8859-1"  # in which `http.client` encodes text
    # Defaults of the class: `turn_into_stub` calls no `__init__`. `_begin` sets them for each request.
    # The result of the request in progress: nothing yet, an answer, or a failure that `getresponse` raises.
    _answer: Any = None
    _failure: Exception | None = None
    _options: dict[str, Any] | None = None
    _connect_timeout: Any = None
    _failed_connecting = False
    _is_chunked = False  # whether the body goes out in chunks, which the connection frames
    _has_frames = False  # whether the client itself frames them

    def __setattr__(self, name: str, value: Any) -> None:
        # vcrpy's `__setattr__` sets each attribute on the real connection, too. The fields of this class must not get
        # there, and setting them directly is several times as fast.
        if name in _OWN_FIELDS:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def connect(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: only the request decides whether a connection is needed."""

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, *args: Any, **kwargs: Any) -> None:
        """Take a whole request, and ask for the answer unless the client is urllib3."""
        self._begin(kwargs)
        plain = plain_body(body, self._text_coding)
        super().request(method, url, plain, headers)  # type: ignore[misc]
        fields = self._vcr_request.headers
        if "transfer-encoding" in fields:
            # urllib3 frames each body that its header calls chunked, `http.client` only with `encode_chunked`.
            self._is_chunked = self._answers_late or kwargs.get("encode_chunked", False)
            self._has_frames = not self._is_chunked
        elif "content-length" not in fields:
            self._is_chunked = kwargs.get("chunked", False) or not has_length(body)
        self._check_head()
        self._ask_early()

    def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        """Begin a request."""
        self._begin(None)
        super().putrequest(method, url)  # type: ignore[misc]

    def _real_host(self) -> str:
        """Return the host as a URL has it. vcrpy leaves out the brackets of an IPv6 address."""
        host: str = super()._real_host()  # type: ignore[misc]
        return f"[{host}]" if ":" in host and not host.startswith("[") else host

    def putheader(self, header: Any, *values: Any) -> None:
        """Add a header field to the request."""
        name, fields, text = _text_of(header), self._vcr_request.headers, "\r\n\t".join(map(_text_of, values))
        fields[name] = f"{fields[name]}, {text}" if name in fields else text
        fields.update((name, value) for value in values if not isinstance(value, _SENDABLE))  # for `_check_head`

    def endheaders(self, message_body: Any = None, *, encode_chunked: bool = False) -> None:
        """End the header fields of the request. ``send`` may add a body."""
        self._check_head()
        self._vcr_request.body = join_body(plain_body(message_body, self._text_coding))
        fields = self._vcr_request.headers
        self._is_chunked = encode_chunked
        self._has_frames = "transfer-encoding" in fields and not encode_chunked
        if message_body is not None or not (self._has_frames or fields.get("content-length", "0") != "0"):
            self._ask_early()

    def send(self, data: Any) -> None:
        """Add to the body."""
        super().send(join_body(plain_body(data, self._text_coding)))  # type: ignore[misc]

    def getresponse(self, *args: Any, **kwargs: Any) -> Any:
        """Return the answer, or raise the error in its place."""
        answer, failure = self._answer, self._failure
        self._answer = self._failure = None  # cleared, because the connection may be used for another request
        if failure is not None:
            raise failure
        return self._ask() if answer is None else answer

    def _begin(self, options: dict[str, Any] | None) -> None:
        self._options = options
        self._answer = self._failure = None
        self._is_chunked = self._has_frames = False
        # urllib3 sets the limit for connecting before a request, and the limit for reading after it.
        self._connect_timeout = self.timeout

    def _check_head(self) -> None:
        """Raise the client's own error for a request line or a header field that it refuses to send."""
        request, real = self._vcr_request, self.real_connection
        target: str = self._url(request.uri)  # type: ignore[attr-defined]
        names = "".join(map(str, request.headers))
        words = f"{request.method}{target}{names}"
        # Nearly all requests are plain, and no client refuses them.
        is_plain = " " not in words and ":" not in names and all(map(_is_plain, (words, *request.headers.values())))
        if is_plain or not isinstance(real, http.client.HTTPConnection):
            return
        writer, do_nothing = object.__new__(type(real)), lambda *_, **__: None
        # So that nothing is sent. urllib3 sends the end of a body in chunks although there is no body here.
        writer.__dict__.update(real.__dict__, _buffer=[], endheaders=do_nothing, send=do_nothing)
        with own_request():
            writer.request(request.method, target, headers=dict(request.headers.items()))

    def _ask_early(self) -> None:
        """Ask now, when a real connection would send the request: clients tell its errors from those of the answer.

        Not for urllib3, which does not tell them apart, and sets the limit for reading only later.
        """
        if self._answers_late:
            return
        try:
            self._answer = self._ask()
        except _network_errors() as error:
            if self._failed_connecting:
                raise
            self._failure = error

    def _ask(self) -> Any:
        request = self._vcr_request
        if self._has_frames:
            # A body that is not framed correctly is sent as it is: the provider answers it.
            with contextlib.suppress(http.client.HTTPException):
                request.body = without_frames(join_body(request.body_bytes))
                self._is_chunked, self._has_frames = True, False
        port = request.parsed_uri.port
        answering = find_answering_scope(request.method, request.scheme, request.host or "", port, request.path)
        if answering is None:
            with own_request():
                self._open()
                self._send(**(self._options or {}))
                return self.real_connection.getresponse()
        headers = encode_headers((name, _text_of(value)) for name, value in request.headers.items())
        url, body = parse_url(request.uri), join_body(request.body_bytes)
        asked = httpx2.Request(request.method, url, headers=headers, content=body)
        if isinstance(self.timeout, (int, float)):  # a replay keeps the client's limit too
            asked.extensions["timeout"] = {"read": self.timeout}
        failure = None
        upstream = ConnectionUpstream(self._open, self._send_live, _network_errors())
        try:
            answer = route_for(*answering, upstream).answer(asked)
        except httpx2.RequestError as error:
            self._failed_connecting = isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout))
            failure = self._translate_error(error, before_body=True)
        if failure is not None:
            raise failure  # outside of the `except`, which would set the error of httpx2 as its context
        translate = functools.partial(self._translate_error, before_body=False)
        return self._as_urllib3(to_http_client(answer, request.method, translate))

    def _send_live(self) -> http.client.HTTPResponse:
        self._send()
        # Not the method of a subclass: that of urllib3 makes an answer of its own, which decodes the body.
        answer: http.client.HTTPResponse = _protocol_of(self.real_connection).getresponse(self.real_connection)
        return answer

    def _open(self) -> None:
        """Connect, if the connection is not open."""
        real, limit = self.real_connection, self.timeout
        if limit is not None and not isinstance(limit, (int, float)):  # urllib3's object for the system's default limit
            limit = socket.getdefaulttimeout()
        if real.sock is None:
            real.timeout, self._failed_connecting = self._connect_timeout, True
            try:
                real.connect()
            finally:
                real.timeout = limit
            self._failed_connecting = False
        if real.sock is not None:
            real.timeout = limit
            real.sock.settimeout(limit)

    def _send(self, **options: Any) -> None:
        real, request = self.real_connection, self._vcr_request
        options.pop("chunked", None)
        options.pop("encode_chunked", None)
        fields, whole = dict(request.headers.items()), join_body(request.body_bytes)
        body: Any = whole or None
        if self._is_chunked:  # the connection adds the field itself, because an iterator has no length
            fields = {name: value for name, value in fields.items() if name.lower() != "transfer-encoding"}
            body = iter([whole])
        url = self._url(request.uri)  # type: ignore[attr-defined]
        real.request(request.method, url, body=body, headers=fields, **options)

    def _translate_error(self, error: httpx2.RequestError, *, before_body: bool) -> Exception:
        """Return the client's own error for an error of httpx2. ``before_body``: no answer has begun."""
        own = own_error(error, _network_errors())
        if own is not None:
            return own
        exceptions: Any = sys.modules["urllib3.exceptions"] if self._answers_late else None
        if isinstance(error, httpx2.DecodingError):
            if exceptions is not None:
                decoding: Exception = exceptions.DecodeError(str(error), error)
                return decoding
            httplib2 = find_loaded("httplib2")
            if httplib2 is not None and isinstance(self, httplib2.HTTPConnectionWithTimeout):
                damaged: Exception = httplib2.FailedToDecompressContent(str(error), None, "")
                return damaged
        if exceptions is not None and before_body:
            if isinstance(error, httpx2.ConnectTimeout):
                timeout: Exception = exceptions.ConnectTimeoutError(self.real_connection, str(error))
                return timeout
            if isinstance(error, httpx2.ConnectError) and not is_of_tls(str(error)):
                return self._new_connection_error(exceptions, str(error))
        return to_connection_error(error, before_body=before_body)

    def _new_connection_error(self, exceptions: Any, text: str) -> Exception:
        cause = os_error_from_text(text)
        by_name = getattr(exceptions, "NameResolutionError", None)  # there since urllib3 2
        error: Exception
        if by_name is not None and isinstance(cause, socket.gaierror):
            error = by_name(self.real_connection.host, self.real_connection, cause)
        else:
            error = exceptions.NewConnectionError(
                self.real_connection, f"Failed to establish a new connection: {cause}"
            )
        return error

    def _as_urllib3(self, response: http.client.HTTPResponse) -> Any:
        """Return the answer of a connection of urllib3 2, or ``response`` itself for other connections."""
        real = self.real_connection
        if "_response_options" not in real.__dict__ and isinstance(real, http.client.HTTPConnection):
            return response
        import urllib3  # noqa: PLC0415 - it is loaded: it made the connection

        options = self._options
        if options is None:
            options = real._response_options._asdict()
        answer = urllib3.HTTPResponse(
            body=response if isinstance(real, http.client.HTTPConnection) else _NextPieces(response),
            headers=urllib3.HTTPHeaderDict(response.msg.items()),
            status=response.status,
            version=response.version,
            reason=response.reason,
            preload_content=options.get("preload_content", True),
            decode_content=options.get("decode_content", True),
            enforce_content_length=options.get("enforce_content_length", True),
            original_response=response,
            request_method=self._vcr_request.method,
            request_url=self._url(self._vcr_request.uri),  # type: ignore[attr-defined]
        )
        if hasattr(answer, "version_string"):  # not in all of urllib3 2
            answer.version_string = getattr(real, "_http_vsn_str", answer.version_string)  # as urllib3 itself reads it
        return answer


class _LimitedBySocket:
    """Mixed into a stub of urllib3 1, which sets the limit for reading on the socket after it has sent a request."""

    @property
    def sock(self) -> _LimitTaker | None:
        """Stands in for the socket. None before there is a request."""
        return _LimitTaker(self) if "_vcr_request" in self.__dict__ else None

    @sock.setter
    def sock(self, value: Any) -> None:
        """Do nothing: only the real connection has a socket."""


class _LimitTaker:
    """Passes the limit that a client sets on its socket to a connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def settimeout(self, limit: float | None) -> None:
        """Set a limit in seconds; None is no limit."""
        self._connection.timeout = limit


class _NextPieces:
    """An answer for urllib3-future, which asks for -1 bytes where it means the next piece."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response

    def read(self, size: int | None = None) -> bytes:
        if size is None:
            return self._response.read()
        return self._response.read1(size if size > 0 else _PIECE)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)


def _protocol_of(connection: Any) -> Any:
    """Return the class that speaks HTTP for a connection: that of ``http.client``, or of urllib3-future.

    urllib3-future, the fork that niquests uses, has its own backend. Its answers are read in the same way.
    """
    if isinstance(connection, http.client.HTTPConnection):
        return http.client.HTTPConnection
    kinds = type(connection).__mro__
    return next(kind for kind in kinds if "getresponse" in vars(kind) and ".backend" in kind.__module__)


def _network_errors() -> tuple[type[Exception], ...]:
    """Return the errors that the connections of clients raise when the network fails."""
    exceptions: Any = find_loaded("urllib3.exceptions")
    own = () if exceptions is None else (exceptions.HTTPError,)
    return (OSError, http.client.HTTPException, *own)


def _is_plain(value: Any) -> bool:
    text = _text_of(value)
    return isinstance(value, _SENDABLE) and text.isascii() and text.isprintable()


def _text_of(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
