"""Speaks the WebSocket protocol (RFC 6455) in the place of the provider, over one end of a pair of sockets."""

from __future__ import annotations

import asyncio
import functools
import http
import os
import selectors
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from aquila.cassettes.model import SWITCHED
from aquila.cassettes.web_socket_frames.frame import BROKEN, WITHOUT_CODE, Close, Frame
from aquila.cassettes.web_socket_frames.replay import AT_ONCE
from aquila.intercept.web_sockets.assembling import CLOSE
from aquila.intercept.web_sockets.opening_handshakes import (
    OF_THE_CONNECTION,
    SILENT,
    SUBPROTOCOL,
    fields_of_acceptance,
    phrase_of,
    replace_fields,
)
from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.optional import import_websockets

_STEP = 0.05
"""The seconds of one step of a wait. Steps are counted, because a test may have stopped the clock."""

_SHORT_STEP, _LAST_READ = 0.005, 0.25
"""At its end a connection stays open until all was read: the seconds between two checks, and the longest wait.
Version 13 of websockets drops messages that were not read before a close."""

_AT_ONCE, _AT_ONCE_TO_CLIENT = 256 * 1024, 64 * 1024
"""The most bytes that are prepared before some are sent: in the peer's thread, and in that of the client, which may run
an event loop."""

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class ClientEnd(socket.socket):
    """The client's end of a connection within the process.

    ``hand_over`` passes the bytes that the client sends to the peer, in the client's own thread. It returns False if
    the peer is gone; then the socket fails as one whose other end is closed. A library that writes without the methods
    of this object reaches the peer through the socket.
    """

    hand_over: Callable[[bytes], bool] = staticmethod(lambda data: False)
    start_thread: Callable[[], None] = staticmethod(lambda: None)
    """Lets a thread of the peer read the socket from now on."""
    tell_closed: Callable[[], None] = staticmethod(lambda: None)
    """Tells the peer that the client has closed its end."""

    def close(self) -> None:
        """Close this end, and have the peer close its end."""
        super().close()
        self.tell_closed()

    def detach(self) -> int:
        """Return the descriptor, for a library that uses the socket without this object."""
        self.start_thread()
        return super().detach()

    def send(self, data: Any, *flags: int) -> int:
        """Send all."""
        sent = bytes(data)
        return len(sent) if self.hand_over(sent) else super().send(sent, *flags)

    def sendall(self, data: Any, *flags: int) -> None:
        """Send all."""
        sent = bytes(data)
        if not self.hand_over(sent):
            super().sendall(sent, *flags)

    def sendmsg(self, buffers: Iterable[Any], *options: Any) -> int:
        """Send all."""
        return self.send(b"".join(buffers))

    def setsockopt(self, *args: Any) -> None:
        """Do nothing: clients set options of TCP."""

    def pending(self) -> int:
        """Return 0, the number of decrypted bytes that are not read, as a socket of ``ssl`` does. For ``wss``."""
        return 0


def connect_to_peer(conversation: ReplayedConversation) -> ClientEnd:
    """Return a connection to a peer that answers in the place of the provider. Raises ``MissingDependency``.

    The client must send by the methods of the object, or detach its descriptor.
    """
    library = import_websockets(purpose="an answer to a WebSocket")
    client, its_end = socket.socketpair()
    peer = _Peer(its_end, conversation, library.ServerProtocol(max_size=None, logger=SILENT))
    end = ClientEnd(client.family, client.type, client.proto, fileno=client.detach())
    end.hand_over, end.start_thread, end.tell_closed = peer.take, peer.start_thread, peer.client_closed
    conversation.connect(start_thread=peer.start_thread, break_off=peer.break_off)
    return end


async def connect_in_loop(conversation: ReplayedConversation, make_protocol: Callable[[], Any]) -> tuple[Any, Any]:
    """``connect_to_peer`` for protocols of the running event loop. Return a transport and the protocol."""
    loop = asyncio.get_running_loop()
    end = connect_to_peer(conversation)
    if not isinstance(loop, asyncio.SelectorEventLoop):
        end.start_thread()  # other loops, such as uvloop, send by the descriptor
    return await loop.create_connection(make_protocol, sock=end)


