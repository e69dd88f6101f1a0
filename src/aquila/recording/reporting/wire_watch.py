"""Notes each request that a replay answered, and how its answer was read, in a run that tries faults."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from aquila.fork_locks import renewed_in_child

if TYPE_CHECKING:
    from aquila.recording.sessions.session_decisions import ReplayDecision

Reading = Literal["open", "read", "left", "raised"]
"""How an answer was read: not yet to an end; to its end; left by the caller; ended by an error that the reader got."""


@dataclass
class Attempt:
    """A request, and what became of its answer.

    Requests with an equal ``key`` have equal contents. ``fault`` is the text of the fault that it met, or "".
    ``status`` is that of the answer, 0 if none began, and ``retry_after`` how long the answer asks to wait, in seconds.
    ``credentials`` is equal for equal credentials, and ``asker`` for the same thread or task. ``read_limit`` is the
    read timeout of the client, in seconds. ``at`` and ``ended`` are seconds of a clock that skipped sleeps advance.
    ``slept`` is how many seconds of waits had been skipped or left out when it began.
    """

    key: str
    fault: str = ""
    status: int = 200
    retry_after: float | None = None
    credentials: int = 0
    asker: int = 0
    read_limit: float | None = None
    is_silent: bool = False
    at: float = 0.0
    ended: float = 0.0
    slept: float = 0.0
    reading: Reading = "open"


class WireWatch:
    """The attempts of one run of a test. Any thread may add one.

    ``clock`` returns seconds. ``on_attempt`` is called with each attempt that begins, in the thread of the request.
    ``left_out`` is how many seconds the test has left out in which its program would have waited, as for a retry of a
    job. The clocks of the program do not advance by them.
    """

    def __init__(
        self, clock: Callable[[], float], on_attempt: Callable[[Attempt], None] = lambda attempt: None
    ) -> None:
        self.attempts: list[Attempt] = []
        self.decisions: list[ReplayDecision] = []
        """The answers, in the order of the attempts."""
        self.left_out = 0.0
        self._clock = clock
        self._on_attempt = on_attempt
        self._lock = renewed_in_child(threading.Lock())  # keeps the two lists in the same order

    def begin(self, decision: ReplayDecision, attempt: Attempt) -> Attempt:
        """Add an attempt, which begins now."""
        attempt.at = attempt.ended = self._clock() + self.left_out
        with self._lock:
            self.attempts.append(attempt)
            self.decisions.append(decision)
        self._on_attempt(attempt)
        return attempt

    def end(self, attempt: Attempt, reading: Reading) -> None:
        """Note how the answer to an attempt was read. Only the first call counts."""
        if attempt.reading == "open":
            attempt.reading, attempt.ended = reading, self._clock() + self.left_out
