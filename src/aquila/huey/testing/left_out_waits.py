"""The waits between two executions of a job, which a test leaves out, in a run that tries faults."""

from __future__ import annotations

from typing import Any

from aquila.recording.reporting.wire_watch import WireWatch


class LeftOutWaits:
    """How long each job of a test would have waited so far. The run owns this object.

    The requests of a job are so much later. Each job has a sum of its own, because the waits of jobs overlap.
    """

    def __init__(self) -> None:
        self._enqueued: dict[str, tuple[float, Any]] = {}
        """By the id of a job that another one has enqueued, or that comes back: the waits before, and the moment."""

    def begin_execution(self, watch: WireWatch, task: Any) -> None:
        """Let the requests from now on come after the waits of a task, which executes next."""
        if task.id in self._enqueued:
            watch.left_out, moment = self._enqueued[task.id]
            if task.eta is not None:
                watch.left_out += max(0.0, (task.eta - moment).total_seconds())

    def end_execution(self, watch: WireWatch, task: Any, enqueued: Any, moment: Any) -> None:
        """Note the moment, in the time of the Huey, at which a task has ended and what it has enqueued."""
        self._enqueued.update(dict.fromkeys([task.id, *(other.id for other in enqueued)], (watch.left_out, moment)))
