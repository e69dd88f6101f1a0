"""The library ``websockets`` from 13.1 on: the parts that its clients for threads and for event loops share.

Both have a ``ClientProtocol``, which does no I/O: messages are sent through its methods, and received data is read from
it. A recording notes both there, in the order in which they pass.
"""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from typing import Any

from aquila.cassettes.model import SWITCHED, RecordedRequest
from aquila.cassettes.web_socket_frames.frame import Close
from aquila.intercept.web_sockets.assembling import BINARY, CONTINUATION, TEXT, Assembler
from aquila.intercept.web_sockets.opening_handshakes import NO_ANSWER, fields_of
from aquila.recording.storing.frame_recorder import FrameRecorder


def handshake_of(uri: str, protocol: Any, additional_headers: Any, user_agent: str | None) -> RecordedRequest:
    """Return the handshake that a client is about to send. ``protocol`` is a ``ClientProtocol`` without connection."""
    request = protocol.connect()
    if additional_headers is not None:
        request.headers.update(additional_headers)
    if user_agent is not None:
        request.headers.setdefault("User-Agent", user_agent)
    del request.headers["Sec-WebSocket-Key"]  # it is random, and would make equal handshakes differ
    return RecordedRequest("GET", without_credentials(uri), fields_of(request.headers.raw_items()))


def without_credentials(uri: str) -> str:
    """Return a URI without user, password and fragment. The library sends user and password in a header field."""
    return re.sub(r"^([^/?#]*//)[^/?#]*@", r"\1", uri).partition("#")[0]


IN_ONE_PIECE = (str, bytes, bytearray, memoryview)
"""The types of a message that is not sent in fragments."""


class ProtocolTap:
    """Notes the messages that pass through the ``ClientProtocol`` of a recorded connection."""

    def __init__(self, protocol: Any, recorder: FrameRecorder) -> None:
        self._recorder = recorder
        self._protocol = protocol
        self._sending = Assembler(recorder.add_sent)
        self._receiving = Assembler(recorder.add_received)
        self._has_begun = False
        self.is_left = False
        """Whether the program has left the connection. Otherwise the connection was lost."""
        # Set on this object and not on its class, which all connections of the process share.
        for name, opcode in (("send_text", TEXT), ("send_binary", BINARY), ("send_continuation", CONTINUATION)):
            setattr(protocol, name, functools.partial(self._send, getattr(protocol, name), opcode))
        protocol.events_received = functools.partial(self._receive, protocol.events_received)
        protocol.receive_eof = functools.partial(self._receive_eof, protocol.receive_eof)

    def _send(self, original: Callable[..., None], opcode: int, data: Any, fin: bool = True) -> None:
        original(data, fin)
        self._sending.add(opcode, bytes(data), fin)

    def _receive(self, original: Callable[[], list[Any]]) -> list[Any]:
        events = original()
        for event in events:
            if not self._has_begun:
                self._begin(event)
            elif event.opcode in (TEXT, BINARY, CONTINUATION):
                self._receiving.add(int(event.opcode), bytes(event.data), event.fin)
        if self._protocol.close_rcvd is not None:
            self._end()
        return events

    def _begin(self, response: Any) -> None:
        self._has_begun = True
        if response.status_code == SWITCHED and getattr(self._protocol, "handshake_exc", None) is not None:
            self._recorder.finish_broken(NO_ANSWER)  # the client refuses it, such as one with a wrong accept field
            return
        body = b"" if response.status_code == SWITCHED else response.body or b""
        self._recorder.accept(response.status_code, fields_of(response.headers.raw_items()), body)
        if response.status_code != SWITCHED:
            self._recorder.finish_refused()

    def _receive_eof(self, original: Callable[[], None]) -> None:
        original()
        self._receive(list)
        self._end()

    def _end(self) -> None:
        """Note how the connection ended: it was lost, or the other side has sent a close."""
        protocol = self._protocol
        if not self._has_begun and self.is_left:
            self._recorder.finish_unanswered()
        elif not self._has_begun:
            self._recorder.finish_broken(NO_ANSWER)
        else:
            note_end(self._recorder, protocol, getattr(protocol, "parser_exc", None), is_left=self.is_left)


def note_end(recorder: FrameRecorder, protocol: Any, error: object, *, is_left: bool) -> None:
    """Note how a connection ended. ``error`` is that of a lost one; ``is_left``: the program has left it."""
    if (failure := _find_failure(protocol)) is not None:
        recorder.finish_broken(f"RemoteProtocolError: {failure}")
    elif (close := _find_close(protocol)) is not None:
        recorder.finish_closed(close)
    elif is_left:
        recorder.finish_left()
    else:
        recorder.finish_broken(f"RemoteProtocolError: {error or 'the connection was lost'}")


def _find_failure(protocol: Any) -> Exception | None:
    """Return the error for which the library itself closed a connection, such as a frame that is too large."""
    error = getattr(protocol, "parser_exc", None) or getattr(protocol, "transfer_data_exc", None)  # the legacy name
    return error if isinstance(error, Exception) and not isinstance(error, (OSError, EOFError)) else None


def _find_close(protocol: Any) -> Close | None:
    """Return the first close of a connection, and who sent it; None if neither side sent one."""
    if protocol.close_rcvd is None:
        by, close = "client", protocol.close_sent  # the provider has not answered it
    elif protocol.close_rcvd_then_sent is False:
        by, close = "client", protocol.close_sent
    else:
        by, close = "provider", protocol.close_rcvd
    return None if close is None else Close(by, int(close.code), close.reason)  # type: ignore[arg-type]


def encode_message(message: Any, text: bool | None) -> tuple[bytes, bool]:
    """Return the bytes of a message or fragment, and whether it is text. ``text`` is the library's own option."""
    if isinstance(message, str):
        return message.encode(), text is not False
    return bytes(message), text is True


async def join_message_async(message: Any) -> Any:
    """Return the message that a program sends. The fragments of an iterable are joined.

    Anything else is returned as it is, and the library refuses it.
    """
    if isinstance(message, AsyncIterable):
        return _join([fragment async for fragment in message])
    return join_message(message)


def join_message(message: Any) -> Any:
    """``join_message_async`` for clients in threads."""
    is_whole = isinstance(message, (*IN_ONE_PIECE, Mapping)) or not isinstance(message, Iterable)
    return message if is_whole else _join(list(message))


def _join(fragments: list[Any]) -> Any:
    if len(fragments) < 2:
        return fragments[0] if fragments else ()  # without fragments the library sends nothing
    return "".join(fragments) if isinstance(fragments[0], str) else b"".join(map(bytes, fragments))
