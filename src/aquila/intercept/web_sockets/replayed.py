"""A conversation without its provider, between the program and the peer that answers."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import get_ident
from typing import Literal, NoReturn

import anyio

from aquila.cassettes.web_socket_frames.frame import Close, Frame
from aquila.errors import CassetteMiss, SessionClosed
from aquila.intercept.web_sockets.open_conversations import OpenConversations
from aquila.intercept.web_sockets.provider_side import ProviderSide
from aquila.intercept.web_sockets.turns import Turns
from aquila.recording.reporting.wire_watch import Reading

_AT_FIRST = (0.0, 0.0, 0.0, 0.001, 0.004)
_UNTIL_OTHERS_BEGIN = (0.01,) * 20
_WHILE_OTHERS_WORK = (0.05,) * 40
"""The seconds between checks whether a message may be sent. First for a moment, because another task may be about to
begin; then a little longer, because it may be busy; then much longer, if several tasks or threads may use the
conversation."""


class ReplayedConversation:
    """One conversation that ``side`` answers. Any thread may send and wait for messages.

    ``refuse`` notes a miss and raises it. ``scope_has_closed`` says whether its scope has. While the conversation is
    connected, it is one of ``those_open``.
    """

    def __init__(
        self,
        side: ProviderSide,
        *,
        refuse: Callable[[CassetteMiss], NoReturn],
        scope_has_closed: Callable[[], bool],
        those_open: OpenConversations,
    ) -> None:
        self.handshake_answer = side.handshake_answer
        self._start_thread: Callable[[], None] = lambda: None
        self._break_off: Callable[[], None] = lambda: None
        self._those_open = those_open
        self.side = side
        self._readings = side.readings
        self._counts_readers = True  # False once a reader has ended without a message: one may be lost
        self._waiting: deque[None] = deque()
        """An entry for each reader and other code that waits. A deque and not a counter, because ``append`` and ``pop``
        are atomic, so threads need no lock."""
        self._reading, self._on_its_way = _WithinReading(self), _OnItsWay(self)
        self._users: set[int] = set()
        """The ids of the tasks and threads that have sent or waited for a message, two at most."""
        self._refuse = refuse
        self._scope_has_closed = scope_has_closed
        self._taken_count = 0
        self._delivered_count = 0
        self._read_count = 0
        self._hears_all = True  # every compared message reaches the peer
        # Holds a token until the conversation fails. The thread that takes the token stores the reason. `pop` is
        # atomic, so only one thread does. Not a lock, for which a scope that ends would have to wait.
        self._unfailed: deque[None] = deque([None])
        self._is_closing = False  # the client has sent a close, perhaps in answer to one
        # The reason of the failure, until a reader has raised it. Later reads find a broken connection.
        self._untold: deque[CassetteMiss | SessionClosed] = deque()
        self.turns = Turns()
        """Guard the ``side``, and the messages that it takes and delivers."""

    # The connection.

    def connect(self, *, start_thread: Callable[[], None], break_off: Callable[[], None]) -> None:
        """Connect to a peer. ``start_thread`` starts its thread, and ``break_off`` breaks its connection."""
        self._start_thread, self._break_off = start_thread, break_off
        self._those_open.add(self)
        if self.is_never_opened:
            start_thread()

    def note_disconnected(self) -> None:
        """Note that the connection has ended."""
        self._those_open.discard(self)

    # The side of the program.

    def send(self, data: bytes, *, is_text: bool) -> None:
        """Compare a message of the client before it is sent. Raises ``CassetteMiss``."""
        self._take(data, is_text, may_wait=False)

    def send_in_turn(self, data: bytes, *, is_text: bool) -> None:
        """``send``, but a message that was recorded after others waits a while until other threads have sent those."""
        self._note_user()
        if self._take(data, is_text, may_wait=True):
            return
        for pause in self._pauses_of_turn():
            time.sleep(pause)
            if self._take(data, is_text, may_wait=True):
                return
        self.send(data, is_text=is_text)

    async def send_in_turn_async(self, data: bytes, *, is_text: bool) -> None:
        """``send_in_turn`` for tasks of an event loop."""
        self._note_user()
        if self._take(data, is_text, may_wait=True):
            return
        for pause in self._pauses_of_turn():
            await anyio.sleep(pause)
            if self._take(data, is_text, may_wait=True):
                return
        self.send(data, is_text=is_text)

    def on_its_way(self) -> AbstractContextManager[None]:
        """Return a block in which the library sends a compared message.

        If the block ends with an error, the peer may never hear the message, and answers without it.
        """
        return self._on_its_way

    def note_unsent(self) -> None:
        """Note that a compared message may never reach the peer."""
        self._hears_all = False
        self._start_thread()  # the answer is due nevertheless

    def _is_ahead(self, heard: int) -> bool:
        """Whether a compared message is still on its way to the peer, which has heard ``heard`` messages."""
        return heard < self._taken_count and self._hears_all

    def _take(self, data: bytes, is_text: bool, *, may_wait: bool) -> bool:
        """Return whether the message was taken; otherwise it has to wait. Raises ``CassetteMiss``."""
        miss = self.turns.take(self._take_sent, data, is_text, may_wait)
        if miss is None or miss == "early":
            return miss is None
        self._break_off()
        return self._refuse(miss)

    def _take_sent(self, data: bytes, is_text: bool, may_wait: bool) -> CassetteMiss | Literal["early"] | None:
        if not self._unfailed or self._is_closing or self._is_left_by_provider:
            return None  # the connection is about to close, and the library raises its error for that
        miss = self.side.take_sent(data, is_text, may_wait=may_wait)
        if miss is None:
            self._taken_count += 1
        elif miss != "early":
            self._unfailed.clear()
        return miss

    def _pauses_of_turn(self) -> Iterator[float]:
        """Yield the seconds to wait before each further check whether a message may be sent."""
        yield from _AT_FIRST
        yield from _UNTIL_OTHERS_BEGIN
        # A single user that has also read is alone. While nobody has read, others may still begin.
        if len(self._users) > 1 or not self._read_count:
            yield from _WHILE_OTHERS_WORK

    def _note_user(self) -> None:
        if get_ident() in self._users or len(self._users) > 1:
            return
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no loop of asyncio runs here
            task = None
        self._users.add(get_ident() if task is None else id(task))

    def reading(self) -> AbstractContextManager[None]:
        """Return a block in which a reader waits for a message. It raises the error that has ended the conversation."""
        return self._reading

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A block in which the program waits for the provider, without reading a message."""
        self._waiting.append(None)
        try:
            self._start_thread()
            yield
        finally:
            self._waiting.pop()

    # The next two are called for each message, so they inline what other methods do.

    def begin_reading(self) -> None:
        """Note that a reader begins to wait for a message."""
        if get_ident() not in self._users:
            self._note_user()
        self._waiting.append(None)
        if self._read_count + len(self._waiting) > self._delivered_count or not self._counts_readers:
            self._start_thread()  # the message may never come, which the thread of the peer notices

    def end_reading(self, error: BaseException | None = None) -> None:
        """Note that a reader has got a message, or ``error``. Raises the error that has ended the conversation."""
        self._waiting.pop()
        if error is None:
            self._read_count += 1
            if self._readings.is_watched:
                self._readings.note_read(self._read_count)
            return
        self._counts_readers = False
        self._readings.end("raised")
        if isinstance(error, Exception):  # it was not cancelled
            self.tell_failure()

    def note_read(self) -> None:
        """Note that the client has got a message. For a server, that was sent to its client."""
        self._read_count += 1
        if self._readings.is_watched:
            self._readings.note_read(self._read_count)

    def note_ending(self, reading: Reading) -> None:
        """Note how the client's reading ended for the messages that it did not get."""
        self._readings.end(reading)

    def tell_failure(self) -> None:
        """Raise the error that has ended the conversation, unless it was raised before."""
        try:
            failure = self._untold.pop()
        except IndexError:
            return
        if isinstance(failure, CassetteMiss):
            self._refuse(failure)
        raise failure

    @property
    def _is_left_by_provider(self) -> bool:
        ended = self.side.ended
        return ended == "broken" or (isinstance(ended, Close) and ended.by == "provider")

    # The side of the peer, in a turn. A server, which does everything in one event loop, needs no turns.

    def take_close(self, code: int, reason: str) -> None:
        """Take the close of the client."""
        self._is_closing = True
        self.side.take_close(code, reason)
        self._readings.end("left")

    def deliverable(self, heard: int) -> list[tuple[float, Frame]]:
        """Return the messages that the provider sends now, each with the seconds to wait before it.

        ``heard`` is the number of messages that have reached the peer. While one is on its way, the result is empty.
        """
        if self._is_ahead(heard):
            return []
        frames = self.side.deliverable()
        self._delivered_count += len(frames)
        return frames

    @property
    def is_read(self) -> bool:
        """Whether readers have got all delivered messages."""
        return self._read_count >= self._delivered_count

    def provider_ending(self, heard: int) -> tuple[float, Close | None] | None:
        """Return after how many seconds the provider ends the conversation now, and its close (None: it breaks off).

        None while the conversation goes on, or if the client ends it. ``heard`` is as in ``deliverable``.
        """
        if self._is_ahead(heard) or not self._is_left_by_provider:
            return None
        ended = self.side.ended
        return self.side.pause_before_end(), ended if isinstance(ended, Close) else None

    # The state and the end of the conversation. For any thread.

    @property
    def is_mute(self) -> bool:
        """Whether readers have got all delivered messages, and a fault withholds the rest."""
        return self.turns.take(lambda: self.side.is_silenced) and self.is_read

    @property
    def is_awaited(self) -> bool:
        """Whether the program waits for the provider."""
        return bool(self._waiting)

    @property
    def is_never_opened(self) -> bool:
        """Whether the handshake gets no answer: the client waits until its own limit, if it has one."""
        answer = self.handshake_answer
        return not answer.has_begun and answer.end == "silent"

    @property
    def waits_for_client(self) -> bool:
        """Whether the conversation has not ended, and goes on when the client sends a message."""
        return self.turns.take(lambda: self.side.ended is None)

    @property
    def scope_has_closed(self) -> bool:
        """Whether the scope has closed, so that the conversation must break off."""
        return self._scope_has_closed()

    def end_with_scope(self) -> None:
        """Break the conversation off, because its scope has ended."""
        self._fail(SessionClosed("the use of the cassette has ended while something was still waiting for a message"))

    def end_silence(self) -> None:
        """Break the conversation off, because a reader, or the client in its handshake, has waited in vain."""
        error = self.explain_silence()
        if self.is_never_opened:
            # No reader waits that could raise the error. The miss is noted, and the client finds a broken connection.
            with suppress(BaseException):
                self._refuse(error)
        self._fail(error)

    def explain_silence(self) -> CassetteMiss:
        """Return the error for a reader that waits in vain."""
        return self.turns.take(self.side.explain_silence)

    def _fail(self, error: CassetteMiss | SessionClosed) -> None:
        with suppress(IndexError):  # the conversation has failed before
            self._unfailed.pop()
            self._untold.append(error)
        self._break_off()

    def longest_silence(self) -> float:
        """Return how many seconds a reader may wait while no message comes."""
        return self.turns.take(self.side.longest_silence)


# Classes and not generators, because one is entered for each message. They have no state, so all readers share one.


class _OnItsWay(AbstractContextManager[None]):
    def __init__(self, conversation: ReplayedConversation) -> None:
        self._conversation = conversation

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, place: object) -> None:
        if error is not None:
            self._conversation.note_unsent()


class _WithinReading(AbstractContextManager[None]):
    def __init__(self, conversation: ReplayedConversation) -> None:
        self._conversation = conversation

    def __enter__(self) -> None:
        self._conversation.begin_reading()

    def __exit__(self, kind: object, error: BaseException | None, place: object) -> None:
        self._conversation.end_reading(error)
