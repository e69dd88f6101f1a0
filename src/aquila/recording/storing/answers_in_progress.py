"""The answers that are being recorded now. Only a run that shows them on a terminal keeps this list."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from aquila.fork_locks import renewed_in_child
from aquila.recording.storing.machine_clock import machine_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aquila.cassettes.model import RecordedChunk, RecordedRequest


class AnswerInProgress(Protocol):
    """An answer that is being recorded."""

    @property
    def asked(self) -> RecordedRequest:
        """The request, without its secrets."""

    @property
    def began(self) -> float:
        """When the request was sent, in seconds of ``machine_seconds``."""

    @property
    def arrived(self) -> Sequence[RecordedChunk]:
        """The chunks so far that are held in memory."""


class AnswersInProgress:
    """The answers in progress of one run, oldest first. Any thread may add one."""

    def __init__(self) -> None:
        self._open: dict[int, AnswerInProgress] = {}  # by identity: answers need not be hashable
        # The thread of the terminal reads while others begin and end answers. Re-entrant, because the garbage collector
        # may end an answer in a thread that holds it.
        self._lock = renewed_in_child(threading.RLock())

    def begin(self, answer: AnswerInProgress) -> None:
        """Add an answer."""
        with self._lock:
            self._open[id(answer)] = answer

    def end(self, answer: AnswerInProgress) -> None:
        """Forget an answer, which has ended."""
        with self._lock:
            self._open.pop(id(answer), None)

    def clear(self) -> None:
        """Forget all answers: their test has ended."""
        with self._lock:
            self._open.clear()

    def find_slow(self, seconds: float) -> list[AnswerInProgress]:
        """Return the answers whose requests were sent at least so many seconds ago."""
        with self._lock:
            answers = list(self._open.values())
        return [each for each in answers if machine_seconds() - each.began >= seconds]
