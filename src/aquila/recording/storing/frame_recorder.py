"""Records a conversation over a WebSocket: collects its frames as they pass, and writes them.

At the end of each turn, what was said since the last turn is written to the journal as a part, before the program goes
on. So a killed run loses no finished turn. At the end, the whole conversation replaces its parts. A long conversation
is not kept in memory: what was written as parts is moved to the file for its body.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NoReturn

from aquila.cassettes.body_file import LARGE_STREAM
from aquila.cassettes.model import NO_STATUS, End, Headers, RecordedChunk, RecordedResponse
from aquila.cassettes.web_socket_frames.frame import (
    Close,
    Frame,
    find_base64,
    is_from_provider,
    store_close,
    store_frame,
)
from aquila.cassettes.web_socket_frames.unasked import put_unasked_first
from aquila.errors import CassetteWriteError
from aquila.fork_locks import renewed_in_child
from aquila.recording.sessions.session import Session
from aquila.recording.sessions.session_decisions import RecordDecision
from aquila.recording.storing.large_answer import LargeAnswer
from aquila.recording.storing.machine_clock import machine_seconds, milliseconds_since
from aquila.recording.storing.recorder import ScopeRecording

_ENDS_TURN = re.compile(rb'"type"\s*:\s*"[^"]*(?:completed|done|failed|incomplete|error)"|"turnComplete"')
"""The mark of an event that ends a turn of a model. It is searched for at both ends of a message."""

_NEAR_THE_EDGE = 256  # bytes at each end that are searched: the rest may be megabytes of sound

MOST_BYTES = 1024**3
"""A conversation with more bytes than this is not recorded: one side may never stop, and a disk is finite."""


class FrameRecorder:
    """One recording of a conversation. It is stored once, however it ends.

    ``recording`` is where it is stored. Any thread may add frames, and any may end it. Only ``write_due``, and
    ``abandon`` at the end of the scope, write to disk: clients in an event loop must not wait for that.
    """

    def __init__(self, recording: ScopeRecording, session: Session, decision: RecordDecision) -> None:
        self._recording = recording
        self._session = session
        self._decision = decision
        self._clock = machine_seconds()
        self._response = RecordedResponse(NO_STATUS)
        self._chunks: list[RecordedChunk] = []
        # Guards the response, the frames and the end. Held for moments only, because clients in an event loop add
        # frames. The fields about the reader need no lock: libraries let one reader at a time wait for a message.
        self._lock = renewed_in_child(threading.Lock())
        # Held while something is written, so that the whole conversation is stored behind its parts. Taken before
        # `_lock`, never after it.
        self._writing = renewed_in_child(threading.RLock())
        self._is_awaited = False  # whether a reader waits for the next message, see `reading`
        self._received = 0  # messages of the provider so far
        self._delivered = 0  # how many of them `note_delivered` has counted
        self._reader_was_cancelled = False  # the last reader, and no message was delivered since
        self._parts = 0  # parts in the journal so far
        self._written = 0  # how many of the chunks are in these parts
        self._size = 0  # bytes of the chunks
        self._total = 0  # bytes of all that passed
        self._on_disk: LargeAnswer | None = None
        """The chunks before ``_chunks``, if there were too many to keep in memory."""
        self._turn_has_ended = False
        self._provider_has_spoken = False
        """Whether the provider has sent something since the last part was written."""
        self._end: tuple[RecordedResponse, bool] | None = None  # the response, and `left_open`; the first end counts
        self._stored = False  # whether the end was written, or the conversation was given up

    # The frames.

    def accept(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """Note the answer to the handshake. A refusal may have a body; ``finish_refused`` follows it."""
        at = milliseconds_since(self._clock)
        with self._lock:
            chunks = (RecordedChunk(body, at),) if body else ()
            self._response = RecordedResponse(status, headers, chunks, started=at)
        self._recording.unfinished.add(self)

    def add_sent(self, data: bytes, *, is_text: bool) -> None:
        """Add a message of the client."""
        with self._lock:
            if self._end is None:
                # A message of the client after one of the provider begins another turn.
                self._turn_has_ended |= self._provider_has_spoken
                self._add(store_frame(Frame(data, True, is_text, milliseconds_since(self._clock))))

    def add_received(self, data: bytes, *, is_text: bool) -> None:
        """Add a message of the provider."""
        with self._lock:
            if self._end is None:
                self._provider_has_spoken = True
                self._received += 1
                may_be_json = is_text or data[:1] == b"{"  # Gemini sends JSON in binary frames
                self._turn_has_ended |= may_be_json and _ends_turn(data)
                self._add(store_frame(Frame(data, False, is_text, milliseconds_since(self._clock))))

    def _add(self, chunk: RecordedChunk) -> None:
        self._chunks.append(chunk)
        self._size += len(chunk.data)
        self._total += len(chunk.data)

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Say that a reader waits for the next message until the block ends."""
        self._is_awaited = True
        yield
        self._is_awaited = False  # not in a `finally`: a reader that was cancelled was waiting when it left

    def note_delivered(self) -> None:
        """Note that a reader got a message, or an event that came in place of one."""
        self._delivered = min(self._delivered + 1, self._received)
        self._reader_was_cancelled = False

    def note_cancelled_reader(self) -> None:
        """Note that a reader was cancelled. The next reader gets the message instead."""
        self._reader_was_cancelled = True

    # The end.

    def finish_refused(self) -> None:
        """End the recording: the provider refused the handshake."""
        self._finish("complete")

    def finish_closed(self, close: Close) -> None:
        """End the recording: one side closed it. ``close.at`` is filled in here."""
        self._finish("complete", close=close)

    def finish_broken(self, error: str) -> None:
        """End the recording: the connection broke off, or never began.

        ``error`` is the name of a failure and its text, as in a response.
        """
        self._finish("broken", error)

    def finish_unanswered(self) -> None:
        """End the recording: the client stopped waiting for an answer to its handshake."""
        self._finish("silent", left_open=True)

    def finish_left(self) -> None:
        """End the recording: the client left without closing it, or before its handshake was answered."""
        if self._response.has_begun:
            self._finish("silent" if self._is_awaited else "closed")
        else:
            self.finish_unanswered()

    def abandon(self, *, left_open: bool) -> None:
        """Store it as left by the client, unless it has ended already. ``left_open`` is that of ``NewRecording``."""
        self._finish("silent" if self._is_awaited else "closed", left_open=left_open)
        self.write_due()

    def forget(self) -> None:
        """Store nothing of an unanswered handshake. The turns of a conversation are of use without its end."""
        with self._writing:
            if not self._response.has_begun:
                self._stored = True
                self._recording.unfinished.discard(self)

    def _finish(self, end: End, error: str = "", *, close: Close | None = None, left_open: bool = False) -> None:
        with self._lock:
            if self._end is not None:
                return
            at = milliseconds_since(self._clock)
            # Only where the client has ended it: what it left unread when the provider ended it stays.
            if self._reader_was_cancelled and (end != "broken" if close is None else close.by == "client"):
                self._drop_undelivered()
            if close is not None:
                self._add(store_close(close._replace(at=at)))
            started = self._response.started if self._response.has_begun else at
            response = replace(self._response, end=end, error=error, started=started, ended=at)
            self._end = response, left_open
        self._recording.unfinished.add(self)

    def _drop_undelivered(self) -> None:
        """Drop the last messages of the provider that no reader got before the program stopped reading and left.

        If they stayed, the loser of a race might win in a replay, which has no delays.
        """
        undelivered = self._received - self._delivered
        for place in reversed(range(len(self._chunks))):
            if undelivered and is_from_provider(self._chunks[place]):
                del self._chunks[place]
                undelivered -= 1

    # Writing.

    @property
    def is_due(self) -> bool:
        """Whether ``write_due`` has something to do."""
        is_due = self._turn_has_ended or self._fills_memory or self._is_too_long or self._end is not None
        return is_due and not self._stored

    @property
    def _is_too_long(self) -> bool:
        return self._total > MOST_BYTES

    @property
    def _fills_memory(self) -> bool:
        return self._size > LARGE_STREAM and not self._session.needs_whole_answers

    def write_due(self) -> None:
        """Write what must be on disk before the program goes on. Raises ``CassetteWriteError``."""
        with self._writing:
            if not self.is_due:
                return
            if self._is_too_long:
                self._give_up()
            if self._end is None:
                self._write_part()
                if self._fills_memory:
                    self._move_to_disk()
                return
            self._stored = True
            response, left_open = self._end
            try:
                response = replace(response, chunks=self._all_chunks(cut_off=response.end != "complete"))
                self._recording.store_interaction(
                    self._session, self._decision, response, kind="websocket", left_open=left_open
                )
            finally:
                self._recording.unfinished.discard(self)

    def _give_up(self) -> NoReturn:
        with self._lock:
            self._end, self._stored = (self._response, True), True
            self._chunks.clear()
        if self._on_disk is not None:
            self._on_disk.abandon()
        self._recording.unfinished.discard(self)
        with self._recording.counting_failures():
            raise CassetteWriteError(
                f"{self._decision.request.method} {self._decision.request.url}: this conversation has more than "
                f"{MOST_BYTES:,} bytes, and so it is not recorded. If the provider never stops, let the program close "
                "the connection in the test"
            )

    def _write_part(self) -> None:
        with self._lock:
            self._turn_has_ended = self._provider_has_spoken = False
            chunks, self._written = tuple(self._chunks[self._written :]), len(self._chunks)
            self._parts += 1
            response = replace(self._response, chunks=chunks, end="closed", ended=milliseconds_since(self._clock))
        self._recording.store_part(self._session, self._decision, response, self._parts)

    def _move_to_disk(self) -> None:
        """Move the chunks that were written as parts from memory to the file for the body."""
        is_first = self._on_disk is None
        if self._on_disk is None:
            self._on_disk = self._recording.begin_large_answer(self._session, self._decision, (), is_stream=True)
        with self._lock:
            chunks: Sequence[RecordedChunk] = self._chunks[: self._written]
            del self._chunks[: self._written]
            self._written = 0
            self._size = sum([len(chunk.data) for chunk in self._chunks])
        if is_first:
            chunks = put_unasked_first(chunks)
        for chunk in self._session.redactor.redact_single_frames(chunks, self._decision.numbers):
            self._on_disk.add_chunk(chunk.data, chunk.at, find_base64(chunk))
        self._on_disk.write_windows()

    def _all_chunks(self, *, cut_off: bool) -> Sequence[RecordedChunk]:
        """Return all chunks, at the end."""
        if self._on_disk is None:
            return (*self._response.chunks, *put_unasked_first(self._chunks))
        self._written = len(self._chunks)
        self._move_to_disk()
        return self._on_disk.finish(cut_off=cut_off)


def _ends_turn(data: bytes) -> bool:
    return any(_ENDS_TURN.search(edge) for edge in (data[:_NEAR_THE_EDGE], data[-_NEAR_THE_EDGE:]))
