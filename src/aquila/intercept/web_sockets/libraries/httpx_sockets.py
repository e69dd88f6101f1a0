"""WebSockets over httpx and httpx2, as httpx-ws opens them: a request to switch protocols, then the bare connection.

So only bytes are seen here. They are parsed as frames of the protocol, for both sides.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import socket
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import anyio

from aquila.cassettes.model import SWITCHED, RecordedRequest
from aquila.cassettes.web_socket_frames.frame import Close
from aquila.intercept.web_sockets import peer
from aquila.intercept.web_sockets.answering import answer_handshake, answer_handshake_async
from aquila.intercept.web_sockets.assembling import CLOSE, Assembler
from aquila.intercept.web_sockets.opening_handshakes import (
    CONNECT_ERROR,
    CONNECT_TIMEOUT,
    NO_ANSWER,
    SILENT,
    fields_of,
)
from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.intercept.web_sockets.writing import is_time_limit, receive_then_write, write_due_async
from aquila.optional import import_optional
from aquila.recording.storing.frame_recorder import FrameRecorder
from aquila.transports import CORE_LIBRARIES
from aquila.transports.own_requests import own_request

_STREAM = "network_stream"
_CODINGS = ("content-encoding", "content-length")

Send = Callable[[Any, Any], Any]
"""The method of a transport of the library: ``handle_request``, or its async twin."""


def asks_to_switch(request: Any) -> bool:
    """Whether a request of httpx2 or httpx is the handshake of a WebSocket."""
    return str(request.headers.get("upgrade", "")).lower() == "websocket"


def answer(library: str, transport: Any, request: Any, send: Send) -> Any:
    """Answer the handshake of a sync client. ``send`` is the transport's own method."""
    with _connecting(library, request):
        answered = answer_handshake(_handshake_of(request))
    if answered is None:
        return send(transport, request)
    if isinstance(answered, ReplayedConversation):
        # Private modules of httpcore and httpcore2: neither has a public way to make a connection over a socket.
        core = CORE_LIBRARIES[library]
        stream = importlib.import_module(f"{core}._backends.sync").SyncStream(peer.connect_to_peer(answered))
        connection = importlib.import_module(f"{core}._sync.http11").HTTP11Connection(_origin_of(core, request), stream)
        # `handle_request` uses only the attribute `_pool` of its transport. A connection can replace the pool.
        response = send(SimpleNamespace(_pool=connection), request)
        return _with_stream(response, functools.partial(_ComparedStream, conversation=answered))
    _offer_no_extensions(request)
    try:
        with own_request(), _noting_failure(answered, library):
            response = send(transport, request)
    finally:
        answered.write_due()
    if response.status_code != SWITCHED:
        _note_refusal(answered, response, response.read())
        answered.write_due()
        return response
    answered.accept(SWITCHED, fields_of(response.headers.multi_items()))
    return _with_stream(response, functools.partial(_NotedStream, recorder=answered, lost=_read_error(library)))


async def answer_async(library: str, transport: Any, request: Any, send: Send) -> Any:
    """Answer the handshake of an async client."""
    with _connecting(library, request):
        answered = await answer_handshake_async(_handshake_of(request))
    if answered is None:
        return await send(transport, request)
    if isinstance(answered, ReplayedConversation):
        core = CORE_LIBRARIES[library]
        # A plain socket, because trio refuses subclasses such as `ClientEnd`.
        end = socket.socket(fileno=peer.connect_to_peer(answered).detach())
        stream = importlib.import_module(f"{core}._backends.anyio").AnyIOStream(
            await anyio.abc.SocketStream.from_socket(end)
        )
        made: Any = importlib.import_module(f"{core}._async.http11")
        connection = made.AsyncHTTP11Connection(_origin_of(core, request), stream)
        response = await send(SimpleNamespace(_pool=connection), request)
        return _with_stream(response, functools.partial(_AsyncComparedStream, conversation=answered))
    _offer_no_extensions(request)
    try:
        with own_request(), _noting_failure(answered, library):
            response = await send(transport, request)
    finally:
        # If the task was cancelled, anyio would cancel this `await` too, and the failure would not be stored.
        with anyio.CancelScope(shield=True):
            await write_due_async(answered)
    if response.status_code != SWITCHED:
        _note_refusal(answered, response, await response.aread())
        await write_due_async(answered)
        return response
    answered.accept(SWITCHED, fields_of(response.headers.multi_items()))
    return _with_stream(response, functools.partial(_AsyncNotedStream, recorder=answered, lost=_read_error(library)))


