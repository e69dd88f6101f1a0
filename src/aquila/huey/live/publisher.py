"""Publishes what happens to the jobs of a Huey. One line where the Huey is made is enough.

::

    huey = RedisHuey("app")
    publish_jobs(huey)

A producer stores a summary of each task when it enqueues it. A worker notes events in memory, and a thread of it stores
them a few times a second. If the storage does not answer, the thread tries again later, and no task fails.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from huey import signals
from huey.api import Task, chord, group

from aquila.errors import ConfigError
from aquila.events import Usage
from aquila.fork_locks import renewed_in_child
from aquila.huey.instrumenting import reject_plain_huey
from aquila.huey.live import events
from aquila.huey.live.clock import SharedClock
from aquila.huey.live.event_writer import EventWriter
from aquila.huey.live.job_record import JobRecord, StoragePlace, clean_tail
from aquila.huey.live.model_calls import register_plugin
from aquila.huey.live.redacting import describe_arguments, describe_error, learn_secrets, preview_text, redact_arguments
from aquila.huey.live.summaries import JobRun, JobSummary
from aquila.huey.state import state_of
from aquila.huey.tasks.running_task import CurrentTask, attempt_of, task_name
from aquila.huey.tasks.task_ends import is_lost

Price = Callable[[str, Usage], float]
"""A function that returns what a request has cost, from the name of the model and the tokens."""

_HEARD = (
    signals.SIGNAL_EXECUTING,
    signals.SIGNAL_REVOKED,
    signals.SIGNAL_EXPIRED,
    signals.SIGNAL_CANCELED,
    signals.SIGNAL_RETRYING,
    signals.SIGNAL_INTERRUPTED,
    signals.SIGNAL_ERROR,
)


def publish_jobs(
    huey: Any,
    *,
    content: bool = True,
    every: float = 0.2,
    keep: int = 100_000,
    older_than: timedelta = timedelta(days=7),
    price: Price | None = None,
    heartbeat: float = 5.0,
) -> None:
    """Publish what happens to the jobs of a Huey, for ``subscribe`` and the page of ``aquila jobs``.

    - ``content``: whether prompts, answers and arguments are published. Otherwise only their sizes are.
    - ``every``: seconds between two times that a worker stores its events. Text that arrives in between is one event.
    - ``keep``: how many jobs are kept. ``older_than``: for how long a job is kept after its last change.
    - ``price``: returns what a request has cost, from the name of the model and its ``Usage``.
    - ``heartbeat``: seconds between two heartbeats of a worker.

    Call it where the Huey is made, so that producers and workers both publish. Secrets are removed before anything is
    stored. A second call for the same Huey does nothing. Raises ``ConfigError`` for a Huey that is not of
    ``aquila.huey`` and was not given to ``instrument``, and for numbers that are out of range.
    """
    reject_plain_huey(huey, "publish_jobs")
    if huey.publisher is not None:
        return
    if every <= 0 or heartbeat <= 0 or keep < 1:
        raise ConfigError("publish_jobs takes every= and heartbeat= in seconds above 0, and keep= from 1")
    publisher = JobPublisher(huey, content=content, price=price)
    publisher.store = EventWriter(publisher, every=every, keep=keep, older_than=older_than, heartbeat=heartbeat)
    huey.publisher = publisher
    huey.around_tasks = (*huey.around_tasks, publisher.follow_task)
    huey.signal(*_HEARD)(publisher.note_signal)
    huey.on_startup("aquila publish_jobs")(publisher.store.begin_worker)
    huey.on_shutdown("aquila publish_jobs")(publisher.store.end_worker)
    register_plugin()


class JobPublisher:
    """Collects what happens to the jobs of one Huey in this process.

    It owns ``records``, by the key of the run. The dictionary and the records in it change under ``lock``. A record is
    removed when the execution is over and everything is stored. A task that executes has its record as
    ``_aquila_record``. A fork begins with no records: see ``EventWriter``. ``note_event`` and
    ``note_text``, which the code of a task calls, do not ask the storage, not even for its time: it may hang.
    """

    store: EventWriter

    def __init__(self, huey: Any, *, content: bool, price: Price | None) -> None:
        self.huey = huey
        self.content = content
        self.price = price
        self.lock = renewed_in_child(threading.RLock())
        self.records: dict[str, JobRecord] = {}
        self.clock = SharedClock(lambda: state_of(huey).now())

    def enqueue(self, task: Any, forward: Callable[[Any], Any]) -> Any:
        """Enqueue a task by calling ``forward``, and return what that returns.

        The summary of the job is stored before, because a worker may begin the job at once.
        """
        # Members of a group or a chord come here one by one, and a retry has its summary already.
        if isinstance(task, group | chord) or attempt_of(task) > 1:
            if self.huey.immediate:  # A retry executes now, within the attempt before it, which has ended.
                self._end_followed_run(_record_of(task), task, is_left=False)
            return forward(task)
        summary = self._summarize(task)
        if self.content:
            summary.arguments = preview_text(redact_arguments(describe_arguments(task)))
        is_new = self.store.add_summary(summary)
        try:
            return forward(task)
        except BaseException:
            if is_new and not self.huey.immediate:  # The task is in no queue.
                self.store.forget_job(summary.id)
            raise

    def is_paused(self) -> bool:
        """Whether the queue is paused. If so, waits a moment first, as a worker does when there is no task."""
        return self.store.pausing.wait_while_paused()

    def note_signal(self, signal: str, task: Task, error: BaseException | None = None) -> None:
        """Note a signal of Huey. ``error`` is that of a task that failed."""
        now = self.clock.now()
        if signal == signals.SIGNAL_EXECUTING:
            self._begin_run(task, now)
        elif signal in (signals.SIGNAL_REVOKED, signals.SIGNAL_EXPIRED):
            kind = events.EXPIRED if signal == signals.SIGNAL_EXPIRED else events.CANCELED
            self._end_without_run(self._summarize(task), now, kind)
        elif signal == signals.SIGNAL_RETRYING:
            task._aquila_retrying = True
        elif signal == signals.SIGNAL_CANCELED:
            task._aquila_canceled = True
        elif signal == signals.SIGNAL_ERROR:
            if _record_of(task) is None:  # The task does not execute: it is given up.
                self._end_without_run(self._summarize(task), now, events.FAILED, error)
        elif (record := _record_of(task)) is not None and not record.is_over:
            self._end_run(record, now, "interrupted", events.INTERRUPTED)
            self.store.flush()  # The process is about to end, and its thread with it.

    def give_up(self, job: str, name: str, error: BaseException) -> None:
        """Publish that a job has failed because no worker can begin it. ``name``: its task, with the module."""
        now = self.clock.now()
        self._end_without_run(JobSummary(job, name=name, created=now, changed=now), now, events.FAILED, error)

    @contextlib.contextmanager
    def follow_task(self, current: CurrentTask) -> Iterator[None]:
        """Enclose an execution, and publish how it ended."""
        task = current.task
        record = _record_of(task)
        task._aquila_retrying, task._aquila_canceled, task._aquila_error = False, False, None
        is_left = True
        try:
            yield
            is_left = False
        finally:
            self._end_followed_run(record, task, is_left=is_left)

    def note_event(
        self, current: CurrentTask, kind: str, change: Callable[[JobRun], None] = lambda run: None, **data: Any
    ) -> None:
        """Add an event of a model call to the execution that makes it.

        ``change`` is called with the run, to update its numbers, while the lock is held. ``data`` is that of the event.
        """
        with self.lock:
            record = _record_of(current.task)
            if record is None or record.run is None or record.is_over or is_lost(current.task):
                return
            change(record.run)
            record.is_changed = True
            record.add_event(kind, self.clock.known_now(), **data)
        self.store.wake()

    def note_text(self, current: CurrentTask, kind: str, text: str) -> None:
        """Add a piece of an answer. ``kind`` is ``text`` or ``reasoning``."""
        with self.lock:
            record = _record_of(current.task)
            if record is None or record.is_over or is_lost(current.task):
                return
            record.add_text(kind, self.clock.known_now(), text, content=self.content)
        self.store.wake()

    def _summarize(self, task: Task) -> JobSummary:
        now = self.clock.now()
        return JobSummary(
            str(task.id),  # The id of a task that came as a pickle may be of any type.
            name=task_name(task),
            created=now,
            changed=now,
            eta=_seconds_of(task.eta, utc=self.huey.utc) if task.eta else 0.0,
            retries=int(task.retries or 0),
        )

    def _begin_run(self, task: Task, now: float) -> None:
        attempt, delivery = attempt_of(task), int(getattr(task, "_aquila_deliveries", 0))
        summary = self._summarize(task)
        # Described now, because the task may change them. Secrets are removed later, in the thread that stores: it is
        # slow.
        arguments = describe_arguments(task) if self.content else ""
        # Making the key starts that thread, which ends when it has nothing to store. So the record is added at once.
        with self.lock:
            run = JobRun(
                self.store.make_run_key(), attempt=attempt, delivery=delivery, started=now, worker=self.store.worker
            )
            record = JobRecord(StoragePlace(self.huey.storage), summary, run)
            # The first execution of a job writes its first batch. Of any other it is not known which numbers are taken.
            record.number = 1 if attempt == 1 and not delivery else 0
            record.add_event(
                events.STARTED,
                now,
                attempt=attempt,
                delivery=delivery,
                worker=self.store.worker,
                retries=record.summary.retries,
                arguments=arguments,
            )
            record.is_changed = True
            self.records[run.key] = task._aquila_record = record
        self.store.wake()

    def _end_followed_run(self, record: JobRecord | None, task: Task, *, is_left: bool) -> None:
        if record is None or record.is_over:
            return
        now, error = self.clock.now(), task._aquila_error
        if error is not None:
            learn_secrets(task)
        # Left by a `BaseException`, which Huey does not catch: the worker ends, or a test does. Lost: another consumer
        # says how the job ends.
        if is_left or is_lost(task):
            self._end_run(record, now, "interrupted", events.INTERRUPTED)
        elif task._aquila_retrying:
            delay = getattr(task, "_aquila_retry_delay", 0.0)  # A subclass may have a `_requeue_task` of its own.
            self._end_run(record, now, "retrying", events.RETRY, error=error, eta=now + delay)
        elif task._aquila_canceled:
            self._end_run(record, now, "canceled", events.CANCELED, error=error)
        elif error is None:
            self._end_run(record, now, "done", events.DONE)
        else:
            self._end_run(record, now, "failed", events.FAILED, error=error)

    def _end_run(
        self, record: JobRecord, now: float, state: str, kind: str, error: BaseException | None = None, eta: float = 0.0
    ) -> None:
        data: dict[str, Any] = {"eta": eta} if eta else {}
        if error is not None:
            data["error"], data["traceback"] = describe_error(error)
        with self.lock:
            record.is_over = True
            if record.run is not None:
                record.run.state, record.run.ended, record.run.eta = state, now, eta
                record.run.error = str(data.get("error", ""))[:500]
                record.run.tail = clean_tail(record.run.tail)
                data["seconds"] = round(now - record.run.started, 6)
            record.add_event(kind, now, **data)
            record.is_changed = True
        self.store.wake()

    def _end_without_run(self, summary: JobSummary, now: float, kind: str, error: BaseException | None = None) -> None:
        record = JobRecord(StoragePlace(self.huey.storage), summary, None)
        record.is_over = True
        summary.ended_as = kind
        data: dict[str, Any] = {}
        if error is not None:
            data["error"], _ = describe_error(error)
            record.error = str(data["error"])[:500]
        with self.lock:
            record.add_event(kind, now, **data)
            record.is_changed = True
            self.records[self.store.make_run_key()] = record
        self.store.wake()


def _record_of(task: Task) -> JobRecord | None:
    record: JobRecord | None = getattr(task, "_aquila_record", None)
    return record


def _seconds_of(moment: datetime, *, utc: bool) -> float:
    """Return a ``datetime`` of Huey, which has no zone, in seconds since the epoch."""
    if moment.tzinfo is None and utc:
        return (moment - datetime(1970, 1, 1)).total_seconds()
    return moment.timestamp()
