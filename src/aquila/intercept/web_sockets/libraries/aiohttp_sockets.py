"""The WebSockets of aiohttp: ``ClientSession.ws_connect``.

A message is noted when the program reads it. A message that the program does not read is not recorded.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

from aquila.cassettes.model import SWITCHED, RecordedRequest
from aquila.cassettes.web_socket_frames.frame import WITHOUT_CODE, Close
from aquila.intercept.http_clients.aiohttp_answers import connector_error
from aquila.intercept.http_clients.foreign_mocks import is_replaced
from aquila.intercept.web_sockets import peer
from aquila.intercept.web_sockets.answering import answer_handshake_async
from aquila.intercept.web_sockets.assembling import BINARY, CLOSE, TEXT
from aquila.intercept.web_sockets.opening_handshakes import CONNECT_TIMEOUT, fields_of
from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.intercept.web_sockets.silent_waits import receive_within_async
from aquila.intercept.web_sockets.writing import (
    being_connected,
    is_time_limit,
    receive_then_write,
    then_write_async,
)
from aquila.recording.network.no_network import NoNetwork
from aquila.recording.storing.frame_recorder import FrameRecorder
from aquila.transports.own_requests import own_request

_conversation: ContextVar[ReplayedConversation | None] = ContextVar("aquila_aiohttp_conversation", default=None)
"""The replay to which a session connects in this context. ``_ws_connect`` passes it to ``BaseConnector.connect``, which
takes no argument for it. Set for one handshake, and then restored."""

_PING_OR_PONG = (9, 10)
"""Kinds of messages, as RFC 6455 numbers them. Most other kinds of aiohttp mean the end of a connection; these do not.
Only a program that answers pings itself (``autoping=False``) receives them."""


def catch_handshake(original: Callable[..., Any]) -> Callable[..., Any]:
    """Catch ``ClientSession._ws_connect``."""

    @functools.wraps(original)
    async def ws_connect(session: Any, url: Any, **options: Any) -> Any:
        if is_replaced(original, "aiohttp"):
            return await original(session, url, **options)
        try:
            request = _handshake_of(session, url, options)
        except ValueError:  # the URL is wrong, and aiohttp has its own error for that
            return await original(session, url, **options)
        try:
            answer = await answer_handshake_async(request)
        except NoNetwork as error:
            raise sys.modules["aiohttp"].ClientOSError(*error.args) from error
        except OSError as error:
            raise _connector_error(request.url, error) from error
        if answer is None:
            return await original(session, url, **options)
        connect = functools.partial(original, session, url, **options)
        if isinstance(answer, ReplayedConversation):
            return _converse(await _connect_to(answer, connect), answer)
        return await _record(connect, answer)

    return ws_connect


def _handshake_of(session: Any, url: Any, options: dict[str, Any]) -> RecordedRequest:
    whole = session._build_url(url)  # the private method that joins a session's base URL and a path
    whole = whole.with_scheme({"http": "ws", "https": "wss"}.get(whole.scheme, whole.scheme))
    if options.get("params"):
        # `extend_query` is new in yarl 1.11. The other function differs only if a name is given twice.
        whole = getattr(whole, "extend_query", whole.update_query)(options["params"])
    headers = {**dict(session.headers), **dict(options.get("headers") or {})}
    if options.get("protocols"):
        headers["sec-websocket-protocol"] = ",".join(options["protocols"])
    return RecordedRequest("GET", str(whole.with_user(None).with_fragment(None)), fields_of(headers.items()))


def _connector_error(url: str, error: OSError) -> Exception:
    """Return the error that aiohttp raises if no connection is made because of ``error``."""
    aiohttp: Any = sys.modules["aiohttp"]
    if is_time_limit(error):
        return _connect_timeout()(*error.args)
    parts = urlsplit(url)
    # aiohttp's messages show only the first four fields of this key. The others are settings of a proxy and of TLS,
    # and their number differs between versions of aiohttp.
    key_class = aiohttp.client_reqrep.ConnectionKey
    key = key_class(parts.hostname, parts.port, parts.scheme == "wss", True, *[None] * (len(key_class._fields) - 4))
    return connector_error(key, error)


def _connect_timeout() -> type[Exception]:
    """Return the error class of aiohttp for a connection that takes too long. 3.9 has only a more general one."""
    aiohttp: Any = sys.modules["aiohttp"]
    found: type[Exception] = getattr(aiohttp, "ConnectionTimeoutError", aiohttp.ServerTimeoutError)
    return found


# In a replay


async def _connect_to(conversation: ReplayedConversation, connect: Callable[[], Any]) -> Any:
    before = _conversation.get()
    _conversation.set(conversation)
    try:
        with own_request():
            return await connect()
    finally:
        _conversation.set(before)


def catch_connection(original: Callable[..., Any]) -> Callable[..., Any]:
    """Catch ``BaseConnector.connect``: in a replay it connects to the peer."""

    @functools.wraps(original)
    async def connect(connector: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        conversation = _conversation.get()
        if conversation is None:
            return await original(connector, request, *args, **kwargs)
        # Private attributes: aiohttp has no public way to make a connection of a connector.
        _, protocol = await peer.connect_in_loop(conversation, connector._factory)
        connector._acquired.add(protocol)
        made: Any = sys.modules["aiohttp.connector"]
        return made.Connection(connector, request.connection_key, protocol, asyncio.get_running_loop())

    return connect


def _converse(socket: Any, conversation: ReplayedConversation) -> Any:
    receive = socket.receive

    async def receive_or_tell(timeout: float | None = None) -> Any:
        with conversation.reading():
            if conversation.side.may_fall_silent:
                # `_timeout` is private. A limit of None is no limit.
                limit = timeout or getattr(getattr(socket, "_timeout", None), "ws_receive", None)
                message = await receive_within_async(conversation, lambda: receive(timeout), limit)
            else:
                message = await receive(timeout)
        if int(message.type) not in (TEXT, BINARY):
            conversation.tell_failure()
        return message

    _watch_sending(socket, conversation.send_in_turn_async, conversation.on_its_way)
    socket.receive = receive_or_tell
    return socket


def _watch_sending(
    socket: Any,
    notice: Callable[..., Awaitable[None]],
    on_its_way: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Call ``notice`` with each message, and then send the message in a block of ``on_its_way``."""
    send_text, send_bytes = socket.send_str, socket.send_bytes
    send_frame: Any = getattr(socket, "send_frame", None)  # new in aiohttp 3.11

    async def send_str(data: str, *args: Any, **kwargs: Any) -> None:
        if isinstance(data, str) and not socket.closed:
            await notice(data.encode(), is_text=True)
        with on_its_way():
            await send_text(data, *args, **kwargs)

    async def send_binary(data: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(data, (bytes, bytearray, memoryview)) and not socket.closed:
            await notice(bytes(data), is_text=False)
        with on_its_way():
            await send_bytes(data, *args, **kwargs)

    async def send_any(message: bytes, opcode: Any, *args: Any, **kwargs: Any) -> None:
        if int(opcode) in (TEXT, BINARY) and not socket.closed:
            await notice(bytes(message), is_text=int(opcode) == TEXT)
        with on_its_way():
            await send_frame(message, opcode, *args, **kwargs)

    socket.send_str, socket.send_bytes = send_str, send_binary
    if send_frame is not None:
        socket.send_frame = send_any


# While it is recorded


async def _record(connect: Callable[[], Any], recorder: FrameRecorder) -> Any:
    aiohttp: Any = sys.modules["aiohttp"]
    async with being_connected(recorder):
        try:
            socket = await connect()
        except aiohttp.WSServerHandshakeError as error:
            if error.status != SWITCHED:  # else aiohttp refuses the answer, such as one with a wrong accept field
                recorder.accept(error.status, fields_of((error.headers or {}).items()))
                recorder.finish_refused()
            raise
        except _connect_timeout() as error:
            recorder.finish_broken(f"{CONNECT_TIMEOUT}{error}")
            raise
    recorder.accept(SWITCHED, fields_of(socket._response.headers.items()))
    return _watch(socket, recorder)


def _watch(socket: Any, recorder: FrameRecorder) -> Any:
    receive, close = socket.receive, socket.close

    async def receive_and_note(*args: Any, **kwargs: Any) -> Any:
        with recorder.reading():
            message = await receive(*args, **kwargs)
        kind = int(message.type)
        if kind in (TEXT, BINARY):
            data = message.data.encode() if isinstance(message.data, str) else bytes(message.data)
            recorder.add_received(data, is_text=kind == TEXT)
        elif kind == CLOSE:
            # aiohttp gives a close without a code the code 0.
            recorder.finish_closed(Close("provider", int(message.data) or WITHOUT_CODE, message.extra or ""))
        elif kind not in _PING_OR_PONG:
            recorder.finish_broken(f"RemoteProtocolError: {message.data or 'the connection was lost'}")
        return message

    async def note_and_close(*, code: int = 1000, message: Any = b"") -> Any:
        if socket.close_code is None:  # otherwise this close answers that of the provider
            reason = message if isinstance(message, str) else bytes(message).decode("utf-8", "replace")
            recorder.finish_closed(Close("client", int(code), reason))
        return await close(code=code, message=message)

    async def note_sent(data: bytes, *, is_text: bool) -> None:
        recorder.add_sent(data, is_text=is_text)

    _watch_sending(socket, note_sent)
    socket.receive, socket.close = receive_then_write(recorder, receive_and_note), note_and_close
    for name in ("send_frame", "send_str", "send_bytes", "close"):
        if hasattr(socket, name):  # set on this connection alone, and gone with it
            setattr(socket, name, then_write_async(recorder, getattr(socket, name)))
    return socket
