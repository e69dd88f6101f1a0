"""The provider's end of a connection in its place: RFC 6455 over one of a pair of sockets, in a thread of its own."""

from __future__ import annotations

import http
import logging
import selectors
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any

from aquila.cassettes.frames.frame import SWITCHED, Close, Frame
from aquila.cassettes.model import Headers
from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.optional import import_optional

_STEP = 0.05
"""A wait is made of steps of so many seconds. They are counted: a test may have stopped the clock."""

_SHORT_STEP, _LAST_READ = 0.005, 0.25
"""At its end a connection stays until all was read, which is looked for this often, but no longer than this. Websockets
13 forgets what was not read before a close."""

_AT_ONCE = 256 * 1024
"""So many bytes are on their way at most before the client has read some."""

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_CLOSE_FRAME = 8
_BROKEN, _WITHOUT_CODE = 1006, 1005
"""Codes that stand for a connection that broke off, and for a close without one. Neither can be sent."""

_SUBPROTOCOL = "sec-websocket-protocol"
_OF_THE_CONNECTION = frozenset({"connection", "upgrade", "content-length", "transfer-encoding", "content-encoding"})
_SILENT = logging.Logger("aquila.websocket", logging.CRITICAL + 1)
"""Tests look at what is logged. What the peer does is none of their business."""


class ClientEnd(socket.socket):
    """The client's end of a connection that leads to no network."""

    def setsockopt(self, *args: Any) -> None:
        """Do nothing: what clients set is for TCP."""

    def pending(self) -> int:
        """Return how much is decrypted but not read, as a socket of ``ssl`` does: nothing. Clients ask at ``wss``."""
        return 0


def connect(conversation: ReplayedConversation) -> ClientEnd:
    """Return a connection to what answers in the provider's place. Raises ``MissingDependency``."""
    library = import_optional("websockets.server", "websockets", purpose="an answer to a WebSocket")
    client, peer = socket.socketpair()
    _Peer(peer, conversation, library.ServerProtocol(max_size=None, logger=_SILENT)).start()
    return ClientEnd(client.family, client.type, client.proto, fileno=client.detach())


class _Peer:
    def __init__(self, end: socket.socket, conversation: ReplayedConversation, protocol: Any) -> None:
        self._end = end
        self._conversation = conversation
        self._protocol = protocol
        self._is_open = False
        self._has_closed = False
        self._heard = 0  # messages of the client, all of which were compared when they were sent
        self._said: deque[tuple[float, Frame]] = deque()  # what may be said, and after how many seconds
        self._out = bytearray()
        self._wanted = _READ
        self._leaves = False  # once everything is out
        self._paused = 0.0  # for how long the next message has been held back
        self._quiet = 0.0  # for how long nothing has come or gone

    def start(self) -> None:
        self._end.setblocking(False)
        self._conversation.break_off = self._break_off
        threading.Thread(target=self._run, name="aquila-websocket", daemon=True).start()

    def _break_off(self) -> None:
        with suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        with self._end, selectors.DefaultSelector() as selector, suppress(OSError):
            selector.register(self._end, _READ)
            while self._go_on(selector):
                pass

    def _go_on(self, selector: selectors.BaseSelector) -> bool:
        pause = self._speak()
        self._take_output()
        if self._leaves and not self._out:
            return False
        wanted = _READ | _WRITE if self._out else _READ
        if wanted != self._wanted:
            selector.modify(self._end, wanted)
            self._wanted = wanted
        limit = _STEP if pause is None else min(pause, _STEP)
        began = time.perf_counter()
        ready = selector.select(limit)
        spent = min(limit, time.perf_counter() - began) if ready else limit
        self._paused += spent
        self._quiet = 0.0 if ready else self._quiet + spent
        for _, events in ready:
            if events & _WRITE:
                del self._out[: self._end.send(self._out)]
            if events & _READ and not self._hear():
                return False
        self._check_patience(is_pausing=pause is not None)
        return True

    def _hear(self) -> bool:
        """Take what the client sends. Return whether it is still there."""
        data = self._end.recv(65536)
        if not data:
            return False
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if not self._is_open:
                self._answer_handshake(event)
            elif int(event.opcode) < _CLOSE_FRAME:
                self._heard += event.fin
            elif int(event.opcode) == _CLOSE_FRAME:
                closed = self._protocol.close_rcvd
                self._has_closed = True
                self._conversation.take_close(closed.code, closed.reason)
        self._leaves |= self._protocol.handshake_exc is not None
        return True

    def _answer_handshake(self, request: Any) -> None:
        opening = self._conversation.opening
        if not opening.has_begun:
            self._leaves = opening.end == "broken"
            return
        if opening.status == SWITCHED:
            response = self._protocol.accept(request)
            self._is_open = response.status_code == SWITCHED
            fields = fields_of_acceptance(opening.headers, offers_subprotocol=_SUBPROTOCOL in request.headers)
        else:
            response = self._protocol.reject(http.HTTPStatus.BAD_REQUEST, "")
            response.status_code, response.reason_phrase = opening.status, _phrase_of(opening.status)
            response.body = opening.body
            response.headers.clear()
            fields = (
                *[row for row in opening.headers if row[0] not in _OF_THE_CONNECTION],
                ("content-length", str(len(opening.body))),
                ("connection", "close"),
            )
        for name, value in fields:
            response.headers[name] = value
        self._protocol.send_response(response)

    def _speak(self) -> float | None:
        """Say what may be said now. Return after how many seconds more is due, None if that is not known."""
        if not self._is_open or self._has_closed:
            return None
        while self._said or self._take_deliverable():
            if len(self._out) >= _AT_ONCE:
                return _STEP
            pause, frame = self._said[0]
            if pause > self._paused:
                return pause - self._paused
            self._said.popleft()
            self._paused = 0.0
            (self._protocol.send_text if frame.is_text else self._protocol.send_binary)(frame.data)
            self._take_output()
        ending = self._conversation.provider_ending(self._heard)
        if ending is None:
            self._paused = 0.0
            return None
        pause, close = ending
        if pause > self._paused:
            return pause - self._paused
        if not self._conversation.is_read and self._paused < _LAST_READ:
            return _SHORT_STEP
        self._end_it(close)
        return None

    def _take_deliverable(self) -> bool:
        self._said.extend(self._conversation.deliverable(self._heard))
        return bool(self._said)

    def _end_it(self, close: Close | None) -> None:
        self._has_closed = True
        if close is None or close.code == _BROKEN:
            self._leaves = True
        elif close.code == _WITHOUT_CODE:
            self._protocol.send_close()
        else:
            self._protocol.send_close(close.code, close.reason)

    def _take_output(self) -> None:
        for data in self._protocol.data_to_send():
            self._out += data
            self._leaves |= not data  # the end of what is sent

    def _check_patience(self, *, is_pausing: bool) -> None:
        """End a wait that nothing else will end."""
        conversation = self._conversation
        if conversation.is_over:
            conversation.end_with_scope()
        elif is_pausing or self._out or not conversation.is_awaited:
            self._quiet = 0.0
        elif self._quiet >= conversation.longest_silence():
            conversation.end_silence()


def fields_of_acceptance(recorded: Headers, *, offers_subprotocol: bool) -> Headers:
    """The recorded fields that are none of the handshake itself, and the subprotocol, if one was offered."""
    return tuple(
        (name, value)
        for name, value in recorded
        if name not in _OF_THE_CONNECTION
        and (not name.startswith("sec-websocket-") or (name == _SUBPROTOCOL and offers_subprotocol))
    )


def _phrase_of(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""
