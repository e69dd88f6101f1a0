"""Finds the job of a message that nobody can read.

The id in such a message cannot be trusted: anybody who can write to the queue could end any job with it. But the
producer has published the identity of the message, a digest. Nobody can make another message with the same digest.
"""

from __future__ import annotations

import math
import threading
import time

from aquila.fork_locks import renewed_in_child
from aquila.huey.live.summaries import JOBS_TABLE, JobSummary, decode_summary
from aquila.huey.state import SharedState

_AT_ONCE = 500
_MOST_KNOWN = 100_000
_SLACK = 60.0
"""Seconds by which the clock of a producer may be behind. The changes of that time are read again."""


class UnreadMessages:
    """Finds the jobs of messages, for one Huey.

    A process that meets no unreadable message reads nothing. Summaries are read in the order of their last changes, by
    the clock of the storage, and each only once. If somebody puts that clock back, the monotonic clock of this process
    tells from when on changes may have been missed.

    The ``JobPublisher`` of the Huey owns it.
    """

    def __init__(self) -> None:
        # Also held while the storage is read: a second thread would read the same.
        self._lock = renewed_in_child(threading.Lock())
        self._jobs: dict[str, str] = {}
        """The ids of jobs that no worker has begun, by the identities of their messages. Beyond ``_MOST_KNOWN`` the
        oldest are dropped; ``find_job`` removes the one that it has found."""
        self._read_to = 0.0  # The order of the last summary that was read.
        self._read_at: float | None = None
        """When summaries were last read, by the monotonic clock."""

    def find_job(self, state: SharedState, identity: str) -> JobSummary | None:
        """Return the summary of the job whose message has an identity, or None. Raises what the storage raises."""
        with self._lock:
            if identity not in self._jobs:
                self._read_more(state)
            job = self._jobs.get(identity)
        if job is None:
            return None
        summary = decode_summary(job, state.get(JOBS_TABLE, job))
        # Removed only now. A summary is read once, so where the storage fails above, the job must still be known. If
        # the message comes again, its summary has changed since and is read again.
        with self._lock:
            self._jobs.pop(identity, None)
        return summary if summary is not None and summary.message == identity else None

    def _read_more(self, state: SharedState) -> None:
        here, now = time.monotonic(), state.now()
        # When the last reading was, by the clock of the storage as it is now. Changes since then are not older.
        last = self._read_to if self._read_at is None else now - (here - self._read_at)
        if last < self._read_to - _SLACK:
            self._read_range(state, last - _SLACK, now + _SLACK)
        self._read_range(state, self._read_to - _SLACK, math.inf)
        self._read_at = here
        while len(self._jobs) > _MOST_KNOWN:
            del self._jobs[next(iter(self._jobs))]

    def _read_range(self, state: SharedState, bound: float, below: float) -> None:
        for page in state.iterate_pages(JOBS_TABLE, size=_AT_ONCE, at_least=bound, below=below):
            for entry in page:
                summary = decode_summary(entry.key, entry.value) if b'"message":' in entry.value else None
                if summary is not None and summary.message:
                    self._jobs[summary.message] = summary.id
            if page:
                self._read_to = max(self._read_to, page[-1].order)
