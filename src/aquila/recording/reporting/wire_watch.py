"""What a program did on the wire, for a run that judges it: each request that a replay answered, and how it was read.

Only the processes in which tests run under faults have a ``WireWatch``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from aquila.fork_locks import renewed_in_child

if TYPE_CHECKING:
    from aquila.recording.sessions.session_decisions import ReplayDecision

Reading = Literal["open", "read", "left", "raised"]
"""Nothing yet; to the end; given up by the caller; ended by an error that the reader got."""


@dataclass
class Attempt:
    """A request, and what became of its answer.

    Requests with an equal ``key`` say the same. ``fault`` is the text of the fault that it met, "" for none. ``status``
    is 0 where no answer began, and ``retry_after`` what it said, in seconds. ``credentials`` tells those of one request
    from those of another, and ``asker`` the thread or task that asks. ``read_limit`` is the read time-out of the
    client, in seconds, None for none. ``at`` and ``ended`` are moments, in seconds of a clock that skipped sleeps
    advance, and ``slept`` is by how much they have done so until then.
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

    def as_plain_data(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


class WireWatch:
    """Takes down the attempts of one run of a test. Any thread may ask.

    ``clock`` gives the moments. ``on_attempt`` is called with each attempt that begins, in the thread that asks.
    """

    def __init__(
        self, clock: Callable[[], float], on_attempt: Callable[[Attempt], None] = lambda attempt: None
    ) -> None:
        self.attempts: list[Attempt] = []
        self.decisions: list[ReplayDecision] = []
        """What answered, in the order of the attempts."""
        self._clock = clock
        self._on_attempt = on_attempt
        self._lock = renewed_in_child(threading.Lock())  # keeps the two lists in the same order

    def begin(self, decision: ReplayDecision, attempt: Attempt) -> Attempt:
        """Take down an attempt, which begins now."""
        attempt.at = attempt.ended = self._clock()
        with self._lock:
            self.attempts.append(attempt)
            self.decisions.append(decision)
        self._on_attempt(attempt)
        return attempt

    def end(self, attempt: Attempt, reading: Reading) -> None:
        """Say how the answer to an attempt was read. What is said first counts."""
        if attempt.reading == "open":
            attempt.reading, attempt.ended = reading, self._clock()
