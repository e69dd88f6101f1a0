"""Speaks the WebSocket protocol (RFC 6455) in the provider's place, over one end of a pair of sockets."""

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
from aquila.intercept.web_sockets.opening_handshakes import (
    OF_THE_CONNECTION,
    SILENT,
    SUBPROTOCOL,
    fields_of_acceptance,
    phrase_of,
)
from aquila.intercept.web_sockets.replayed import ReplayedConversation
from aquila.optional import import_websockets

_STEP = 0.05
"""A wait is made of steps of so many seconds. They are counted: a test may have stopped the clock."""

_SHORT_STEP, _LAST_READ = 0.005, 0.25
"""At its end a connection stays until all was read, which is looked for this often, but no longer than this. Websockets
13 forgets what was not read before a close."""

_AT_ONCE, _AT_ONCE_TO_CLIENT = 256 * 1024, 64 * 1024
"""So many bytes are made ready at most before some are on their way: by the peer's thread, and by that of the client,
which may run an event loop."""

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_CLOSE_FRAME = 8


class ClientEnd(socket.socket):
    """The client's end of a connection that leads to no network.

    ``hand_over`` gives the peer what the client sends, in the client's own thread; it returns False if the peer is
    gone, and the socket then fails as one whose other end has closed. A library that writes without this object's
    methods reaches the peer through the socket.
    """

    hand_over: Callable[[bytes], bool] = staticmethod(lambda data: False)
    attend: Callable[[], None] = staticmethod(lambda: None)
    """Lets a thread of the peer look at the socket from now on."""
    leave: Callable[[], None] = staticmethod(lambda: None)
    """Tells the peer that the client has closed its end."""

    def close(self) -> None:
        """Close, and let the peer do so."""
        super().close()
        self.leave()

    def detach(self) -> int:
        """Return the descriptor, for a library that knows nothing of this object."""
        self.attend()
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
        """Do nothing: what clients set is for TCP."""

    def pending(self) -> int:
        """Return how much is decrypted but not read, as a socket of ``ssl`` does: nothing. Clients ask at ``wss``."""
        return 0


def connect_to_peer(conversation: ReplayedConversation) -> ClientEnd:
    """Return a connection to what answers in the provider's place. Raises ``MissingDependency``.

    For a client that sends by the methods of the object, or detaches its descriptor.
    """
    library = import_websockets(purpose="an answer to a WebSocket")
    client, its_end = socket.socketpair()
    peer = _Peer(its_end, conversation, library.ServerProtocol(max_size=None, logger=SILENT))
    end = ClientEnd(client.family, client.type, client.proto, fileno=client.detach())
    end.hand_over, end.attend, end.leave = peer.take, peer.attend, peer.leave
    conversation.connect(attend=peer.attend, break_off=peer.break_off)
    return end


async def connect_in_loop(conversation: ReplayedConversation, make_protocol: Callable[[], Any]) -> tuple[Any, Any]:
    """``connect_to_peer`` for protocols of the running event loop. Return a transport and the protocol."""
    loop = asyncio.get_running_loop()
    end = connect_to_peer(conversation)
    if not isinstance(loop, asyncio.SelectorEventLoop):
        end.attend()  # others, such as uvloop, send by the descriptor
    return await loop.create_connection(make_protocol, sock=end)


