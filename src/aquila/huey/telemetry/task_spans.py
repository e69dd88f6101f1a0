"""OpenTelemetry spans: one for each execution of a task, around the spans of its model requests.

::

    import aquila
    from aquila.huey import TaskSpans
    from aquila.otel import OpenTelemetry

    aquila.register(OpenTelemetry())    # the requests
    TaskSpans(huey)                     # the tasks around them
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from aquila.huey.instrumenting import reject_plain_huey
from aquila.huey.tasks.running_task import FLOW_CONTROL, CurrentTask
from aquila.optional import import_optional

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider


class TaskSpans:
    """Opens a span ``process <task>`` for each execution of a task of a Huey.

    ``huey`` is a Huey of ``aquila.huey``, or one that was given to ``instrument``. ``tracer_provider`` is the global
    one by default. Raises ``MissingDependency`` without OpenTelemetry, and ``ConfigError`` for a Huey that was not
    instrumented.

    Examples:
        >>> from aquila.huey import MemoryHuey, TaskSpans
        >>> huey = MemoryHuey("jobs")
        >>> spans = TaskSpans(huey)    # where the Huey is made
    """

    def __init__(self, huey: Any, *, tracer_provider: TracerProvider | None = None) -> None:
        reject_plain_huey(huey, "TaskSpans")
        self._trace = import_optional("opentelemetry.trace", "otel", purpose="aquila.huey.TaskSpans")
        self._tracer = self._trace.get_tracer("aquila.huey", tracer_provider=tracer_provider)
        huey.around_tasks = (*huey.around_tasks, self._open_span)

    @contextlib.contextmanager
    def _open_span(self, current: CurrentTask) -> Iterator[None]:
        attributes = {
            "messaging.system": "huey",
            "messaging.operation.type": "process",
            "messaging.destination.name": current.huey.name,
            "messaging.message.id": current.id,
            "aquila.task.name": current.name,
            "aquila.task.attempt": current.attempt,
        }
        kind = self._trace.SpanKind.CONSUMER
        with self._tracer.start_as_current_span(f"process {current.name}", kind=kind, attributes=attributes) as span:
            yield
            # Huey catches the error of a task, so none comes through the `yield`. `record_outcome` has noted it.
            error = getattr(current.task, "_aquila_error", None)
            if error is not None:
                span.set_attribute("error.type", type(error).__name__)
                if not isinstance(error, FLOW_CONTROL):
                    span.set_status(self._trace.StatusCode.ERROR, type(error).__name__)
