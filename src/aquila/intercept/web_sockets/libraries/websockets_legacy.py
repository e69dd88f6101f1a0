"""The legacy client of ``websockets``: the class ``Connect``, which was ``websockets.connect`` before version 14.

It has a queue of received messages, so a message is noted when the program reads it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from aquila.cassettes.model import SWITCHED, RecordedRequest
from aquila.intercept.web_sockets import peer
from aquila.intercept.web_sockets.answering import answer_handshake_async
from aquila.intercept.web_sockets.libraries.websockets_asyncio import converse
from aquila.intercept.web_sockets.libraries.websockets_protocol import (
    IN_ONE_PIECE,
    encode_message,
    join_message_async,
    note_end,
    without_credentials,
)
from aquila.intercept.web_sockets.opening_handshakes import SUBPROTOCOL, fields_of
from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.intercept.web_sockets.writing import being_connected, receive_then_write, then_write_async
from aquila.recording.storing.frame_recorder import FrameRecorder


def catch_connecting(original: Callable[..., Any]) -> Callable[..., Any]:
    """Catch ``Connect.__await_impl__``."""

    @functools.wraps(original)
    async def connect(connecting: Any) -> Any:
        plain = connecting._create_connection  # private: a partial
        if plain.func.__name__ == "create_connection" and "sock" not in plain.keywords:
            create = _catch_creating(connecting, plain.func)
            connecting._create_connection = functools.partial(create, *plain.args, **plain.keywords)
        return await original(connecting)

    return connect


def _catch_creating(connecting: Any, create: Callable[..., Any]) -> Callable[..., Any]:
    """Catch the function that makes the connection of one attempt. A redirect calls it with other arguments."""

    async def answer_or_create(factory: Any, *args: Any, **options: Any) -> Any:
        # `_uri` is as private as `_create_connection`.
        answer = await answer_handshake_async(_handshake_of(connecting._uri, factory.keywords))
        if answer is None:
            return await create(factory, *args, **options)
        if isinstance(answer, ReplayedConversation):
            transport, protocol = await peer.connect_in_loop(answer, factory)
            return transport, converse(protocol, answer)
        async with being_connected(answer):
            transport, protocol = await create(factory, *args, **options)
        return transport, _watch(protocol, answer)

    return answer_or_create


def _handshake_of(uri: str, options: dict[str, Any]) -> RecordedRequest:
    given = options.get("extra_headers") or ()
    rows = given.raw_items() if hasattr(given, "raw_items") else dict(given).items()
    fields = fields_of(rows)
    if options.get("subprotocols"):
        fields = (*fields, (SUBPROTOCOL, ", ".join(options["subprotocols"])))
    return RecordedRequest("GET", without_credentials(uri), fields)


def _watch(protocol: Any, recorder: FrameRecorder) -> Any:
    handshake, receive, send = protocol.handshake, protocol.recv, protocol.send
    read_response, lose = protocol.read_http_response, protocol.connection_lost

    async def read_http_response() -> Any:
        status, headers = await read_response()
        if status != SWITCHED:  # which is accepted once the client has checked the header fields
            recorder.accept(status, fields_of(headers.raw_items()))
            recorder.finish_refused()
        return status, headers

    async def shake_hands(*args: Any, **kwargs: Any) -> None:
        try:
            await handshake(*args, **kwargs)
        except asyncio.CancelledError:
            recorder.finish_unanswered()
            raise
        recorder.accept(SWITCHED, fields_of(protocol.response_headers.raw_items()))

    async def recv() -> Any:
        with recorder.reading():
            message = await receive()
        data, is_text = encode_message(message, None)
        recorder.add_received(data, is_text=is_text)
        return message

    async def send_and_note(message: Any) -> None:
        if not isinstance(message, IN_ONE_PIECE):
            message = await join_message_async(message)
        if protocol.open and isinstance(message, IN_ONE_PIECE):
            data, is_text = encode_message(message, None)
            recorder.add_sent(data, is_text=is_text)
        await send(message)

    def connection_lost(error: Exception | None) -> None:
        is_left = error is None and not protocol.reader.at_eof()  # the other side has not ended the connection
        lose(error)
        note_end(recorder, protocol, error, is_left=is_left)

    protocol.handshake, protocol.send = shake_hands, send_and_note
    protocol.read_http_response, protocol.connection_lost = read_http_response, connection_lost
    protocol.recv = receive_then_write(recorder, recv)
    for name in ("handshake", "send", "close", "wait_closed"):
        # Set on this connection alone, and gone with it.
        setattr(protocol, name, then_write_async(recorder, getattr(protocol, name)))
    return protocol
