"""A conversation without its provider, between the program that speaks and the peer that answers."""

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
"""Seconds between looks whether it is a message's turn: for a moment, since the next task may have to begin, a little
longer, since it may be busy, and much longer where several tasks or threads may use the conversation."""


class ReplayedConversation:
    """One conversation that ``side`` answers. Any thread may send, wait, or ask for what comes next.

    ``refuse`` notes a miss and raises it as it suits the place. ``is_over`` says whether its scope has ended. While it
    is connected it is one of ``those_open``.
    """

    def __init__(
        self,
        side: ProviderSide,
        *,
        refuse: Callable[[CassetteMiss], NoReturn],
        is_over: Callable[[], bool],
        those_open: OpenConversations,
    ) -> None:
        self.handshake_answer = side.handshake_answer
        self._attend: Callable[[], None] = lambda: None
        self._break_off: Callable[[], None] = lambda: None
        self._those_open = those_open
        self.side = side
        self._readings = side.readings
        self._counts_readers = True  # none has ended without a message, which may be lost
        self._waiting: deque[None] = deque()
        """An entry for each reader or other code that waits. A deque and not a counter, because ``append`` and ``pop``
        are atomic, so that threads need no lock."""
        self._reading, self._on_its_way = _WithinReading(self), _OnItsWay(self)
        self._users: set[int] = set()
        """The tasks and threads that have sent, or waited for a message."""
        self._refuse = refuse
        self._is_over = is_over
        self._taken_count = 0
        self._delivered_count = 0
        self._read_count = 0
        self._hears_all = True  # every message that was compared is on its way to the peer
        # A token, which is there until the conversation fails. The thread that takes it out says why; `pop` is atomic,
        # so there is one. Not a lock, for which a scope that ends would have to wait.
        self._unfailed: deque[None] = deque([None])
        self._is_closing = False  # a close has come from the client, perhaps in answer to one
        # The reason of the failure, until a reader has raised it. It is raised once; later reads find a broken
        # connection.
        self._untold: deque[CassetteMiss | SessionClosed] = deque()
        self.turns = Turns()
        """Guard what is said, and the ``side``."""

    # The connection.

    def connect(self, *, attend: Callable[[], None], break_off: Callable[[], None]) -> None:
        """Begin. ``attend`` lets the peer do by itself what is due from now on; ``break_off`` breaks the connection."""
        self._attend, self._break_off = attend, break_off
        self._those_open.add(self)
        if self.is_never_opened:
            attend()

    def leave(self) -> None:
        """The connection is no more."""
        self._those_open.discard(self)

    # The side of the program.

    def send(self, data: bytes, *, is_text: bool) -> None:
        """Take a message of the client, before it is on its way. Raises ``CassetteMiss``."""
        self._take(data, is_text, may_wait=False)

    def send_in_turn(self, data: bytes, *, is_text: bool) -> None:
        """``send``, but one that was recorded behind others waits for a while until other threads have sent those."""
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
        """Say that a message that was compared is handed to the library until the block ends.

        If it is cancelled there, the peer may never hear it. The program goes on as it did when that was recorded.
        """
        return self._on_its_way

    def note_unsent(self) -> None:
        """A message that was compared may never come."""
        self._hears_all = False
        self._attend()  # what answers it is due

    def _is_ahead(self, heard: int) -> bool:
        return heard < self._taken_count and self._hears_all

    def _take(self, data: bytes, is_text: bool, *, may_wait: bool) -> bool:
        """Return whether it was taken, or is to wait."""
        miss = self.turns.take(self._take_sent, data, is_text, may_wait)
        if miss is None or miss == "early":
            return miss is None
        self._break_off()
        return self._refuse(miss)

    def _take_sent(self, data: bytes, is_text: bool, may_wait: bool) -> CassetteMiss | Literal["early"] | None:
        if not self._unfailed or self._is_closing or self._is_left_by_provider:
            return None  # the connection is as good as closed, and the library says so
        miss = self.side.take_sent(data, is_text, may_wait=may_wait)
        if miss is None:
            self._taken_count += 1
        elif miss != "early":
            self._unfailed.clear()
        return miss

    def _pauses_of_turn(self) -> Iterator[float]:
        """Yield the seconds to wait before each further look whether it is a message's turn."""
        yield from _AT_FIRST
        yield from _UNTIL_OTHERS_BEGIN
        # Who is alone and reads, too, has no others. While nobody has read, the others may be yet to come.
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
        """Say that a reader waits for the next message until the block ends. Raises what has ended the conversation."""
        return self._reading

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Say that something waits for what the provider does until the block ends."""
        self._waiting.append(None)
        try:
            self._attend()
            yield
        finally:
            self._waiting.pop()

    # Those two are called for each message: what they ask others is asked here, where that takes no call.

    def begin_reading(self) -> None:
        """A reader begins to wait for a message."""
        if get_ident() not in self._users:
            self._note_user()
        self._waiting.append(None)
        if self._read_count + len(self._waiting) > self._delivered_count or not self._counts_readers:
            self._attend()  # it may wait for what nobody says

    def end_reading(self, error: BaseException | None = None) -> None:
        """A reader has got a message, or an error in its place. Raises what has ended the conversation."""
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
        """A client has got a message: its reader, or, behind a server, its connection."""
        self._read_count += 1
        if self._readings.is_watched:
            self._readings.note_read(self._read_count)

    def note_ending(self, reading: Reading) -> None:
        """Say how that client's reading of what it was not handed has ended."""
        self._readings.end(reading)

    def tell_failure(self) -> None:
        """Raise what has ended the conversation, if nobody has been told yet."""
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

    # The side of the peer, in its turn. Who does all in one event loop, as a server, needs none.

    def take_close(self, code: int, reason: str) -> None:
        """The client closes."""
        self._is_closing = True
        self.side.take_close(code, reason)
        self._readings.end("left")

    def deliverable(self, heard: int) -> list[tuple[float, Frame]]:
        """Return what the provider says now, each message with the seconds to wait before it.

        It has heard so many messages. One that is still on its way is not answered yet.
        """
        if self._is_ahead(heard):
            return []
        frames = self.side.deliverable()
        self._delivered_count += len(frames)
        return frames

    @property
    def is_read(self) -> bool:
        """Whether readers have got all that was delivered."""
        return self._read_count >= self._delivered_count

    def provider_ending(self, heard: int) -> tuple[float, Close | None] | None:
        """Return how the provider ends it now, and after how many seconds: a close, or None if it breaks off.

        None while it goes on, and where it is the client that ends it. ``heard`` is as in ``deliverable``.
        """
        if self._is_ahead(heard) or not self._is_left_by_provider:
            return None
        ended = self.side.ended
        return self.side.pause_before_end(), ended if isinstance(ended, Close) else None

    # What becomes of it. Any thread asks.

    @property
    def is_mute(self) -> bool:
        """Whether a reader has got all that there is, and a fault keeps the rest from coming."""
        return self.turns.take(lambda: self.side.is_silenced) and self.is_read

    @property
    def is_awaited(self) -> bool:
        """Whether something waits for what the provider does."""
        return bool(self._waiting)

    @property
    def is_never_opened(self) -> bool:
        """Whether nobody answers the handshake: the client waits until its own limit, if it has one."""
        answer = self.handshake_answer
        return not answer.has_begun and answer.end == "silent"

    @property
    def waits_for_client(self) -> bool:
        """Whether it goes on when the client says something. It was not yet its turn to end."""
        return self.turns.take(lambda: self.side.ended is None)

    @property
    def is_over(self) -> bool:
        """Whether the scope has ended."""
        return self._is_over()

    def end_with_scope(self) -> None:
        """Break it off: its scope has ended while something waits for more of it."""
        self._fail(SessionClosed("the use of the cassette has ended while something was still waiting for a message"))

    def end_silence(self) -> None:
        """Break it off: a reader, or the client in its handshake, has waited in vain."""
        error = self.explain_silence()
        if self.is_never_opened:
            # Nobody reads yet who could be told. The test is, and the client sees its connection break.
            with suppress(BaseException):
                self._refuse(error)
        self._fail(error)

    def explain_silence(self) -> CassetteMiss:
        """Say why a reader that waits does so in vain."""
        return self.turns.take(self.side.explain_silence)

    def _fail(self, error: CassetteMiss | SessionClosed) -> None:
        with suppress(IndexError):  # it has failed before
            self._unfailed.pop()
            self._untold.append(error)
        self._break_off()

    def longest_silence(self) -> float:
        """Return for how many seconds a reader may wait where nothing comes."""
        return self.turns.take(self.side.longest_silence)


# Classes, because one of them is entered for each message. They keep nothing, so all readers share one.


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