def catch_receive(original: Callable[..., Any]) -> Callable[..., Any]:
    """Catch ``WebSocketSession.receive`` of httpx-ws, to know when a program waits for a message."""

    @functools.wraps(original)
    def receive(session: Any, *args: Any, **kwargs: Any) -> Any:
        with getattr(session.stream, "reading", contextlib.nullcontext)():
            return original(session, *args, **kwargs)

    return receive


def catch_receive_async(original: Callable[..., Any]) -> Callable[..., Any]:
    """``catch_receive`` for ``AsyncWebSocketSession``."""

    @functools.wraps(original)
    async def receive(session: Any, *args: Any, **kwargs: Any) -> Any:
        with getattr(session.stream, "reading", contextlib.nullcontext)():
            return await original(session, *args, **kwargs)

    return receive


def _handshake_of(request: Any) -> RecordedRequest:
    url = request.url.copy_with(scheme={"http": "ws", "https": "wss"}.get(request.url.scheme, request.url.scheme))
    fields = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.headers.raw]
    return RecordedRequest("GET", str(url.copy_with(username=None, password=None, fragment=None)), tuple(fields))


def _origin_of(core: str, request: Any) -> Any:
    url = request.url
    return sys.modules[core].URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path).origin


@contextlib.contextmanager
def _connecting(library: str, request: Any) -> Iterator[None]:
    """Turn an ``OSError`` within the block into the error that the library raises if no connection is made."""
    errors: Any = sys.modules[library]
    try:
        yield
    except OSError as error:
        made = errors.ConnectTimeout if is_time_limit(error) else errors.ConnectError
        raise made(str(error), request=request) from error


@contextlib.contextmanager
def _noting_failure(recorder: FrameRecorder, library: str) -> Iterator[None]:
    """Note why the handshake that is sent within the block gets no answer."""
    errors: Any = sys.modules[library]
    try:
        yield
    except errors.ConnectTimeout as error:
        recorder.finish_broken(f"{CONNECT_TIMEOUT}{error}")
        raise
    except errors.TimeoutException:
        recorder.finish_unanswered()
        raise
    except errors.ConnectError as error:
        recorder.finish_broken(f"{CONNECT_ERROR}{error}")
        raise
    except Exception:
        recorder.finish_broken(NO_ANSWER)
        raise
    except BaseException:
        recorder.finish_unanswered()
        raise


def _offer_no_extensions(request: Any) -> None:
    """Remove the offer of extensions: compressed messages could not be read here."""
    request.headers.pop("sec-websocket-extensions", None)


def _note_refusal(recorder: FrameRecorder, response: Any, body: bytes) -> None:
    fields = tuple(field for field in fields_of(response.headers.multi_items()) if field[0] not in _CODINGS)
    recorder.accept(response.status_code, fields, body)
    recorder.finish_refused()


def _read_error(library: str) -> type[Exception]:
    """Return the error that a lost connection of the library raises."""
    found: type[Exception] = sys.modules[CORE_LIBRARIES[library]].ReadError
    return found


def _with_stream(response: Any, wrap: Callable[[Any], Any]) -> Any:
    if response.status_code == SWITCHED:
        response.extensions = {**response.extensions, _STREAM: wrap(response.extensions[_STREAM])}
    return response


