"""Answers for ``http.client``, on which urllib3, requests, botocore, httplib2 and urllib.request are built.

A real answer of ``http.client`` becomes one of httpx2, so that replaying and recording need no second implementation.
The result becomes an answer of ``http.client`` again. Both conversions pass each piece on as it arrives.
"""

from __future__ import annotations

import http.client
import io
from collections.abc import Callable, Iterator
from typing import Any

import httpx2

from aquila.transports.callers.system_errors import os_error_from_text
from aquila.transports.own_requests import own_request
from aquila.transports.upstreams import Upstream
from aquila.transports.wire import encode_headers

Translate = Callable[[httpx2.RequestError], Exception]
"""Turns an error of a route into the error that the client's own connection would raise."""

_PIECE = 65536
_LENGTH = "content-length"
_CODING = "transfer-encoding"
_WITHOUT_BODY = frozenset({*range(100, 200), 204, 304})


class ConnectionUpstream(Upstream):
    """The client's own connection to the network, as an upstream.

    ``connect`` opens it; ``send`` sends the request and returns the answer. ``errors`` are the client's errors for a
    failing network. They become causes of errors of httpx2: see ``own_error``.
    """

    def __init__(
        self,
        connect: Callable[[], None],
        send: Callable[[], http.client.HTTPResponse],
        errors: tuple[type[Exception], ...],
    ) -> None:
        super().__init__("live")
        self._connect = connect
        self._send = send
        self._errors = errors

    def send_request(self, request: httpx2.Request) -> httpx2.Response:
        with own_request():
            try:
                self._connect()
            except self._errors as error:
                kind = httpx2.ConnectTimeout if _is_timeout(error) else httpx2.ConnectError
                raise kind(str(_root_of(error))) from error
            try:
                real = self._send()
            except self._errors as error:
                raise _to_transport_error(error) from error
        headers = encode_headers(real.msg.items())
        return httpx2.Response(
            real.status,
            headers=headers,
            stream=_HttpClientBody(real, self._errors, may_come=not _lacks_body(request.method, real.status)),
            extensions={"reason_phrase": real.reason.encode("latin-1", "replace")},
        )


class _HttpClientBody(httpx2.SyncByteStream):
    """The body of an answer of ``http.client``, in the pieces in which it comes.

    ``may_come`` is false for an answer that has none: urllib3-future gives it the length that its fields name.
    """

    def __init__(self, real: http.client.HTTPResponse, errors: tuple[type[Exception], ...], *, may_come: bool) -> None:
        self._real = real
        self._errors = errors
        self._may_come = may_come

    def __iter__(self) -> Iterator[bytes]:
        try:
            while not self._real.isclosed() and (data := self._real.read1(_PIECE)):
                yield data
            # With a content-length, `read1` raises nothing if the body ends too early.
            if self._may_come and self._real.length:
                raise http.client.IncompleteRead(b"", self._real.length)
        except self._errors as error:
            raise _to_transport_error(error) from error
        finally:
            self._real.close()  # frees the connection, which ``read1`` does not do at the end of a body

    def close(self) -> None:
        self._real.close()


def _lacks_body(method: str, status: int) -> bool:
    """Whether HTTP allows no body in an answer, whatever length its fields name."""
    return method == "HEAD" or status in _WITHOUT_BODY


def _is_timeout(error: Exception) -> bool:
    root = _root_of(error)
    if isinstance(root, OSError):
        return isinstance(root, TimeoutError)
    # By name, because the timeouts of urllib3 and httplib2 are no subclasses of the standard library's.
    return any("Timeout" in base.__name__ for base in type(error).__mro__)


def _root_of(error: Exception) -> BaseException:
    """Return the ``OSError`` behind a client's error, whose text is the same for all clients; else the error itself."""
    if isinstance(error.__cause__, OSError):
        return error.__cause__
    if isinstance(error, (OSError, http.client.HTTPException)):
        return error
    # urllib3 1 raises its errors within an `except` block, without `from`.
    return error.__context__ if isinstance(error.__context__, OSError) else error


def _to_transport_error(error: Exception) -> httpx2.TransportError:
    """Return the error of httpx2 for an error of an open connection."""
    if _is_timeout(error):
        return httpx2.ReadTimeout(str(error))
    # ``RemoteDisconnected`` is both an HTTPException and a ConnectionResetError, and means that no answer came.
    is_protocol = isinstance(error, http.client.HTTPException)
    return httpx2.RemoteProtocolError(str(error)) if is_protocol else httpx2.ReadError(str(error))


def own_error(error: BaseException, errors: tuple[type[Exception], ...]) -> Exception | None:
    """Return the client's own error from which ``error`` was made, or None. ``errors`` are those of the client."""
    cause = error.__cause__
    return cause if isinstance(cause, errors) else None


def to_connection_error(error: httpx2.RequestError, *, before_body: bool) -> Exception:
    """Return the error of ``http.client`` for one of httpx2. ``before_body`` says that the body had not begun."""
    text = str(error)
    if isinstance(error, httpx2.TimeoutException):
        return TimeoutError(text or "timed out")
    if isinstance(error, httpx2.ConnectError):
        return os_error_from_text(text)
    if isinstance(error, httpx2.ProtocolError):
        if not before_body:
            return http.client.IncompleteRead(b"")
        return http.client.RemoteDisconnected(text) if is_disconnection(text) else http.client.BadStatusLine(text)
    if isinstance(error, httpx2.DecodingError):
        return http.client.HTTPException(text)
    return os_error_from_text(text)