class _Peer:
    """Answers in the thread of the client, which so finds the answer when it reads, as far as the connection holds it.

    What is left is said by a thread of the peer, and so is what takes time: pauses, and waits for what nobody says. It
    begins when there is something for it to do, which for most conversations is never, and lasts as long as they do.
    """

    def __init__(self, end: socket.socket, conversation: ReplayedConversation, protocol: Any) -> None:
        self._end = end
        self._process = os.getpid()
        self._selector: selectors.BaseSelector | None = None  # that of the thread, once it has begun
        self._conversation = conversation
        self._protocol = protocol
        # Only in a turn may a thread read or change what follows, and write to the socket. See `Turns`.
        self._turns = conversation.turns
        self._is_open = False  # the handshake was accepted
        self._has_closed = False  # one side has sent a close frame, so nothing more is said
        self._is_gone = False  # the socket is closed
        self._heard = 0  # messages of the client, all of which were compared when they were sent
        self._said: deque[tuple[float, Frame]] = deque()  # what may be said, and after how many seconds
        self._has_more = False  # behind these
        self._out = bytearray()  # bytes for which the connection had no room yet
        self._leaves = False  # close the socket once `_out` is empty
        self._waits_since = 0.0
        self._paused = 0.0  # for how long the next message has been held back
        self._quiet = 0.0  # for how long nothing was said

        end.setblocking(False)
        # Closes this end when the client drops its own without closing it. Not at the exit of the interpreter, where
        # the system closes it anyway.
        weakref.finalize(self, end.close).atexit = False

    def break_off(self) -> None:
        """Let the connection break, for both. In a process that was forked meanwhile it is that of the parent."""
        if os.getpid() != self._process:
            return
        with suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)

    # In the thread of the client.

    def attend(self) -> None:
        """Let a thread do what is due from now on."""
        if self._selector is None:
            self._turns.leave(self._begin_thread)

    def _begin_thread(self) -> None:
        # Runs in a turn, so two callers of `attend` start one thread. The thread ends with the connection, and closes
        # the selector. A daemon, because a program may leave its connection open at its exit.
        if self._selector is not None or self._is_gone:
            return
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._end, _READ)
        threading.Thread(target=self._run, args=(self._selector,), name="aquila-websocket", daemon=True).start()

    def leave(self) -> None:
        """The client has closed its end, perhaps where it was collected as garbage. The thread sees that by itself."""
        self._turns.leave(self._go_without_thread)

    def _go_without_thread(self) -> None:
        if self._selector is None:
            self._go()

    def _go(self) -> None:
        self._is_gone = True
        self._end.close()
        self._conversation.leave()

    def take(self, data: bytes) -> bool:
        """Take what the client sends, and answer. Return False if nobody is here any more."""
        if self._is_gone:
            return False
        self._turns.leave(functools.partial(self._answer, data))
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
            # Wakes the thread as soon as there is room in the connection, if need be from its wait. All selectors
            # that systems have for this allow it; that of Windows wakes up after its step.
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
        """Say what is due. Return for how many seconds to wait, and whether for a pause to end; None at the end."""
        pause = self._speak(_AT_ONCE)
        self._write()
        if self._leaves and not self._out:
            return None
        selector.modify(self._end, _READ | _WRITE if self._out else _READ)
        self._waits_since = time.perf_counter()
        return _STEP if pause is None or self._out else min(pause, _STEP), pause is not None

    def _end_wait(self, limit: float, ready: bool) -> bool:
        """Count a wait of ``limit`` seconds at most. Return whether the client is still there."""
        spent = min(limit, time.perf_counter() - self._waits_since) if ready else limit
        self._paused += spent
        self._quiet += spent
        return not ready or self._receive()

    def _receive(self) -> bool:
        """Take what the client has sent through its socket, if anything. Return whether it is still there."""
        try:
            data = self._end.recv(65536)
        except BlockingIOError:
            return True
        self._hear(data)
        return bool(data)

    def _write(self) -> None:
        """Write as much as there is room for in the connection."""
        try:
            while self._out:
                del self._out[: self._end.send(self._out)]
        except BlockingIOError:
            return

    # In both, in a turn.

    def _hear(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if not self._is_open:
                self._answer_handshake(event)
            elif int(event.opcode) < _CLOSE_FRAME:
                self._heard += event.fin
                if not self._said:  # the pause before what it is answered begins now
                    self._paused, self._waits_since = 0.0, time.perf_counter()
            elif int(event.opcode) == _CLOSE_FRAME:
                closed = self._protocol.close_rcvd
                self._has_closed = True
                self._conversation.take_close(closed.code, closed.reason)
            else:
                continue  # a ping says nothing: clients send them for as long as they wait
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
        for name, value in fields:
            response.headers[name] = value
        self._protocol.send_response(response)

    def _speak(self, at_once: int) -> float | None:
        """Say what may be said now. Return after how many seconds more is due, None if that is not known.

        No more than ``at_once`` bytes are made ready.
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
        """End a wait that nothing else will end."""
        conversation = self._conversation
        if conversation.is_over:
            conversation.end_with_scope()
        elif is_pausing or self._out or not (conversation.is_awaited or conversation.is_never_opened):
            self._quiet = 0.0
        elif self._quiet >= conversation.longest_silence():
            conversation.end_silence()
