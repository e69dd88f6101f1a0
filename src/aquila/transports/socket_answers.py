"""HTTP over a socket, for a client that speaks it by itself: one request, and its answer as it comes."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import h11
import httpx2

from aquila.errors import AquilaError
from aquila.transports.failures import explain_failure
from aquila.transports.http_client_answers import AnswerFile
from aquila.transports.proxy import HOP_BY_HOP
from aquila.transports.silence import LEFT

Ask = Callable[[httpx2.Request], httpx2.Response]
"""What answers a request."""

_PIECE = 65536
_LARGEST_HEAD = 256 * 1024
_DISCARD_WHAT_IS_LEFT = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # struct linger: on, 0 seconds


class NotUnderstood(Exception):
    """What a client has sent is no request of HTTP/1."""


class _Asked(NamedTuple):
    request: httpx2.Request
    takes_chunks: bool


def answer_client(connection: socket.socket, base: str, ask: Ask) -> None:
    """Answer the request that comes over ``connection``, and let the client send no other one over it.

    ``base`` is the scheme, the host and the port for which it is meant. What ``ask`` raises of Aquila's own is told to
    the client as an error of the provider; a failure of the network ends the connection as one would. Raises
    ``NotUnderstood``.
    """
    asked = _read_request(connection, base)
    if asked is None:
        return
    with _hearing_of_end(connection) as left:
        asked.request.extensions[LEFT] = left
        _answer(connection, asked, ask)


def _answer(connection: socket.socket, asked: _Asked, ask: Ask) -> None:
    try:
        answer = ask(asked.request)
    except AquilaError as error:
        answer = _make_failure(error)
    except (OSError, httpx2.TransportError):
        _break_off(connection)
        return
    try:
        _send(connection, _make_last(answer), asked)
    except OSError:  # of the answer, or because the client has left
        _break_off(connection)
    finally:
        answer.close()


@contextlib.contextmanager
def _hearing_of_end(connection: socket.socket) -> Iterator[threading.Event]:
    """Yield an event that is set when the client leaves, or sends more, which nobody reads."""
    left = threading.Event()
    ours, theirs = socket.socketpair()

    def listen() -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ)
            selector.register(theirs, selectors.EVENT_READ)
            if all(key.fileobj is connection for key, _ in selector.select()):
                left.set()

    thread = threading.Thread(target=listen, name="aquila-provider", daemon=True)
    with ours, theirs:
        thread.start()
        try:
            yield left
        finally:
            ours.send(b"\0")
            thread.join()


def _read_request(connection: socket.socket, base: str) -> _Asked | None:
    """The request, when its body is there; None if the client leaves before."""
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
        raise NotUnderstood(str(error)) from error
    except OSError:
        return None
    if head is None:
        return None
    fields = [(name, value) for name, value in head.headers.raw_items() if _is_kept(name)]
    if any(name.lower() == b"upgrade" for name, _ in head.headers.raw_items()):
        raise NotUnderstood("it asks for another protocol")
    request = httpx2.Request(
        head.method.decode("ascii"), base + head.target.decode("ascii"), headers=fields, content=bytes(body)
    )
    return _Asked(request, takes_chunks=head.http_version != b"1.0")


def _read_events(connection: socket.socket, parser: h11.Connection) -> Iterator[Any]:
    while True:
        event = parser.next_event()
        if event is not h11.NEED_DATA:
            yield event
            continue
        if parser.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            connection.sendall(parser.send(go_on) or b"")
        parser.receive_data(connection.recv(_PIECE))


def _is_kept(name: bytes) -> bool:
    return name.decode("latin-1").lower() not in HOP_BY_HOP


def _make_failure(error: AquilaError) -> httpx2.Response:
    failure = explain_failure(error)
    return httpx2.Response(failure.status, headers=failure.headers, json=failure.body)


def _make_last(answer: httpx2.Response) -> httpx2.Response:
    """The same answer, after which its connection ends."""
    fields = [
        (name, value) for name, value in answer.headers.raw if _is_kept(name) or name.lower() == b"content-length"
    ]
    closing = [(b"connection", b"close")]
    return httpx2.Response(
        answer.status_code, headers=[*fields, *closing], stream=answer.stream, extensions=answer.extensions
    )


def _send(connection: socket.socket, answer: httpx2.Response, asked: _Asked) -> None:
    file = AnswerFile(answer, asked.request.method, _fail, may_chunk=asked.takes_chunks)
    buffer = bytearray(_PIECE)
    while size := file.readinto(buffer):
        connection.sendall(memoryview(buffer)[:size])


def _fail(error: httpx2.RequestError) -> OSError:
    return ConnectionResetError(str(error))


def _break_off(connection: socket.socket) -> None:
    """Let the connection end as one that breaks."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DISCARD_WHAT_IS_LEFT)
