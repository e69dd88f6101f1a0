"""Answers HTTP over a socket, for clients of unknown libraries: one request, and its answer as it arrives."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import h11
import httpx2

from aquila.errors import AquilaError
from aquila.transports.callers.disconnected_caller import LEFT, CallerLeft, Departure, is_held_by_client
from aquila.transports.callers.failures import explain_failure
from aquila.transports.callers.http_client_answers import AnswerFile
from aquila.transports.callers.proxy import HOP_BY_HOP

Ask = Callable[[httpx2.Request], httpx2.Response]
"""A function that answers a request."""

_PIECE = 65536
_LARGEST_HEAD = 256 * 1024
_STEP = 0.05
"""The seconds between two checks whether a client that has shut down sending still reads. No event tells that."""
_DISCARD_WHAT_IS_LEFT = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # struct linger: on, 0 seconds


class NotHttp(Exception):
    """A client has sent something other than an HTTP/1 request. The message does not quote it."""


class SpeaksHttp2(NotHttp):
    """A client has sent the beginning of an HTTP/2 connection, as clients of gRPC do."""


class _SocketRequest(NamedTuple):
    request: httpx2.Request
    takes_chunks: bool


def answer_client(connection: socket.socket, base: str, ask: Ask) -> None:
    """Answer one request that arrives over ``connection``. No other request is read.

    ``base`` is the scheme, host and port to which the client connected. Errors of Aquila that ``ask`` raises are sent
    as errors of the provider; a failure of the network breaks the connection. Raises ``NotHttp``.
    """
    asked = _read_request(connection, base)
    if asked is None:
        return
    with _hearing_of_end(connection) as departure:
        asked.request.extensions[LEFT] = departure
        is_whole = _answer(connection, asked, ask)
    if is_whole:
        _end(connection)
    else:
        _break_off(connection)


def _answer(connection: socket.socket, asked: _SocketRequest, ask: Ask) -> bool:
    """Send the answer. Returns whether it was sent completely."""
    try:
        answer = ask(asked.request)
    except AquilaError as error:
        answer = _make_failure(error)
    except (OSError, httpx2.RequestError, CallerLeft):
        return False
    try:
        _send(connection, _with_connection_close(answer), asked)
    except (OSError, AquilaError):  # the answer broke off, a miss happened within it, or the client has left
        return False
    except CallerLeft:
        answer.close()  # within the `except`, so that the recorder sees that the answer was not closed by choice
        return False
    finally:
        answer.close()
    return True


@contextlib.contextmanager
def _hearing_of_end(connection: socket.socket) -> Iterator[Departure]:
    """Yield a ``Departure`` for the client. Until the block ends, a thread watches whether the client leaves."""
    departure = Departure()
    ours, theirs = socket.socketpair()

    def listen() -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ)
            selector.register(theirs, selectors.EVENT_READ)
            while all(key.fileobj is connection for key, _ in selector.select()):
                # Read below TLS: nothing else reads now, and the end of TLS alone does not end the connection.
                if not _receive_below(connection):
                    break
            else:
                return
            selector.unregister(connection)
            while is_held_by_client(connection):
                if selector.select(_STEP):
                    return
            departure.tell()

    thread = threading.Thread(target=listen, name="aquila-provider", daemon=True)
    with ours, theirs:
        thread.start()
        try:
            yield departure
        finally:
            ours.send(b"\0")
            thread.join()


def _receive_below(connection: socket.socket) -> bytes:
    try:
        # The method of the plain socket, below TLS.
        return socket.socket.recv(connection, _PIECE)
    except OSError:  # a reset counts as the end of the connection
        return b""


def _read_request(connection: socket.socket, base: str) -> _SocketRequest | None:
    """Return the request when its body is complete; None if the client leaves before that."""
    parser = h11.Connection(h11.SERVER, _LARGEST_HEAD)
    head: h11.Request | None = None
    body = bytearray()
    try:
        for event in _read_events(connection, parser):
            if isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
        else:
            return None
    except h11.RemoteProtocolError as error:
        raise NotHttp("what it sent is not HTTP/1.1") from error
    except OSError:
        return None
    return None if head is None else _make_request(head, bytes(body), base)


def _read_events(connection: socket.socket, parser: h11.Connection) -> Iterator[Any]:
    while True:
        event = parser.next_event()
        if event is not h11.NEED_DATA:
            yield event
            continue
        if parser.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            connection.sendall(parser.send(go_on) or b"")
        data = connection.recv(_PIECE)
        if not data:
            return
        parser.receive_data(data)


def _make_request(head: h11.Request, body: bytes, base: str) -> _SocketRequest:
    """Return the request, whose URL always begins with ``base``. Raises ``NotHttp`` for a target on another host."""
    fields = head.headers.raw_items()
    if any(name.lower() == b"upgrade" for name, _ in fields):
        raise NotHttp("it asks for another protocol than HTTP/1.1")
    if head.http_version not in (b"1.0", b"1.1"):
        raise SpeaksHttp2("it speaks HTTP/2")
    target = head.target.decode("ascii").removeprefix(base)
    if not target.startswith("/"):
        raise NotHttp("it asks for something of another host")
    method, kept = head.method.decode("ascii"), [(name, value) for name, value in fields if _is_kept(name)]
    try:
        request = httpx2.Request(method, base + target, headers=kept, content=body)
    except httpx2.InvalidURL as error:
        raise NotHttp("what it asks for is no URL") from error
    return _SocketRequest(request, takes_chunks=head.http_version != b"1.0")


def _is_kept(name: bytes) -> bool:
    return name.decode("latin-1").lower() not in HOP_BY_HOP


def _make_failure(error: AquilaError) -> httpx2.Response:
    failure = explain_failure(error)
    return httpx2.Response(failure.status, headers=failure.headers, json=failure.body)


def _with_connection_close(answer: httpx2.Response) -> httpx2.Response:
    """Return the answer with ``connection: close``."""
    fields = [
        (name, value) for name, value in answer.headers.raw if _is_kept(name) or name.lower() == b"content-length"
    ]
    closing = [(b"connection", b"close")]
    return httpx2.Response(
        answer.status_code, headers=[*fields, *closing], stream=answer.stream, extensions=answer.extensions
    )


def _send(connection: socket.socket, answer: httpx2.Response, asked: _SocketRequest) -> None:
    file = AnswerFile(answer, asked.request.method, _fail, may_chunk=asked.takes_chunks)
    buffer = bytearray(_PIECE)
    while size := file.readinto(buffer):
        connection.sendall(memoryview(buffer)[:size])


def _fail(error: httpx2.RequestError) -> OSError:
    return ConnectionResetError(str(error))


def _end(connection: socket.socket) -> None:
    """End the connection regularly, first in TLS, so that a client knows that the answer is complete."""
    with contextlib.suppress(OSError, ValueError):
        if isinstance(connection, ssl.SSLSocket):
            connection.settimeout(0)  # do not wait for the client's reply
            with contextlib.suppress(OSError):
                connection.unwrap()
        # Closing is not enough: a process that was forked meanwhile may keep the connection open.
        socket.socket.shutdown(connection, socket.SHUT_WR)


def _break_off(connection: socket.socket) -> None:
    """Make ``close`` reset the connection, as if the network had failed."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD_WHAT_IS_LEFT)
