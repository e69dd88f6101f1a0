"""The client of ``websockets`` for threads: a function, ``connect``, and in newer versions a class, ``reconnect``."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from aquila.cassettes.model import RecordedRequest
from aquila.intercept.web_sockets import peer
from aquila.intercept.web_sockets.answering import answer_handshake
from aquila.intercept.web_sockets.libraries.websockets_protocol import (
    IN_ONE_PIECE,
    ProtocolTap,
    encode_message,
    handshake_of,
    join_message,
)
from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.intercept.web_sockets.silent_waits import receive_within
from aquila.intercept.web_sockets.writing import note_failure, then_write
from aquila.recording.storing.frame_recorder import FrameRecorder
from aquila.transports.own_requests import own_request

_END = object()
"""Marks the end of the fragments of a message."""


class WithoutTls:
    """Replaces the TLS context of a client that connects to a peer in this process, which needs no encryption."""

    def wrap_socket(self, sock: Any, **kwargs: Any) -> Any:
        """Return the socket as it is."""
        return sock


def catch_attempt(original: Callable[..., Any]) -> Callable[..., Any]:
    """Catch ``reconnect.open_connection`` of newer versions. The object has the arguments of ``connect``."""

    @functools.wraps(original)
    def open_connection(connecting: Any, deadline: Any) -> Any:
        if connecting.sock is not None or connecting.open_socket_kwargs.get("unix"):
            return original(connecting, deadline)
        protocol = _module().ClientProtocol(connecting.ws_uri, **connecting.protocol_kwargs)
        request = handshake_of(connecting.uri, protocol, connecting.additional_headers, connecting.user_agent_header)

        def connect(**changes: Any) -> Any:
            before = {name: getattr(connecting, name) for name in changes}
            vars(connecting).update(changes)
            # In a replay the client's limit begins again: reading a long conversation must not count.
            limit = type(deadline)(connecting.open_timeout) if "sock" in changes else deadline
            try:
                return original(connecting, limit)
            finally:
                vars(connecting).update(before)

        return _answer(request, connect, connecting.create_connection, is_secure=connecting.ws_uri.secure)

    return open_connection


def catch_connect(original: Callable[..., Any]) -> Callable[..., Any]:
    """Catch ``connect`` of older versions, in which one function does everything."""

    @functools.wraps(original)
    def connect(uri: str, **options: Any) -> Any:
        if options.get("sock") is not None or options.get("unix"):
            return original(uri, **options)
        module = _module()
        address = module.parse_uri(uri)
        named = {name: options[name] for name in ("origin", "subprotocols") if name in options}
        request = handshake_of(
            uri,
            module.ClientProtocol(address, **named),
            options.get("additional_headers"),
            options.get("user_agent_header", module.USER_AGENT),
        )

        def connect_with(**changes: Any) -> Any:
            if "ssl" in changes and "ssl_context" in inspect.signature(original).parameters:  # its name before 13.0
                changes["ssl_context"] = changes.pop("ssl")
            return original(uri, **{**options, **changes})

        return _answer(
            request,
            connect_with,
            options.get("create_connection") or module.ClientConnection,
            is_secure=address.secure,
        )

    return connect


def _module() -> Any:
    return sys.modules["websockets.sync.client"]


def _answer(request: RecordedRequest, connect: Callable[..., Any], make: Callable[..., Any], *, is_secure: bool) -> Any:
    """Decide about a handshake and connect.

    ``connect`` connects with the changed options that it is given. ``make`` makes a connection of the library.
    """
    answer = answer_handshake(request)
    if answer is None:
        return connect()
    if isinstance(answer, ReplayedConversation):
        tls = {"ssl": WithoutTls()} if is_secure else {}
        return _converse(connect(sock=peer.connect_to_peer(answer), **tls), answer)
    return _record(connect, make, answer)


def _record(connect: Callable[..., Any], make: Callable[..., Any], recorder: FrameRecorder) -> Any:
    def make_tapped(sock: Any, protocol: Any, *args: Any, **kwargs: Any) -> Any:
        tap = ProtocolTap(protocol, recorder)  # before a thread begins to read
        connection = make(sock, protocol, *args, **kwargs)
        close_socket = connection.close_socket

        def close_by_program() -> None:
            if threading.current_thread() is not connection.recv_events_thread:
                # Once the program has left, it stays so, even if a sending thread then finds the connection lost.
                tap.is_left = tap.is_left or getattr(connection, "connection_exc", None) is None
            close_socket()

        connection.close_socket = close_by_program
        return connection

    try:
        with own_request():
            connection = connect(create_connection=make_tapped)
    except Exception as error:
        note_failure(recorder, error)
        raise
    except BaseException:
        recorder.finish_unanswered()
        raise
    finally:
        recorder.write_due()
    return _watch(connection, recorder)


def _watch(connection: Any, recorder: FrameRecorder) -> Any:
    receive = connection.recv

    def recv(*args: Any, **kwargs: Any) -> Any:
        with recorder.reading():
            return receive(*args, **kwargs)

    stream = connection.recv_streaming

    def recv_streaming(*args: Any, **kwargs: Any) -> Iterator[Any]:
        fragments = stream(*args, **kwargs)
        while True:
            try:
                with recorder.reading():
                    fragment = next(fragments, _END)
            finally:
                recorder.write_due()
            if fragment is _END:
                return
            yield fragment

    connection.recv, connection.recv_streaming = recv, recv_streaming
    for name in ("recv", "send", "close"):
        # Set on this connection alone, and gone with it.
        setattr(connection, name, then_write(recorder, getattr(connection, name)))
    return _warn_of_program(connection, "recv", "recv_streaming", "send", "close")


def _converse(connection: Any, conversation: ReplayedConversation) -> Any:
    """Let a connection compare each message of the program before it is sent."""
    receive, stream, send = connection.recv, connection.recv_streaming, connection.send

    def recv(timeout: float | None = None, *args: Any, **kwargs: Any) -> Any:
        conversation.begin_reading()
        try:
            if conversation.side.may_fall_silent:
                message = receive_within(conversation, lambda seconds: receive(seconds, *args, **kwargs), timeout)
            else:
                message = receive(timeout, *args, **kwargs)
        except BaseException as error:
            conversation.end_reading(error)
            raise
        conversation.end_reading()
        return message

    def recv_streaming(*args: Any, **kwargs: Any) -> Iterator[Any]:
        fragments = stream(*args, **kwargs)
        with conversation.reading():  # the peer sends each message in one frame
            first = next(fragments)
        yield first
        yield from fragments

    def send_compared(message: Any, text: bool | None = None, **kwargs: Any) -> None:
        if not isinstance(message, IN_ONE_PIECE):
            message = join_message(message)
        if isinstance(message, IN_ONE_PIECE):
            data, is_text = encode_message(message, text)
            conversation.send_in_turn(data, is_text=is_text)
        with conversation.on_its_way():
            send(message, **kwargs, **({} if text is None else {"text": text}))

    connection.recv, connection.recv_streaming, connection.send = recv, recv_streaming, send_compared
    return _warn_of_program(connection, "recv", "recv_streaming", "send")


def _warn_of_program(connection: Any, *names: str) -> Any:
    """Let warnings of newer versions name the program's line, which they look for at a fixed depth of the stack."""
    warn = getattr(connection, "maybe_raise_legacy_warning", None)
    if warn is not None:
        for name in names:
            _warn_first(warn, connection, name)
    return connection


def _warn_first(warn: Callable[[], None], connection: Any, name: str) -> None:
    """Let the first call of a method warn. Later calls do not pass through the wrapper."""
    original = getattr(connection, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        if getattr(connection, name) is call:  # otherwise the program has wrapped it
            setattr(connection, name, original)
        warn()
        return original(*args, **kwargs)

    setattr(connection, name, call)
