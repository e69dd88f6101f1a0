"""OpenTelemetry metrics of a queue: how many tasks wait, run and end, how they end, and how long they take.

::

    import aquila
    from aquila.huey import TaskMetrics
    from aquila.otel import OpenTelemetry

    aquila.register(OpenTelemetry())    # the calls
    TaskMetrics(huey)                   # the queue, where the Huey is made

Names are those of the semantic conventions for messaging where these have one. Others begin with ``aquila.``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from huey import signals
from huey.api import Task

from aquila.huey.instrumenting import reject_plain_huey
from aquila.huey.progress.storage_patience import logger
from aquila.huey.tasks.running_task import FLOW_CONTROL, CurrentTask, task_name
from aquila.huey.telemetry.queue_time import note_enqueue_times, queue_seconds
from aquila.optional import import_optional

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

_OUTCOMES = {
    signals.SIGNAL_COMPLETE: "completed",
    signals.SIGNAL_ERROR: "failed",
    signals.SIGNAL_TIMEOUT: "timeout",
    signals.SIGNAL_RETRYING: "retrying",
    signals.SIGNAL_CANCELED: "canceled",
    signals.SIGNAL_LOCKED: "locked",
    signals.SIGNAL_RATE_LIMITED: "rate_limited",
    signals.SIGNAL_INTERRUPTED: "interrupted",
}
"""The outcome of an execution, by its last signal: an execution that fails and is retried sends two of them."""
_WITHOUT_EXECUTION = {signals.SIGNAL_REVOKED: "revoked", signals.SIGNAL_EXPIRED: "expired"}

# The bounds of the conventions end at 10 seconds, but a model may take minutes, and a queue hours.
_SECONDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600]


class TaskMetrics:
    """Measures the queue and the tasks of a Huey.

    - ``huey``: a Huey of ``aquila.huey``, or one that was given to ``instrument``.
    - ``meter_provider``: the global one by default.
    - ``observe_queue``: whether this process reports how many tasks wait. All processes that report it report the same
      number. So take the greatest one and not the sum, or let one process report it.

    Raises ``MissingDependency`` without OpenTelemetry, and ``ConfigError`` for a Huey that was not instrumented.

    Examples:
        >>> from aquila.huey import MemoryHuey, TaskMetrics
        >>> huey = MemoryHuey("jobs")
        >>> metrics = TaskMetrics(huey, observe_queue=False)    # where the Huey is made
    """

    def __init__(self, huey: Any, *, meter_provider: MeterProvider | None = None, observe_queue: bool = True) -> None:
        reject_plain_huey(huey, "TaskMetrics")
        self._api = import_optional("opentelemetry.metrics", "otel", purpose="aquila.huey.TaskMetrics")
        self._huey = huey
        meter = self._api.get_meter("aquila.huey", meter_provider=meter_provider)
        self._sent = meter.create_counter(
            "messaging.client.sent.messages", unit="{message}", description="Tasks that were put into the queue."
        )
        self._consumed = meter.create_counter(
            "messaging.client.consumed.messages", unit="{message}", description="Tasks that a worker began."
        )
        self._run_time = meter.create_histogram(
            "messaging.process.duration",
            unit="s",
            description="Run time of tasks.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._queue_time = meter.create_histogram(
            "aquila.task.queue_time",
            unit="s",
            description="Time of tasks in the queue, from when they were last put there until a worker began them.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._running = meter.create_up_down_counter(
            "aquila.task.running", unit="{task}", description="Tasks that workers execute."
        )
        self._ended = meter.create_counter(
            "aquila.task.ended", unit="{task}", description="Executions of tasks that ended, by their outcome."
        )
        if observe_queue:
            for name, count, description in (
                ("waiting", huey.pending_count, "Tasks in the queue."),
                ("scheduled", huey.scheduled_count, "Tasks that are due later."),
            ):
                meter.create_observable_gauge(
                    f"aquila.queue.{name}",
                    callbacks=[self._observer_of(count)],
                    unit="{task}",
                    description=description,
                )
        note_enqueue_times(huey)
        huey.signal()(self._note_signal)
        huey.around_tasks = (*huey.around_tasks, self._measure)

    def _about(self, task: Task | None = None, operation: str = "") -> dict[str, Any]:
        about: dict[str, Any] = {"messaging.system": "huey", "messaging.destination.name": self._huey.name}
        if operation:
            about["messaging.operation.name"] = operation
        if task is not None:
            about["aquila.task.name"] = task_name(task)
        return about

    def _note_signal(self, signal: str, task: Task, error: BaseException | None = None) -> None:
        if signal == signals.SIGNAL_ENQUEUED:
            self._sent.add(1, self._about(task, "enqueue"))
        elif signal == signals.SIGNAL_EXECUTING:
            self._consumed.add(1, self._about(task, "process"))
        elif signal in _OUTCOMES:
            task._aquila_outcome = _OUTCOMES[signal]  # The last signal wins. `_measure` reads it at the end.
        elif signal in _WITHOUT_EXECUTION:
            self._ended.add(1, {**self._about(task), "aquila.task.outcome": _WITHOUT_EXECUTION[signal]})

    @contextlib.contextmanager
    def _measure(self, current: CurrentTask) -> Iterator[None]:
        task, began = current.task, time.monotonic()
        about = self._about(task)
        waited = queue_seconds(self._huey, task)
        if waited is not None:
            self._queue_time.record(waited, about)
        # Set anew, because a retry within one process may be the same object. "interrupted" stays where the execution
        # ends without a signal. In immediate mode the retry is executed within this execution.
        before = getattr(task, "_aquila_outcome", None)
        task._aquila_error, task._aquila_outcome = None, "interrupted"
        self._running.add(1, about)
        try:
            yield
        finally:
            self._running.add(-1, about)
            error = task._aquila_error
            failed = {} if error is None or isinstance(error, FLOW_CONTROL) else {"error.type": type(error).__name__}
            seconds = time.monotonic() - began
            self._run_time.record(seconds, {**about, "messaging.operation.name": "process", **failed})
            self._ended.add(1, {**about, "aquila.task.outcome": task._aquila_outcome, **failed})
            task._aquila_outcome = before

    def _observer_of(self, count: Callable[[], int]) -> Callable[[CallbackOptions], list[Observation]]:
        def observe(options: CallbackOptions) -> list[Observation]:
            try:
                return [self._api.Observation(count(), self._about())]
            except Exception as error:  # noqa: BLE001 -- whatever a storage raises, the other metrics are exported
                logger.debug("the queue %s could not be counted: %s", self._huey.name, error)
                return []

        return observe
