"""The asyncio client of ``websockets``: ``connect``, a class that other libraries subclass and bind by name."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from typing import Any

from aquila.errors import UnansweredRequest
from aquila.intercept.web_sockets import peer
from aquila.intercept.web_sockets.answering import answer_handshake_async
from aquila.intercept.web_sockets.dropping import drop_connection
from aquila.intercept.web_sockets.libraries.websockets_protocol import (
    IN_ONE_PIECE,
    ProtocolTap,
    encode_message,
    handshake_of,
    join_message_async,
)
from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.intercept.web_sockets.silent_waits import receive_within_async
from aquila.intercept.web_sockets.writing import being_connected, receive_then_write, then_write_async
from aquila.recording.storing.frame_recorder import FrameRecorder

_END = object()
"""Marks the end of the fragments of a message."""


def catch_connection(original: Callable[..., Any]) -> Callable[..., Any]:
    """Catch the method of ``connect`` that makes the connection of one attempt."""

    @functools.wraps(original)
    async def open_connection(connecting: Any) -> Any:
        options = _options_of(connecting)
        if options.get("unix") or options.get("sock") is not None:
            return await original(connecting)
        make = functools.partial(_make_connection, connecting)
        request = handshake_of(connecting.uri, make().protocol, *_headers_of(connecting))
        answer = await answer_handshake_async(request)
        if answer is None:
            return await original(connecting)
        if isinstance(answer, ReplayedConversation):
            _, connection = await peer.connect_in_loop(answer, make)
            return converse(connection, answer)
        return await _record(original, connecting, answer)

    return open_connection


async def _record(original: Callable[..., Any], connecting: Any, recorder: FrameRecorder) -> Any:
    async with being_connected(recorder):
        connection = await original(connecting)
    tap = ProtocolTap(connection.protocol, recorder)
    lose = connection.connection_lost

    def connection_lost(error: Exception | None) -> None:
        tap.is_left = error is None and not connection.protocol.reader.eof  # the other side has not ended it
        lose(error)

    connection.connection_lost = connection_lost
    return _watch(connection, recorder)


def _watch(connection: Any, recorder: FrameRecorder) -> Any:
    receive = connection.recv

    async def recv(*args: Any, **kwargs: Any) -> Any:
        with recorder.reading():
            return await receive(*args, **kwargs)

    stream = connection.recv_streaming

    async def recv_streaming(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        fragments = stream(*args, **kwargs)
        receive_fragment = then_write_async(recorder, functools.partial(anext, fragments, _END))
        with recorder.reading():
            fragment = await receive_fragment()
        recorder.note_delivered()
        while fragment is not _END:
            yield fragment
            with recorder.reading():
                fragment = await receive_fragment()

    shake_hands = connection.handshake

    async def handshake(*args: Any, **kwargs: Any) -> None:
        try:
            await shake_hands(*args, **kwargs)
        except asyncio.CancelledError:
            recorder.finish_unanswered()
            raise

    connection.handshake = handshake
    connection.recv, connection.recv_streaming = receive_then_write(recorder, recv), recv_streaming
    for name in ("handshake", "send", "close", "wait_closed"):
        # Set on this connection alone, and gone with it.
        setattr(connection, name, then_write_async(recorder, getattr(connection, name)))
    return connection


def converse(connection: Any, conversation: ReplayedConversation) -> Any:
    """Let a connection compare each message of the program before it is sent."""
    receive, send, wait = connection.recv, connection.send, connection.wait_closed
    stream: Any = getattr(connection, "recv_streaming", None)  # the legacy client has none

    async def recv(*args: Any, **kwargs: Any) -> Any:
        conversation.begin_reading()
        try:
            if conversation.side.may_fall_silent:
                message = await receive_within_async(conversation, lambda: receive(*args, **kwargs), None)
            else:
                message = await receive(*args, **kwargs)
        except BaseException as error:
            conversation.end_reading(error)
            raise
        conversation.end_reading()
        return message

    async def recv_streaming(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        fragments = stream(*args, **kwargs)
        with conversation.reading():  # the peer sends each message in one frame
            if conversation.side.may_fall_silent:
                first = await receive_within_async(conversation, lambda: anext(fragments), None)
            else:
                first = await anext(fragments)
        yield first
        async for fragment in fragments:
            yield fragment

    async def wait_closed() -> None:
        with conversation.waiting():
            await wait()
        conversation.tell_failure()

    async def send_compared(message: Any, text: bool | None = None, **kwargs: Any) -> None:
        if not isinstance(message, IN_ONE_PIECE):
            message = await join_message_async(message)
        if isinstance(message, IN_ONE_PIECE):
            data, is_text = encode_message(message, text)
            try:
                await conversation.send_in_turn_async(data, is_text=is_text)
            except UnansweredRequest:
                # A `close` of the program must find the connection broken, and not raise the miss again.
                drop_connection(connection.transport)
                await asyncio.sleep(0)
                raise
        with conversation.on_its_way():
            await send(message, **kwargs, **({} if text is None else {"text": text}))

    connection.recv, connection.send, connection.wait_closed = recv, send_compared, wait_closed
    if stream is not None:
        connection.recv_streaming = recv_streaming
    return connection


# Attributes whose names differ between the versions.


def _options_of(connecting: Any) -> dict[str, Any]:
    """Return the arguments for the method of the event loop that connects."""
    found: dict[str, Any] = getattr(connecting, "create_connection_kwargs", None) or getattr(
        connecting, "connection_kwargs", {}
    )
    return found


def _headers_of(connecting: Any) -> tuple[Any, str | None]:
    """Return the header fields that the program adds, and its user agent."""
    if hasattr(connecting, "handshake_args"):
        added, agent = connecting.handshake_args
        return added, agent
    return connecting.additional_headers, connecting.user_agent_header


def _make_connection(connecting: Any) -> Any:
    """Make a connection object of the library, without connecting it."""
    factory = getattr(connecting, "protocol_factory", None) or connecting.factory
    return factory(import_module("websockets.uri").parse_uri(connecting.uri))