def is_disconnection(text: str) -> bool:
    """Whether the text of a protocol error means that no answer came at all, in the words of any client."""
    return not text or any(words in text for words in ("disconnected", "closed connection"))


def to_http_client(answer: httpx2.Response, method: str, translate: Translate) -> http.client.HTTPResponse:
    """Return an answer as one of ``http.client``. Reading it raises errors of httpx2 translated by ``translate``."""
    connection: Any = _AnswerSocket(AnswerFile(answer, method, translate))
    response = http.client.HTTPResponse(connection, method=method)
    response.begin()
    return response


def without_frames(body: bytes) -> bytes:
    """Return a chunked body without the frames of its chunks, as ``http.client`` reads one."""
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    connection: Any = _AnswerSocket(io.BytesIO(head + body))
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.read()


class _AnswerSocket:
    """The part of a socket's interface that ``http.client`` uses to read an answer."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def makefile(self, *args: Any, **kwargs: Any) -> io.BufferedReader:
        return _BufferedAnswer(self._file)


class _BufferedAnswer(io.BufferedReader):
    """A buffered reader that may be flushed after it was closed.

    The garbage collector may end the reader before the answer that owns it. The answer then flushes the closed reader,
    and from Python 3.13 on prints the error to stderr.
    """

    def flush(self) -> None:
        """Do nothing: there is nothing to write."""


class AnswerFile(io.RawIOBase):
    """An answer as the bytes of a connection: the status line, the header fields, and each piece of the body.

    A body without a length is sent in chunks, because a client gets it piece by piece only then. A body whose length is
    no number ends with the connection, as it does without Aquila.
    """

    def __init__(self, answer: httpx2.Response, method: str, translate: Translate, *, may_chunk: bool = True) -> None:
        """``may_chunk`` says that the reader knows chunked bodies; else a body without a length ends with the file."""
        super().__init__()
        stream: Any = answer.stream
        self._stream = stream
        self._pieces: Iterator[bytes] = iter(stream)
        self._translate = translate
        self._length = _length_of(answer)
        is_bodiless = _lacks_body(method, answer.status_code) or self._length == 0
        has_odd_length = self._length is None and _LENGTH in answer.headers and _CODING not in answer.headers
        self._chunked = may_chunk and self._length is None and not is_bodiless and not has_odd_length
        self._delivered = 0
        self._pending = memoryview(self._head(answer))
        self._has_ended = False
        if is_bodiless:
            self._read_to_end()

    def _head(self, answer: httpx2.Response) -> bytes:
        reason = answer.extensions.get("reason_phrase", answer.reason_phrase.encode("latin-1", "replace"))
        lines = [b"HTTP/1.1 %d %s" % (answer.status_code, _on_one_line(reason))]
        lines += [b"%s: %s" % (name, _on_one_line(value)) for name, value in answer.headers.raw]
        if self._chunked and _CODING not in answer.headers:
            lines.append(b"transfer-encoding: chunked")
        return b"\r\n".join([*lines, b"", b""])

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._pending and not self._has_ended:
            self._pull()
        size = min(len(buffer), len(self._pending))
        buffer[:size] = self._pending[:size]
        self._pending = self._pending[size:]
        return size

    def _pull(self) -> None:
        """Get the next piece."""
        piece = failure = None
        try:
            piece = next(self._pieces, None)
        except httpx2.RequestError as error:
            self._has_ended = True
            failure = self._translate(error)
        if isinstance(failure, http.client.IncompleteRead):
            return  # the body ends here, and each client reports in its own way that this is too early
        if failure is not None:
            try:
                raise failure  # outside the ``except`` block, so that its error does not become the context
            finally:
                failure = None  # else a cycle through this frame would keep the file open until garbage collection
        if piece is None:
            self._has_ended = True
            self._pending = memoryview(b"0\r\n\r\n" if self._chunked else b"")
        elif piece:
            self._pending = memoryview(b"%x\r\n%s\r\n" % (len(piece), piece) if self._chunked else piece)
            self._delivered += len(piece)
            if self._delivered == self._length:
                # A client that knows the length stops here. The recorder must see the end, to store a complete answer.
                self._read_to_end()

    def _read_to_end(self) -> None:
        for _ in self._pieces:
            pass
        self._has_ended = True

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._stream.close()


def _on_one_line(value: bytes) -> bytes:
    """Return the value of a header field. One that was written over several lines becomes a single line."""
    if b"\n" not in value and b"\r" not in value:
        return value
    return b" ".join(map(bytes.strip, value.splitlines()))


def _length_of(answer: httpx2.Response) -> int | None:
    """Return the length of a body in bytes, by the first ``content-length``; None if the answer does not give it."""
    length = next(iter(answer.headers.get_list(_LENGTH)), "")
    known = length.isascii() and length.isdigit() and _CODING not in answer.headers
    return int(length) if known else None
