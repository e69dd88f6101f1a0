"""The actions on jobs and queues that the page offers."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from aquila.errors import TaskError
from aquila.huey.delivery.dead_letters import dead_letters
from aquila.huey.live import events
from aquila.huey.live.job_index import JobIndex
from aquila.huey.live.pausing import pause_queue, resume_queue
from aquila.huey.live.retention import forget_jobs
from aquila.huey.live.summaries import ACTIVE, JOBS_TABLE, JobSummary, decode_summary
from aquila.huey.live.waking import wake_subscribers
from aquila.huey.state import state_of


class ActionRefused(Exception):
    """An action cannot be done. The text says why."""


def cancel_job(huey: Any, job: str) -> None:
    """Revoke a job. A job that waits will not begin, and a job that reads a stream with ``follow`` is ended.

    Raises ``ActionRefused`` for a job that is not known, or has ended.
    """
    summary = decode_summary(job, state_of(huey).get(JOBS_TABLE, job))
    if summary is None:
        raise ActionRefused("this job is not known any more")
    if summary.ended:
        raise ActionRefused("this job has ended")
    huey.revoke_by_id(job, revoke_once=True)


def has_letter(huey: Any, job: str) -> bool:
    """Whether a job is among the dead letters, and so can be enqueued again. Raises what the storage raises."""
    return dead_letters(huey).get(job) is not None


def retry_job(huey: Any, job: str) -> None:
    """Enqueue a job again that failed for good. It keeps its id, and gets all its attempts again.

    Raises ``ActionRefused`` where it is no dead letter, or cannot be retried now.
    """
    now = state_of(huey).now()
    try:
        dead_letters(huey).retry(job)
    except TaskError as error:
        raise ActionRefused(str(error)) from None
    _note_retry(huey, job, now)


def _note_retry(huey: Any, job: str, now: float) -> None:
    """Publish that a job waits again, since ``now``. A worker may have begun it, or ended it, since then."""
    state = state_of(huey)
    event = (events.QUEUED, now, {"again": True})
    events.append_batch(state, job, events.encode_batch(uuid.uuid4().hex, "", [event]))

    def change(present: bytes | None) -> bytes | None:
        summary = decode_summary(job, present)
        if summary is None or not 0 < summary.ended <= now:
            return present
        summary.ended_as, summary.changed = "", now
        if summary.last is not None:
            summary.last.state, summary.last.eta = "retrying", now
        return summary.encode()

    state.update(JOBS_TABLE, job, change, order=now)
    wake_subscribers(huey, [job])


def can_still_run(huey: Any, index: JobIndex, summary: JobSummary) -> bool:
    """Whether a job waits or runs. Raises what the storage raises.

    An interrupted job waits if it was handed back, or if ``keep_running`` keeps it, until it is canceled.
    """
    state = index.state_of_job(summary)
    if state != "interrupted":
        return state in ACTIVE
    return (summary.state == state or huey.keep_running) and not huey.is_revoked(summary.id)


def delete_job(huey: Any, index: JobIndex, job: str) -> None:
    """Remove a job that neither waits nor runs from the page, and delete its result.

    Raises ``ActionRefused`` for a job that waits or runs.
    """
    summary = decode_summary(job, state_of(huey).get(JOBS_TABLE, job))
    if summary is not None:
        index.refresh()  # It knows which workers live: the job of a dead one does not run.
        if can_still_run(huey, index, summary):
            raise ActionRefused("this job waits or runs; cancel it first")
    forget_jobs(state_of(huey), job)
    huey.delete(job)
    index.forget(job)


ACTIONS: dict[str, Callable[[Any, JobIndex, str], None]] = {
    "cancel": lambda huey, index, job: cancel_job(huey, job),
    "retry": lambda huey, index, job: retry_job(huey, job),
    "delete": delete_job,
    "pause": lambda huey, index, job: pause_queue(huey),
    "resume": lambda huey, index, job: resume_queue(huey),
}
"""The actions that a form may ask for: functions of the Huey, the index of its jobs and the id of a job."""
