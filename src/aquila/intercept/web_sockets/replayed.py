"""A conversation that is replayed, between the program that speaks to it and the peer that answers."""

from __future__ import annotations

import contextlib
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import NoReturn

from aquila.cassettes.frames.frame import Close, Frame
from aquila.cassettes.frames.replay import ConversationReplay, FrameMiss
from aquila.cassettes.model import RecordedResponse
from aquila.errors import CassetteMiss, SessionClosed


class ReplayedConversation:
    """One replay of a recorded conversation. Any thread may send, wait, or ask for what comes next.

    ``make_miss`` makes an error of what the client said instead of what is recorded, or None if it may pass, and
    ``make_silence_miss`` one of what the recording waits for. ``refuse`` notes a miss and raises it as it suits the
    place. A reader waits in vain for ``silence`` seconds. ``timing`` is the pace, 0 for at once.
    """

    def __init__(
        self,
        response: RecordedResponse,
        replay: ConversationReplay,
        *,
        make_miss: Callable[[FrameMiss], CassetteMiss | None],
        make_silence_miss: Callable[[str], CassetteMiss],
        refuse: Callable[[CassetteMiss], NoReturn],
        is_over: Callable[[], bool],
        silence: float,
        timing: float,
    ) -> None:
        self.response = response
        self.silence = silence
        self.break_off: Callable[[], None] = lambda: None
        """Breaks the connection. The peer sets it."""
        self._waiting_count = 0
        self._replay = replay
        self._make_miss = make_miss
        self._make_silence_miss = make_silence_miss
        self._refuse = refuse
        self._is_over = is_over
        self._timing = timing
        self._times = sorted(chunk.at for chunk in response.chunks) if timing else []
        self._taken_count = 0
        self._delivered_count = 0
        self._read_count = 0
        self._has_failed = False
        # Why, while nobody has been told. It is raised once: what comes then is what a broken connection gives.
        self._untold: CassetteMiss | SessionClosed | None = None
        self._lock = threading.Lock()

    # The side of the program.

    def send(self, data: bytes, *, is_text: bool) -> None:
        """Take a message of the client, before it is on its way. Raises ``CassetteMiss``."""
        with self._lock:
            if self._has_failed or self._is_left_by_provider:
                return  # the connection is as good as closed, and the library says so
            miss = self._replay.take_sent(data, is_text)
            error = None if miss is None else self._make_miss(miss)
            if error is None:
                if miss is not None:
                    self._replay.pass_over()
                self._taken_count += 1
                return
            self._has_failed = True
        self.break_off()
        self._refuse(error)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Say that a reader waits for the next message until the block ends. Raises what has ended the conversation."""
        with self.waiting():
            try:
                yield
                self._read_count += 1
            except Exception:
                self.tell_failure()
                raise

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Say that something waits for what the provider does until the block ends."""
        with self._lock:
            self._waiting_count += 1
        try:
            yield
        finally:
            with self._lock:
                self._waiting_count -= 1

    def tell_failure(self) -> None:
        """Raise what has ended the conversation, if nobody has been told yet."""
        with self._lock:
            failure, self._untold = self._untold, None
        if isinstance(failure, CassetteMiss):
            self._refuse(failure)
        if failure is not None:
            raise failure

    @property
    def _is_left_by_provider(self) -> bool:
        ended = self._replay.ended
        return ended == "broken" or (isinstance(ended, Close) and ended.by == "provider")

    # The side of the peer.

    def take_close(self, code: int, reason: str) -> None:
        """The client closes."""
        with self._lock:
            self._replay.take_close(code, reason)

    def deliverable(self, heard: int) -> list[tuple[float, Frame]]:
        """Return what the provider says now, each message with the seconds to wait before it.

        It has heard so many messages. One that is still on its way is not answered yet.
        """
        with self._lock:
            if heard < self._taken_count:
                return []
            frames = self._replay.deliverable()
            self._delivered_count += len(frames)
        return [(self._pause_before(frame.at), frame) for frame in frames]

    @property
    def is_read(self) -> bool:
        """Whether readers have got all that was delivered."""
        return self._read_count >= self._delivered_count

    def provider_ending(self, heard: int) -> tuple[float, Close | None] | None:
        """Return how the provider ends it now, and after how many seconds: a close, or None if it breaks off.

        None while it goes on, and where it is the client that ends it. ``heard`` is as in ``deliverable``.
        """
        with self._lock:
            if heard < self._taken_count or not self._is_left_by_provider:
                return None
            ended = self._replay.ended
            if isinstance(ended, Close):
                return self._pause_before(ended.at), ended
            return self._pause_before(self.response.ended), None

    @property
    def is_awaited(self) -> bool:
        """Whether something waits for what the provider does."""
        return self._waiting_count > 0

    @property
    def is_over(self) -> bool:
        """Whether the scope has ended."""
        return self._is_over()

    def end_with_scope(self) -> None:
        """Break it off: its scope has ended while something waits for more of it."""
        self._fail(SessionClosed("the use of the cassette has ended while something was still waiting for a message"))

    def end_silence(self) -> None:
        """Break it off: a reader has waited in vain."""
        self._fail(self._make_silence_miss(self._replay.awaited or ""))

    def _fail(self, error: CassetteMiss | SessionClosed) -> None:
        with self._lock:
            if not self._has_failed:
                self._has_failed, self._untold = True, error
        self.break_off()

    def longest_silence(self) -> float:
        """Return for how many seconds a reader may wait where nothing comes.

        While one does, others of the program may be at work on what it says next. It is given the time that it took.
        """
        with self._lock:
            since, until = self._replay.silence
        since = self.response.started if since is None else since
        until = self.response.ended if until is None else until
        return max(0, until - since) / 1000 + self.silence

    def _pause_before(self, at: int) -> float:
        if not self._timing:
            return 0.0
        before = bisect_left(self._times, at) - 1
        return (at - self._times[before]) / 1000 * self._timing if before >= 0 else at / 1000 * self._timing