class _Peer:
    """Answers in the thread of the client when that sends a message, so that the answer is there when the client reads.

    A thread of the peer sends what the connection has no room for. It also keeps pauses, and ends waits for messages
    that never come. The thread begins when it is needed, which most conversations never do, and ends with them.
    """

    def __init__(self, end: socket.socket, conversation: ReplayedConversation, protocol: Any) -> None:
        self._end = end
        self._process = os.getpid()
        self._selector: selectors.BaseSelector | None = None  # the selector of the thread, once it has begun
        self._conversation = conversation
        self._protocol = protocol
        # A thread may use the following fields, and write to the socket, only in its turn. See `Turns`.
        self._turns = conversation.turns
        self._is_open = False  # the handshake was accepted
        self._has_closed = False  # one side has sent a close frame, so nothing more is said
        self._is_gone = False  # the socket is closed
        self._heard = 0  # the number of messages of the client; each was compared when it was sent
        self._said: deque[tuple[float, Frame]] = deque()  # messages to send, each with the seconds to wait before it
        self._has_more = False  # the conversation may have more messages after these
        self._out = bytearray()  # bytes for which the connection had no room yet
        self._leaves = False  # close the socket once `_out` is empty
        self._waits_since = 0.0  # when the present wait began, by `perf_counter`
        self._paused = 0.0  # for how many seconds the next message has been held back
        self._quiet = 0.0  # for how many seconds nobody has sent a message

        end.setblocking(False)
        # Closes this end when the client drops its own without closing it. Not at the exit of the interpreter, where
        # the system closes it anyway.
        weakref.finalize(self, end.close).atexit = False

    def break_off(self) -> None:
        """Break the connection for both sides, except in a forked process: there it is the parent's."""
        if os.getpid() != self._process:
            return
        with suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)

    # In the thread of the client.

    def start_thread(self) -> None:
        """Start the thread of the peer, unless it has begun."""
        if self._selector is None:
            self._turns.do_or_queue(self._begin_thread)

    def _begin_thread(self) -> None:
        # Runs in a turn, so two callers of `start_thread` start only one. The thread ends with the connection, and
        # closes the selector. It is a daemon, because a program may exit with an open connection.
        if self._selector is not None or self._is_gone:
            return
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._end, _READ)
        threading.Thread(target=self._run, args=(self._selector,), name="aquila-websocket", daemon=True).start()

    def client_closed(self) -> None:
        """Close this end, unless the thread runs, which does so itself. The client has closed its own, perhaps in a
        garbage collection.
        """
        self._turns.do_or_queue(self._go_without_thread)

    def _go_without_thread(self) -> None:
        if self._selector is None:
            self._go()

    def _go(self) -> None:
        self._is_gone = True
        self._end.close()
        self._conversation.note_disconnected()

    def take(self, data: bytes) -> bool:
        """Take the bytes that the client sends, and answer. Return False if the peer has closed its end."""
        if self._is_gone:
            return False
        self._turns.do_or_queue(functools.partial(self._answer, data))
        return True

    def _answer(self, data: bytes) -> None:
        if self._is_gone:
            return
        self._hear(data)
        pause = self._speak(_AT_ONCE_TO_CLIENT)
        with suppress(OSError):
            self._write()
        if self._out or self._leaves or pause is not None:
            self._leave_the_rest()

    def _leave_the_rest(self) -> None:
        if self._selector is not None:
            # Wakes the thread as soon as the connection has room, also from its wait. The selectors of all systems
            # allow this. That of Windows wakes up only after its step.
            self._selector.modify(self._end, _READ | _WRITE)
        elif self._leaves and not self._out:
            self._go()
        else:
            self._begin_thread()

    # In the thread of the peer.

    def _run(self, selector: selectors.BaseSelector) -> None:
        with selector, suppress(OSError):
            try:
                while self._go_on(selector):
                    pass
            finally:
                self._turns.take(self._go)

    def _go_on(self, selector: selectors.BaseSelector) -> bool:
        wait = self._turns.take(self._begin_wait, selector)
        if wait is None:
            return False
        limit, is_pausing = wait
        ready = bool(selector.select(limit))
        if not self._turns.take(self._end_wait, limit, ready):
            return False
        self._check_patience(is_pausing=is_pausing)
        return True

    def _begin_wait(self, selector: selectors.BaseSelector) -> tuple[float, bool] | None:
        """Send what is due. Return how many seconds to wait, and whether that is for a pause; None at the end."""
        pause = self._speak(_AT_ONCE)
        self._write()
        if self._leaves and not self._out:
            return None
        selector.modify(self._end, _READ | _WRITE if self._out else _READ)
        self._waits_since = time.perf_counter()
        return _STEP if pause is None or self._out else min(pause, _STEP), pause is not None

    def _end_wait(self, limit: float, ready: bool) -> bool:
        """Count a wait that lasted ``limit`` seconds at most. Return whether the client is still connected."""
        spent = min(limit, time.perf_counter() - self._waits_since) if ready else limit
        self._paused += spent
        self._quiet += spent
        return not ready or self._receive()

    def _receive(self) -> bool:
        """Take the bytes that the client has sent through its socket. Return whether it is still connected."""
        try:
            data = self._end.recv(65536)
        except BlockingIOError:
            return True
        self._hear(data)
        return bool(data)

    def _write(self) -> None:
        """Write as much as the connection has room for."""
        try:
            while self._out:
                del self._out[: self._end.send(self._out)]
        except BlockingIOError:
            return

    # In both threads, in a turn.

    def _hear(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if not self._is_open:
                self._answer_handshake(event)
            elif int(event.opcode) < CLOSE:
                self._heard += event.fin
                if not self._said:  # the pause before the answer begins now
                    self._paused, self._waits_since = 0.0, time.perf_counter()
            elif int(event.opcode) == CLOSE:
                closed = self._protocol.close_rcvd
                self._has_closed = True
                self._conversation.take_close(closed.code, closed.reason)
            else:
                continue  # a ping does not end the silence: clients send pings as long as they wait
            self._quiet = 0.0
        self._leaves |= self._protocol.handshake_exc is not None

    def _answer_handshake(self, request: Any) -> None:
        answer = self._conversation.handshake_answer
        if not answer.has_begun:
            self._leaves = answer.end == "broken"
            return
        if answer.status == SWITCHED:
            response = self._protocol.accept(request)
            self._is_open = response.status_code == SWITCHED
            fields = fields_of_acceptance(answer.headers, offers_subprotocol=SUBPROTOCOL in request.headers)
        else:
            response = self._protocol.reject(http.HTTPStatus.BAD_REQUEST, "")
            response.status_code, response.reason_phrase = answer.status, phrase_of(answer.status)
            response.body = answer.body
            response.headers.clear()
            fields = (
                *[row for row in answer.headers if row[0] not in OF_THE_CONNECTION],
                ("content-length", str(len(answer.body))),
                ("connection", "close"),
            )
        replace_fields(response.headers, fields)
        self._protocol.send_response(response)

    def _speak(self, at_once: int) -> float | None:
        """Prepare the messages that are due, about ``at_once`` bytes at most.

        Return after how many seconds more is due; None if that is not known.
        """
        pause = self._say_what_is_due(at_once)
        self._take_output()
        return pause

    def _say_what_is_due(self, at_once: int) -> float | None:
        if not self._is_open or self._has_closed:
            return None
        ready = len(self._out)
        self._take_deliverable()
        while self._said:
            if ready >= at_once:
                return 0.0
            pause, frame = self._said[0]
            if pause > self._paused:
                return pause - self._paused
            self._said.popleft()
            self._paused = self._quiet = 0.0
            (self._protocol.send_text if frame.is_text else self._protocol.send_binary)(frame.data)
            ready += len(frame.data)
            if self._has_more and not self._said:
                self._take_deliverable()
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

    def _take_deliverable(self) -> None:
        if not self._said:
            frames = self._conversation.deliverable(self._heard)
            self._has_more = len(frames) >= AT_ONCE
            self._said.extend(frames)

    def _end_it(self, close: Close | None) -> None:
        self._has_closed = True
        if close is None or close.code == BROKEN:
            self._leaves = True
        elif close.code == WITHOUT_CODE:
            self._protocol.send_close()
        else:
            self._protocol.send_close(close.code, close.reason)

    def _take_output(self) -> None:
        for data in self._protocol.data_to_send():
            self._out += data
            self._leaves |= not data  # the end of what is sent

    def _check_patience(self, *, is_pausing: bool) -> None:
        """End the conversation if its scope has ended, or if the client waits for a message that never comes."""
        conversation = self._conversation
        if conversation.scope_has_closed:
            conversation.end_with_scope()
        elif is_pausing or self._out or not (conversation.is_awaited or conversation.is_never_opened):
            self._quiet = 0.0
        elif self._quiet >= conversation.longest_silence():
            conversation.end_silence()
