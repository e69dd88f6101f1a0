"""The thread of a worker process that stores events and summaries, removes old jobs, and sends heartbeats."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from aquila.huey.live import events
from aquila.huey.live.job_record import JobRecord, Pending, StoragePlace, SummaryUpdate, clean_tail
from aquila.huey.live.pausing import Pausing
from aquila.huey.live.redacting import preview_text, redact_arguments, redact_text
from aquila.huey.live.retention import forget_jobs, forget_old_jobs
from aquila.huey.live.summaries import JOBS_TABLE, JobSummary
from aquila.huey.live.waking import wake_subscribers
from aquila.huey.live.worker_heartbeats import WORKERS_TABLE, Heartbeats
from aquila.huey.progress.storage_patience import Outage
from aquila.huey.state import EntryChange, SharedState, state_of

if TYPE_CHECKING:
    from aquila.huey.live.publisher import JobPublisher

logger = logging.getLogger("huey.aquila")

_SUMMARY_EVERY = 1.0
"""Seconds between two times that a summary is stored while only text arrives."""
_LONGEST_PAUSE = 5.0  # The most seconds between two tries, where an error is none of the storage.
_MOST_FAILURES = 5  # Tries to store a record whose data may be the cause of the failure.
_PRUNE_EVERY = 60.0  # Seconds, on average.
_DATA_ERRORS = (ValueError, TypeError, ArithmeticError, AttributeError, LookupError, RecursionError)
"""The errors of data that can never be stored. A storage that is away seldom raises one of them."""
_TOGETHER = 100  # Executions that are stored in one step.


def _group_by_place(waiting: list[tuple[str, JobRecord]]) -> list[tuple[StoragePlace, list[JobRecord]]]:
    """Return the records of each storage, one for each job.

    A second execution of the same job waits for the next flush, so that the events of both are stored in order.
    """
    found: dict[StoragePlace, dict[str, JobRecord]] = {}
    for _, record in waiting:
        found.setdefault(record.place, {}).setdefault(record.summary.id, record)
    return [(place, list(records.values())) for place, records in found.items()]


class EventWriter:
    """Stores the records of ``publisher``. The other parameters are those of ``publish_jobs``.

    A process that executes tasks has one thread that calls ``flush``. Other threads may call it, too, one at a time.
    A fork gets new locks, a new thread and no records: see ``_forget_parent``.
    """

    # Two locks, taken in this order. `_flushing` is held while something is stored, which may take long. The lock of
    # the publisher guards its records and is held for moments only, because the tasks take it for each event.

    def __init__(
        self, publisher: JobPublisher, *, every: float, keep: int, older_than: timedelta, heartbeat: float
    ) -> None:
        self._publisher = publisher
        self._every = every
        self._keep = keep
        self._older_than = older_than.total_seconds()
        self._heartbeat = heartbeat
        self._woken = threading.Event()  # Set where there is something to store; the thread clears it.
        self._outage = Outage("the page of jobs", "Events of jobs are published when it answers.")
        self._pause = 0.0  # Seconds to wait before the next try. Grows while the storage fails.
        self._enter_process()
        self.pausing = Pausing(publisher.huey)

    def _enter_process(self) -> None:
        """Begin with a fresh state, in a new process or in a fork."""
        self._pid = os.getpid()
        self._flushing = threading.RLock()  # A new one: another thread may have held it when the fork was made.
        self._runs = 0  # How many keys of executions were made; a part of each key.
        self._thread: threading.Thread | None = None  # Ends, and is None again, when there is nothing left to do.
        self._next_prune = 0.0  # By the monotonic clock; 0 before the first time.
        self.heartbeats = Heartbeats(self._publisher, self._heartbeat, self._unless_away)
        self.worker = self.heartbeats.worker

    @property
    def _state(self) -> SharedState:
        return state_of(self._publisher.huey)

    def make_run_key(self) -> str:
        """Return a unique key for an execution, and start the thread that stores."""
        self._start_thread()
        with self._publisher.lock:
            self._runs += 1
            return f"{self.worker}:{self._runs}"

    def add_summary(self, summary: JobSummary) -> bool:
        """Store the summary of a new job. Returns False where there is one already, or the storage fails."""
        with self._unless_away():
            return self._state.add(JOBS_TABLE, summary.id, summary.encode(), order=summary.changed)
        return False

    def forget_job(self, job: str) -> None:
        """Remove a published job. Never raises."""
        with self._unless_away():
            forget_jobs(self._state, job)

    def begin_worker(self) -> None:
        """Count a worker of this process that begins, and start the thread."""
        with self._publisher.lock:
            self._forget_parent()
            self.heartbeats.add_worker(StoragePlace(self._publisher.huey.storage))
        self._start_thread()
        self.wake()

    def end_worker(self) -> None:
        """Store all events of a worker that ends. The last worker waits until the thread has ended."""
        self.flush()
        place = StoragePlace(self._publisher.huey.storage)
        with self._publisher.lock:
            self.heartbeats.remove_worker(place)
            thread = None if self.heartbeats.workers or self._publisher.records else self._thread
        if thread is not None:
            self.wake()
            thread.join(self._every + _LONGEST_PAUSE)  # Waits, because the consumer closes the storage next.

    def leave(self) -> None:
        """Store everything and remove the heartbeats: this process ends before the hooks of its workers have run."""
        # Under this lock, so that a heartbeat that is being sent comes before it is removed.
        with self._flushing:
            self.heartbeats.has_left = True
            self.flush()
            self.heartbeats.remove_all()

    def wake(self) -> None:
        """Make the thread call ``flush`` soon."""
        # A task may go on in a fork, which has no thread yet, and where another thread may hold the lock of the event.
        if self._pid == os.getpid():
            self._woken.set()

    def _start_thread(self) -> None:
        with self._publisher.lock:
            self._forget_parent()
            if self._thread is None:
                self._woken.set()
                self._thread = threading.Thread(target=self._run, name="aquila-publish", daemon=True)
                self._thread.start()

    def _forget_parent(self) -> None:
        # A fork has a copy of the parent's records, which the parent stores, and none of its threads.
        if self._pid != os.getpid():
            self._publisher.records.clear()
            self._woken = threading.Event()
            self._enter_process()

    def _run(self) -> None:
        """Call ``flush`` again and again, as long as there is a worker or something to store."""
        is_well = True
        while not self._is_idle():
            self._woken.wait(max(0.01, self.heartbeats.next_due() - time.monotonic()))
            try:
                if self._woken.is_set():
                    time.sleep(max(self._every, self._pause))  # More events come meanwhile, and are stored with these.
                    self._woken.clear()  # Before storing: an event that comes during that sets it again.
                    self.flush()
                with self._flushing:
                    self.heartbeats.beat()
                self._forget_old_jobs()
                is_well = True
            except Exception:  # Logged once, until a round without an error. The thread must not end.
                self.wake()  # The records are still there.
                self._pause = min(_LONGEST_PAUSE, max(0.1, self._pause * 2))
                if is_well:
                    logger.exception("the events of jobs could not be published; trying again")
                is_well = False
        self.heartbeats.remove_all()

    def _is_idle(self) -> bool:
        with self._publisher.lock:
            if self.heartbeats.workers or self._publisher.records or self._woken.is_set():
                return False
            self._thread = None
            return True

    def flush(self) -> None:
        """Store the new events and the changed summaries. A storage that fails is logged, and asked again later."""
        with self._flushing:
            with self._publisher.lock:
                waiting = [(key, record) for key, record in self._publisher.records.items() if record.has_more]
            if not waiting:  # Without `_unless_away`: the storage is not asked, so it may still be away.
                return
            stored: dict[StoragePlace, dict[str, None]] = {}
            with self._unless_away():
                try:
                    self._store_all(waiting, stored)
                finally:  # Also after an error: some records are stored, and their readers wait.
                    for place, jobs in stored.items():
                        if jobs:
                            wake_subscribers(place, list(jobs))
            if any(record.must_be_stored for _, record in waiting):
                self.wake()

    def _store_all(self, waiting: list[tuple[str, JobRecord]], stored: dict[StoragePlace, dict[str, None]]) -> None:
        """Store the new events and summaries of executions. Adds the jobs to ``stored``, by storage."""
        # First all together, which is fast. Then each by itself: that stores what is left, and finds the record whose
        # data cannot be stored.
        for place, records in _group_by_place(waiting):
            # After such an error the second loop finds out which of the records is the cause.
            with contextlib.suppress(*_DATA_ERRORS):
                self._store_together(state_of(place), records, stored.setdefault(place, {}))
        for key, record in waiting:
            self._flush_or_give_up(key, record, stored.setdefault(record.place, {}))
            with self._publisher.lock:
                if record.is_over and not record.has_more:
                    self._publisher.records.pop(key, None)

    def _store_together(self, state: SharedState, records: list[JobRecord], done: dict[str, None]) -> None:
        """Store the events and summaries of many executions in few steps, and add their jobs to ``done``.

        A record that is not stored here, for example because its number is taken, is left to ``_flush_record``. Raises
        what the storage raises.
        """
        for at in range(0, len(records), _TOGETHER):
            some = records[at : at + _TOGETHER]
            with_batch = [record for record in some if record.number and self._fill_batch(record)]
            changes = [
                events.change_for(record.summary.id, record.batch or b"", record.number) for record in with_batch
            ]
            for record, is_stored in zip(with_batch, state.change_many(changes), strict=True):
                if is_stored:
                    record.number, record.batch = record.number + 1, None
                    done[record.summary.id] = None
            # The summary comes after the events: a reader that finds a job done there looks for no more events.
            summaries = self._store_summaries(state, [each for each in some if each.number and each.batch is None])
            done.update(dict.fromkeys(summaries))

    def _store_summaries(self, state: SharedState, records: list[JobRecord]) -> list[str]:
        """Store the summaries that have changed, and return the ids of their jobs. Raises what the storage raises."""
        updates = [(record, update) for record in records if (update := self._update_summary(record)) is not None]
        try:
            present = state.get_many(JOBS_TABLE, [record.summary.id for record, _ in updates])
            changes = [
                EntryChange(JOBS_TABLE, record.summary.id, old, update.merge(old), update.at)
                for (record, update), old in zip(updates, present, strict=True)
            ]
            done = state.change_many(changes)
        except BaseException:
            for record, _ in updates:
                record.is_changed = True
            raise
        stored, again = [], []
        for (record, update), is_stored in zip(updates, done, strict=True):
            if is_stored:
                record.stored_at = update.began
                stored.append(record.summary.id)
            else:  # Another process has changed it at the same moment. This may be the last flush of this one.
                record.is_changed = True
                again.append(record)
        return stored + self._store_summaries(state, again) if again else stored

    def _fill_batch(self, record: JobRecord) -> bool:
        """Make the new events of an execution its ``batch``. Returns whether there are any."""
        # A batch that was taken out before and could not be stored is kept as it is, so that storing it again can
        # recognise it.
        if record.batch is None:
            with self._publisher.lock:
                pending = record.take_batch()
            if not pending:
                return False
            record.batch = record.encode([self._clean(record, event) for event in pending])
        return True

    def _flush_or_give_up(self, key: str, record: JobRecord, done: dict[str, None]) -> None:
        """Store the events and the summary of an execution. Gives it up if its data can never be stored."""
        try:
            self._flush_record(record, done)
        except _DATA_ERRORS as error:
            # Not at the first time, because a storage whose connection breaks may raise one of these, too.
            record.failures += 1
            if record.failures >= _MOST_FAILURES:
                logger.error("the events of job %s cannot be published: %s", record.summary.id, type(error).__name__)
                with self._publisher.lock:
                    self._publisher.records.pop(key, None)

    def _flush_record(self, record: JobRecord, done: dict[str, None]) -> None:
        """Store the events and the summary of an execution. Raises what the storage raises."""
        while self._fill_batch(record):
            batch = record.batch or b""
            record.number = events.append_batch(state_of(record.place), record.summary.id, batch, record.number) + 1
            record.batch = None
            done[record.summary.id] = None
        done.update(dict.fromkeys(self._store_summaries(state_of(record.place), [record])))

    def _clean(self, record: JobRecord, event: Pending) -> Pending:
        kind, at, data = event
        if kind in (events.TEXT, events.REASONING):
            return kind, at, {**data, "text": redact_text(data["text"])}
        if kind == events.STARTED and data.get("arguments"):
            data = {**data, "arguments": redact_arguments(data["arguments"])}
            record.summary.arguments = preview_text(data["arguments"])
        return kind, at, data

    def _update_summary(self, record: JobRecord) -> SummaryUpdate | None:
        """Return the change of the summary of a job, or None if it need not be stored yet."""
        now = time.monotonic()
        with self._publisher.lock:
            if record.is_over and record.has_events:
                return None  # The last events are stored first; see `_store_together`.
            if not record.is_changed and now - record.stored_at < _SUMMARY_EVERY:
                return None
            record.is_changed = False
            run = (
                None
                if record.run is None
                else replace(record.run, tail=clean_tail(record.run.tail, is_over=record.is_over))
            )
        return SummaryUpdate(record, run, self._publisher.clock.now(), now)

    def _forget_old_jobs(self) -> None:
        now = time.monotonic()
        if now < self._next_prune:
            return
        # At a random time, because each worker process of a queue does this. Not in the first round, so that a process
        # that lives for a short time never does it.
        is_first, self._next_prune = not self._next_prune, now + _PRUNE_EVERY * random.uniform(0.5, 1.5)
        if is_first:
            return
        with self._publisher.lock:
            places = set(self.heartbeats.workers)
        for place in places:
            with self._unless_away():
                clock, state = self._publisher.clock.now(), state_of(place)
                forget_old_jobs(state, keep=self._keep, before=clock - self._older_than)
                state.delete_below(WORKERS_TABLE, clock - 3600)  # The page shows workers for an hour.

    @contextlib.contextmanager
    def _unless_away(self) -> Iterator[None]:
        """Swallow the error of a storage, and log the outage: no job may fail because it cannot be published."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 -- each storage has errors of its own
            self._pause = self._outage.note_failure(error)
        else:
            self._outage.note_answer()
            self._pause = 0.0