class _Wire:
    """Parses the bytes that one side of a connection sends, and passes each message to ``add``, a close to ``end``."""

    def __init__(self, *, of_client: bool, add: Callable[..., None], end: Callable[[Close], None]) -> None:
        open_state = import_optional(
            "websockets.protocol", "websockets", purpose="a cassette for a WebSocket"
        ).State.OPEN
        if of_client:
            server: Any = importlib.import_module("websockets.server")
            self._protocol = server.ServerProtocol(state=open_state, max_size=None, logger=SILENT)
        else:
            client: Any = importlib.import_module("websockets.client")
            uri = importlib.import_module("websockets.uri").parse_uri("ws://localhost/")
            self._protocol = client.ClientProtocol(uri, state=open_state, max_size=None, logger=SILENT)
        self._by: Any = "client" if of_client else "provider"
        self._assembler = Assembler(add)
        self._end = end
        self._is_over = False

    def read(self, data: bytes) -> None:
        """Take the next bytes."""
        if self._is_over or not data:
            return
        self._protocol.receive_data(bytes(data))
        self._protocol.data_to_send()  # dropped, or it would pile up: the real end itself sends pongs and the like
        for event in self._protocol.events_received():
            opcode = int(event.opcode)
            if opcode < CLOSE:
                self._assembler.add(opcode, bytes(event.data), event.fin)
            elif opcode == CLOSE:
                self._is_over = True
                closed = self._protocol.close_rcvd
                self._end(Close(self._by, int(closed.code), closed.reason))


class _WatchedConnection:
    """Wraps a connection of the library, to read its bytes as they pass."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _NotedBytes(_WatchedConnection):
    """Notes the bytes in a recording. ``lost`` is the error of a connection that is lost.

    ``catch_receive`` uses ``reading`` to note when the program waits: the session reads in the background all the time.
    """

    def __init__(self, stream: Any, recorder: FrameRecorder, lost: type[Exception]) -> None:
        super().__init__(stream)
        self._recorder = recorder
        self._lost = lost
        self.reading = recorder.reading
        self._sent = _Wire(of_client=True, add=recorder.add_sent, end=recorder.finish_closed)
        self._received = _Wire(of_client=False, add=recorder.add_received, end=recorder.finish_closed)

    def _note_received(self, data: bytes) -> None:
        self._received.read(data)
        if not data:
            self._recorder.finish_broken("RemoteProtocolError: the connection was lost")


class _NotedStream(_NotedBytes):
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            data: bytes = self._stream.read(max_bytes, timeout)
            self._note_received(data)
        except self._lost:
            self._note_received(b"")
            raise
        finally:
            self._recorder.write_due()
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._sent.read(buffer)
        self._stream.write(buffer, timeout)
        self._recorder.write_due()

    def close(self) -> None:
        self._recorder.finish_left()  # ignored if the recording has ended
        self._recorder.write_due()
        self._stream.close()


class _AsyncNotedStream(_NotedBytes):
    def __init__(self, stream: Any, recorder: FrameRecorder, lost: type[Exception]) -> None:
        super().__init__(stream, recorder, lost)
        self.read = receive_then_write(recorder, self._read, by_message=False)

    async def _read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            data: bytes = await self._stream.read(max_bytes, timeout)
            self._note_received(data)
        except self._lost:
            self._note_received(b"")
            raise
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._sent.read(buffer)
        await self._stream.write(buffer, timeout)
        await write_due_async(self._recorder)

    async def aclose(self) -> None:
        self._recorder.finish_left()
        await write_due_async(self._recorder)
        await self._stream.aclose()


class _ComparedBytes(_WatchedConnection):
    """Compares the bytes with the recording. ``reading`` is for ``catch_receive``."""

    def __init__(self, stream: Any, conversation: ReplayedConversation) -> None:
        super().__init__(stream)
        self._conversation = conversation
        self.reading = conversation.reading
        self._sent = _Wire(of_client=True, add=conversation.send, end=lambda close: None)


class _ComparedStream(_ComparedBytes):
    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._sent.read(buffer)
        with self._conversation.on_its_way():
            self._stream.write(buffer, timeout)


class _AsyncComparedStream(_ComparedBytes):
    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._sent.read(buffer)
        with self._conversation.on_its_way():
            await self._stream.write(buffer, timeout)
