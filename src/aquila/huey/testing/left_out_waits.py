"""The waits between two executions of a job, which a test leaves out, in a run that tries faults."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from aquila.recording.runtime import Run


class _LeftOutWaits:
    """How long each job of a test would have waited so far. The run owns this object.

    Each job has a sum of its own, because the waits of jobs overlap.
    """

    def __init__(self) -> None:
        self.enqueued: dict[str, tuple[float, datetime]] = {}
        """By the id of a job that another one has enqueued, or that comes back: the waits before, and the moment."""


def add_wait_before(run: Run, task: Any) -> None:
    """Add the waits before a task whose code begins: its requests count as made that much later."""
    enqueued, watch = run.state_of(_LeftOutWaits).enqueued, run.wire_watch
    if watch is not None and task.id in enqueued:
        watch.left_out, moment = enqueued[task.id]
        if task.eta is not None:
            watch.left_out += max(0.0, (task.eta - moment).total_seconds())


def note_wait_start(run: Run, task: Any, others: Iterable[Any], moment: datetime) -> None:
    """Note that the waits of a task that has ended and of the ``others`` that it has enqueued start at ``moment``.

    ``moment`` is in the time of the Huey.
    """
    if run.wire_watch is not None:
        for job in (task, *others):
            run.state_of(_LeftOutWaits).enqueued[job.id] = run.wire_watch.left_out, moment
