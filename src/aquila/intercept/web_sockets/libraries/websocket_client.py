"""The library ``websocket-client``: the class ``WebSocket``, below its functions and ``WebSocketApp``."""

from __future__ import annotations

import contextlib
import functools
import struct
import sys
from collections.abc import Callable, Mapping
from socket import gaierror
from ssl import SSLWantReadError
from typing import Any

from aquila.cassettes.model import SWITCHED, RecordedRequest
from aquila.cassettes.web_socket_frames.frame import WITHOUT_CODE, Close
from aquila.intercept.web_sockets import peer
from aquila.intercept.web_sockets.answering import answer_handshake
from aquila.intercept.web_sockets.assembling import BINARY, CLOSE, CONTINUATION, TEXT, Assembler
from aquila.intercept.web_sockets.opening_handshakes import CONNECT_TIMEOUT, fields_of
from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.intercept.web_sockets.writing import is_time_limit, store_failure, then_write
from aquila.recording.storing.frame_recorder import FrameRecorder
from aquila.transports.own_requests import own_request

_WATCHED = ("send_frame", "recv_frame", "shutdown")
"""The methods of a ``WebSocket`` through which all its other methods send, receive and close."""
_WAITING = "aquila_waiting"
"""The attribute of a ``WebSocket`` that makes a context manager for the time in which the program waits for it."""


def catch_handshake(original: Callable[..., Any]) -> Callable[..., Any]:
    """Catch ``WebSocket.connect``."""

    @functools.wraps(original)
    def connect(client: Any, /, url: str, **options: Any) -> None:
        for name in (*_WATCHED, _WAITING):  # left over from an earlier connection of this object
            vars(client).pop(name, None)
        if options.get("socket") is not None:
            original(client, url, **options)
            return
        try:
            answer = answer_handshake(_handshake_of(url, options))
        except gaierror as error:  # the library has its own error for a name that is not found
            raise sys.modules["websocket._exceptions"].WebSocketAddressException(error) from error
        if answer is None:
            original(client, url, **options)
        elif isinstance(answer, ReplayedConversation):
            end = peer.connect_to_peer(answer)
            end.settimeout(options.get("timeout", client.sock_opt.timeout))
            original(client, url, **{**options, "socket": end})
            _converse(client, answer)
        else:
            _record(client, functools.partial(original, client, url, **options), answer)

    return connect


def catch_dispatching(original: Callable[..., Any]) -> Callable[..., Any]:
    """Catch the method with which a ``WebSocketApp`` waits and calls back, for as long as its connection lasts."""

    @functools.wraps(original)
    def read(dispatcher: Any, socket: Any, read_callback: Callable[[], Any], check_callback: Callable[[], Any]) -> Any:
        waiting = getattr(dispatcher.app.sock, _WAITING, None)
        if waiting is None:
            return original(dispatcher, socket, read_callback, check_callback)
        waits = contextlib.ExitStack()

        def while_not_waiting(call: Callable[[], Any]) -> Any:
            waits.close()
            result = call()
            waits.enter_context(waiting())
            return result

        with waits:
            waits.enter_context(waiting())
            hear, check = (functools.partial(while_not_waiting, call) for call in (read_callback, check_callback))
            return original(dispatcher, socket, hear, check)

    return read


def _handshake_of(url: str, options: Mapping[str, Any]) -> RecordedRequest:
    given = options.get("header") or ()
    rows = given.items() if isinstance(given, Mapping) else (row.partition(":")[::2] for row in given)
    fields = [(str(name).strip().lower(), str(value).strip()) for name, value in rows]
    for name, option in (("sec-websocket-protocol", "subprotocols"), ("cookie", "cookie"), ("origin", "origin")):
        value = options.get(option)
        if value:
            fields.append((name, value if isinstance(value, str) else ",".join(value)))
    return RecordedRequest("GET", url.partition("#")[0], tuple(fields))


