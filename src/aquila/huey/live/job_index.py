"""All jobs of a queue, for the overview: counted, filtered, searched and paged in the memory of one process.

The summaries are in the storage. For each job this index keeps what filters and searches need, about 700 bytes.
Each look begins with reading the changes since the last one. A new process reads the newest jobs first, so that the
first page is there at once.
"""

from __future__ import annotations

import math
import operator
import threading
import time
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from aquila.fork_locks import renewed_in_child
from aquila.huey.live.summaries import JOBS_TABLE, JobSummary, decode_summary
from aquila.huey.live.worker_heartbeats import WorkerRow, read_workers
from aquila.huey.state import Entry, SharedState, state_of

_AT_ONCE = 1_000  # Summaries in one request to the storage.
_LOOK_EVERY = 0.25  # Seconds. Several pages that look within this time share one look.
_COUNT_EVERY = 5.0  # Seconds between two counts of the jobs in the storage, which find the deleted ones.
_MOST_FOUND = 16  # Queries whose result is cached.
_CREATED = operator.attrgetter("created")
_OVERLAP = 1.0
"""Seconds whose changes are read again: a writer takes the time first and stores later, so a change may appear late."""


@dataclass(slots=True)
class JobRow:
    """A job in the index. ``text`` is what searches look at: id, name, arguments, error, model and worker.

    ``order`` is when it last changed, and ``created`` and ``ended`` are in seconds since the epoch; 0 for not yet.
    """

    id: str
    order: float
    created: float
    state: str
    name: str
    text: str
    worker: str = ""
    ended: float = 0.0


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs to show: those of a state and a task name, with all ``words`` in their text. Empty is no condition."""

    state: str = ""
    name: str = ""
    words: tuple[str, ...] = ()

    @classmethod
    def read(cls, state: str, name: str, search: str) -> JobQuery:
        """Return the query for a state, a task name and the words that somebody has typed. Case does not matter."""
        return cls(state, name, tuple(search.lower().split()[:10]))

    def choose(self, rows: list[JobRow]) -> list[JobRow]:
        """Return the rows that fit, in the order in which they are given."""
        # A pass for each condition takes milliseconds for a hundred thousand jobs. One pass that calls a function for
        # each row takes far longer.
        if self.state:
            rows = [row for row in rows if row.state == self.state]
        if self.name:
            rows = [row for row in rows if row.name == self.name]
        for word in self.words:
            rows = [row for row in rows if word in row.text]
        return rows


class JobIndex:
    """The jobs of one Huey. Any thread may call its methods; each takes milliseconds.

    The index owns all rows, under one lock. It lives for as long as the page that made it, and only forgets jobs that
    are gone from the storage. ``states`` and ``names`` count the jobs.
    """

    def __init__(self, huey: Any) -> None:
        self._huey = huey
        self._lock = renewed_in_child(threading.RLock())
        self._names: dict[str, str] = {}  # One text object for each name, so that rows with the same name share it.
        self._reading: threading.Thread | None = None  # Reads older jobs. Replaced under the lock once it is not alive.
        self._rows: dict[str, JobRow] = {}
        self._in_order: list[JobRow] = []  # By the time at which they were queued, the oldest first.
        # The rows that a query has found, with the version of the index. A result of an older version is not used.
        self._found: dict[JobQuery, tuple[int, list[JobRow]]] = {}
        # The rows whose summary says "running", by id: their state also depends on whether their worker lives.
        self._running: dict[str, JobRow] = {}
        # The range of changes that was read, by the order of the summaries.
        self._newest = -math.inf
        self._oldest = math.inf
        self._looked = self._counted = -math.inf  # By the monotonic clock.
        self.is_complete = False  # Whether all older jobs were read.
        self.total = 0  # The jobs in the storage, at the last count.
        self.version = 0  # Grows with each change of a row.
        self.states: Counter[str] = Counter()
        self.names: Counter[str] = Counter()
        self.rates = JobRates()
        self.workers: list[WorkerRow] = []

    @property
    def _state(self) -> SharedState:
        # Not kept, because a test may replace the storage of the Huey.
        return state_of(self._huey)

    def refresh(self) -> None:
        """Read the changes, unless that was done a moment ago. Raises what the storage raises.

        The first call reads the newest jobs, and starts a thread that reads the older ones.
        """
        with self._lock:
            if time.monotonic() - self._looked < _LOOK_EVERY:
                return
            self._read_changes()
            if not self.is_complete and (self._reading is None or not self._reading.is_alive()):
                self._reading = threading.Thread(target=self._read_older, name="aquila-index", daemon=True)
                self._reading.start()
            self._forget_deleted()
            self.workers = read_workers(self._huey)
            self._update_running()
            self._looked = time.monotonic()

    def find(self, query: JobQuery, *, offset: int, limit: int) -> tuple[list[str], int]:
        """Return the ids of a page of the jobs that fit a query, the newest first, and how many fit in all."""
        with self._lock:
            version, found = self._found.get(query, (-1, []))
            if version != self.version:
                found = query.choose(self._in_order)
                if len(self._found) >= _MOST_FOUND:
                    self._found.clear()
                self._found[query] = self.version, found
            end = len(found) - offset
            return [row.id for row in reversed(found[max(0, end - limit) : max(0, end)])], len(found)

    def load(self, jobs: Sequence[str]) -> list[JobSummary]:
        """Return the summaries of jobs, by their ids. A job that was deleted meanwhile is left out.

        Raises what the storage raises.
        """
        values = self._state.get_many(JOBS_TABLE, jobs)
        found = (decode_summary(job, value) for job, value in zip(jobs, values, strict=True))
        return [summary for summary in found if summary is not None]

    def state_of_job(self, summary: JobSummary) -> str:
        """Return the state of a job. A running job whose worker is gone is ``interrupted``."""
        state = summary.state
        alive = {worker.key for worker in self.workers if worker.is_alive}
        if state == "running" and summary.last is not None and summary.last.worker not in alive:
            return "interrupted"
        return state

    def forget(self, job: str) -> None:
        """Remove a deleted job from the index."""
        with self._lock:
            self._remove(job)

    def _read_changes(self) -> None:
        if self._newest == -math.inf:
            newest = self._state.entries(JOBS_TABLE, limit=_AT_ONCE, newest_first=True)
            self._put_all(newest)
            if newest:
                self._newest, self._oldest = newest[0].order, newest[-1].order
            self.is_complete = len(newest) < _AT_ONCE
            return
        # When the last look was, by the clock of the storage as it is now: somebody may have put it back since then.
        last_look = self._state.now() - (time.monotonic() - self._looked)
        bound = min(self._newest, last_look) - _OVERLAP
        self._take_in(self._state.iterate_pages(JOBS_TABLE, size=_AT_ONCE, at_least=bound))

    def _read_older(self) -> None:
        below = math.nextafter(self._oldest, math.inf)  # Exclusive, and other jobs may have the same time.
        try:
            self._take_in(self._state.iterate_pages(JOBS_TABLE, size=_AT_ONCE, newest_first=True, below=below))
            self.is_complete = True
        except Exception:  # noqa: BLE001 -- each storage has errors of its own; the next look goes on from `_oldest`
            pass

    def _take_in(self, pages: Iterable[list[Entry]]) -> None:
        """Take in entries page by page. The lock is held for each page, and not while the pages are read."""
        for page in pages:
            with self._lock:
                self._put_all(page)
                if page:
                    last = page[-1].order
                    self._newest, self._oldest = max(self._newest, last), min(self._oldest, last)

    def _put_all(self, page: list[Entry]) -> None:
        """Take in a page of entries."""
        # `_read_older` finds jobs that are older than all known ones. They are put in front in one step, because
        # inserting one by one would move the whole list each time.
        made = [row for entry in page if (row := self._make_row(entry)) is not None]
        made.sort(key=_CREATED)
        if self._in_order and made and made[-1].created > self._in_order[0].created:
            for row in made:
                insort(self._in_order, row, key=_CREATED)
        else:
            self._in_order[:0] = made

    def _make_row(self, entry: Entry) -> JobRow | None:
        """Make the row of a summary, and count it; None where it is known. The caller puts it into ``_in_order``."""
        known = self._rows.get(entry.key)
        if known is not None and known.order == entry.order:
            return None
        summary = decode_summary(entry.key, entry.value)
        if summary is None:
            return None
        if known is not None:
            self._remove(entry.key)
        last = summary.last
        parts = (summary.id, summary.name, summary.arguments, *((last.error, last.model, last.worker) if last else ()))
        row = JobRow(
            summary.id,
            entry.order,
            summary.created,
            summary.state,
            self._names.setdefault(summary.name, summary.name),
            "\n".join(parts).lower(),
            last.worker if last else "",
            summary.ended,
        )
        self._rows[row.id] = row
        self.states[row.state] += 1
        self.names[row.name] += 1
        self.rates.count(row.state, row.ended, 1)
        if row.state == "running":
            self._running[row.id] = row
        self.version += 1
        return row

    def _remove(self, job: str) -> None:
        row = self._rows.pop(job, None)
        if row is None:
            return
        at = bisect_left(self._in_order, row.created, key=_CREATED)
        while self._in_order[at] is not row:  # Other jobs may have been queued at the same time.
            at += 1
        del self._in_order[at]
        self.states[row.state] -= 1
        self.names[row.name] -= 1
        self.rates.count(row.state, row.ended, -1)
        self._running.pop(job, None)
        self.version += 1

    def _update_running(self) -> None:
        alive = {worker.key for worker in self.workers if worker.is_alive}
        for row in self._running.values():
            state = "running" if row.worker in alive else "interrupted"
            if state != row.state:
                self.states[row.state] -= 1
                self.states[state] += 1
                row.state = state
                self.version += 1

    def _forget_deleted(self) -> None:
        """Forget the jobs that were deleted from the storage: the oldest of too many, or single ones by somebody."""
        # First the rows that are older than the oldest job in the storage, which costs one request. Each row is only
        # looked up if there are still too many.
        if time.monotonic() - self._counted < _COUNT_EVERY:
            return
        self._counted = time.monotonic()
        self.total = self._state.count(JOBS_TABLE)
        if not self.is_complete or self.total == len(self._rows):
            return
        oldest = self._state.entries(JOBS_TABLE, limit=1)
        first = oldest[0].order if oldest else math.inf
        for job in [row.id for row in self._rows.values() if row.order < first]:
            self._remove(job)
        known = list(self._rows) if len(self._rows) > self.total else []
        for at in range(0, len(known), _AT_ONCE):
            some = known[at : at + _AT_ONCE]
            for job, value in zip(some, self._state.get_many(JOBS_TABLE, some), strict=True):
                if value is None:
                    self._remove(job)


_SECONDS = 10
_PER_MINUTE = 60 // _SECONDS


class JobRates:
    """Counts the jobs that end in each ten seconds, by state. ``JobIndex`` owns it, and holds its lock in each call."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[int, int]] = {"done": {}, "failed": {}}

    def count(self, state: str, ended: float, number: int) -> None:
        """Add ``number`` to the jobs that ended as ``done`` or ``failed`` at ``ended``, in seconds since the epoch."""
        counts = self._counts.get(state)
        if counts is not None and ended:
            at = math.floor(ended / _SECONDS)
            counts[at] = counts.get(at, 0) + number
            if not counts[at]:  # Jobs are forgotten after days, and the page may be open for months.
                del counts[at]

    def per_minute(self, state: str, now: float) -> int:
        """Return how many jobs ended in a state in the minute before ``now``, in seconds since the epoch."""
        last = math.floor(now / _SECONDS)
        return sum(self._counts[state].get(at, 0) for at in range(last - _PER_MINUTE + 1, last + 1))

    def by_minute(self, state: str, now: float, minutes: int) -> list[int]:
        """Return how many jobs ended in a state in each of the last minutes before ``now``, the oldest first."""
        counts, last = self._counts[state], math.floor(now / 60)
        return [
            sum(counts.get(minute * _PER_MINUTE + part, 0) for part in range(_PER_MINUTE))
            for minute in range(last - minutes + 1, last + 1)
        ]
