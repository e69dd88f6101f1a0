"""Which job a message belongs to that nobody can read.

What such a message says of itself cannot be believed: whoever can write to the queue could end any job by it. But its
producer has published what identifies it, and nobody can make another message of which that is true.
"""

from __future__ import annotations

import math
import threading
import time

from aquila.huey.live.summaries import JOBS_TABLE, JobSummary, decode_summary
from aquila.huey.state import SharedState

_AT_ONCE = 500
_MOST_KNOWN = 100_000
_SLACK = 60.0
"""Seconds by which the clock of a producer may be behind: so much is read again."""


class UnreadMessages:
    """Finds the jobs of messages, for one Huey. Owns ``_jobs``: the ids of jobs that no worker has begun, by message.

    A process that meets no unreadable message reads nothing. Jobs are found by when they were last told of, by the
    clock of the storage. Where that was put back, the clock of this process tells from when on others may have come.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, str] = {}
        self._read_to = 0.0
        self._read_at: float | None = None
        """When it was read last, by the clock of this process."""

    def find_job(self, state: SharedState, identity: str) -> JobSummary | None:
        """Return the summary of the job whose message has this identity, or None. Raises what the storage raises."""
        with self._lock:
            if identity not in self._jobs:
                self._read_more(state)
            job = self._jobs.get(identity)
        if job is None:
            return None
        summary = decode_summary(job, state.get(JOBS_TABLE, job))
        # Only now: what is read once is not read again, so where the storage failed it must still be known. Where the
        # message comes again, it has changed since, and is read again.
        with self._lock:
            self._jobs.pop(identity, None)
        return summary if summary is not None and summary.message == identity else None

    def _read_more(self, state: SharedState) -> None:
        here, now = time.monotonic(), state.now()
        # By the clock as it is now: what was told of since is no older.
        last = self._read_to if self._read_at is None else now - (here - self._read_at)
        if last < self._read_to - _SLACK:
            self._read_range(state, last - _SLACK, now + _SLACK)
        self._read_range(state, self._read_to - _SLACK, math.inf)
        self._read_at = here
        while len(self._jobs) > _MOST_KNOWN:
            del self._jobs[next(iter(self._jobs))]

    def _read_range(self, state: SharedState, bound: float, below: float) -> None:
        offset = 0
        while True:
            page = state.entries(JOBS_TABLE, limit=_AT_ONCE, offset=offset, at_least=bound, below=below)
            for entry in page:
                summary = decode_summary(entry.key, entry.value) if b'"message":' in entry.value else None
                if summary is not None and summary.message:
                    self._jobs[summary.message] = summary.id
            if page:
                # Many may have the same time: then the page after them is counted from it.
                last = page[-1].order
                offset, bound = (offset + len(page) if last == bound else 0), last
                self._read_to = max(self._read_to, bound)
            if len(page) < _AT_ONCE:
                return