def _converse(socket: Any, conversation: ReplayedConversation) -> None:
    receive, send = socket.recv_frame, socket.send_frame
    sending = Assembler(conversation.send_in_turn)

    def recv_frame() -> Any:
        with conversation.reading():
            return receive()

    def send_frame(frame: Any) -> Any:
        if frame.opcode in (TEXT, BINARY, CONTINUATION):
            sending.add(frame.opcode, _bytes_of(frame), bool(frame.fin))
        with conversation.on_its_way():
            return send(frame)

    socket.recv_frame, socket.send_frame = recv_frame, send_frame
    # Set on this connection alone, and gone with it.
    setattr(socket, _WAITING, conversation.waiting)


def _record(socket: Any, connect: Callable[[], None], recorder: FrameRecorder) -> None:
    errors: Any = sys.modules["websocket._exceptions"]
    try:
        with own_request():
            connect()
    except errors.WebSocketBadStatusException as error:
        recorder.accept(error.status_code, fields_of((error.resp_headers or {}).items()), error.resp_body or b"")
        recorder.finish_refused()
        recorder.write_due()
        raise
    except errors.WebSocketTimeoutException:
        recorder.finish_unanswered()
        recorder.write_due()
        raise
    except (OSError, errors.WebSocketException) as error:
        if is_time_limit(error):  # while connecting: for the answer the library raises WebSocketTimeoutException
            recorder.finish_broken(f"{CONNECT_TIMEOUT}{error}")
            recorder.write_due()
        else:
            # The error for a name that is not found wraps that of the system.
            store_failure(recorder, error.args[0] if isinstance(error, errors.WebSocketAddressException) else error)
        raise
    except BaseException as error:
        if not isinstance(error, Exception):  # Ctrl-C or a time limit of a test: the client gave up, nothing failed
            recorder.finish_unanswered()
        recorder.write_due()
        raise
    recorder.accept(SWITCHED, fields_of((socket.headers or {}).items()))
    _watch(socket, recorder)


def _watch(socket: Any, recorder: FrameRecorder) -> None:
    errors: Any = sys.modules["websocket._exceptions"]
    receive, send, shutdown = socket.recv_frame, socket.send_frame, socket.shutdown
    sending, receiving = Assembler(recorder.add_sent), Assembler(recorder.add_received)

    def recv_frame() -> Any:
        try:
            with recorder.reading():
                frame = receive()
        except (errors.WebSocketTimeoutException, BlockingIOError, SSLWantReadError):
            raise  # nothing has come in time, or by now
        except (errors.WebSocketException, OSError) as error:
            recorder.finish_broken(f"RemoteProtocolError: {error}")
            raise
        if frame.opcode in (TEXT, BINARY, CONTINUATION):
            receiving.add(frame.opcode, _bytes_of(frame), bool(frame.fin))
        elif frame.opcode == CLOSE:
            recorder.finish_closed(_read_close("provider", _bytes_of(frame)))
        return frame

    def send_frame(frame: Any) -> Any:
        if frame.opcode in (TEXT, BINARY, CONTINUATION):
            sending.add(frame.opcode, _bytes_of(frame), bool(frame.fin))
        elif frame.opcode == CLOSE:
            recorder.finish_closed(_read_close("client", _bytes_of(frame)))
        return send(frame)

    def leave() -> None:
        recorder.finish_left()  # ignored if the recording has ended
        shutdown()

    socket.recv_frame, socket.send_frame, socket.shutdown = recv_frame, send_frame, leave
    setattr(socket, _WAITING, recorder.reading)
    for name in _WATCHED:
        setattr(socket, name, then_write(recorder, getattr(socket, name)))


def _bytes_of(frame: Any) -> bytes:
    return frame.data.encode() if isinstance(frame.data, str) else bytes(frame.data or b"")


def _read_close(by: Any, data: bytes) -> Close:
    if len(data) < 2:
        return Close(by, WITHOUT_CODE)
    return Close(by, struct.unpack("!H", data[:2])[0], data[2:].decode("utf-8", "replace"))
