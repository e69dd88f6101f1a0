"""One ordered log of what happens to tasks: the signals of Huey, and the events of the model calls that tasks make.

::

    log = TaskLog(huey)     # where the Huey is made, so that workers have it too

    @log.receiver
    def receive(record):
        print(record.task, record.attempt, record.name, record.data)

    for record in log.read(result.id):
        ...

Each process has a log of its own, in memory. The events of all processes are in the storage of the queue where
``aquila.huey.live.publish_jobs`` was called.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from huey import signals
from huey.api import Task

from aquila import plugins
from aquila.events import Event, Retry, ToolCall, ToolResult
from aquila.fork_locks import renewed_in_child
from aquila.hookspecs import AnswerInfo, CallInfo, hookimpl
from aquila.huey.instrumenting import reject_plain_huey
from aquila.huey.live.redacting import redact_json
from aquila.huey.tasks.running_task import attempt_of, current_task_or_none, task_name
from aquila.huey.telemetry.queue_time import note_enqueue_times, queue_seconds

Receiver: TypeAlias = Callable[["TaskLogEntry"], Any]

_MAX_COUNTERS = 10_000  # Attempts whose next number is remembered. More than any process executes at once.

_ENDS = (
    signals.SIGNAL_COMPLETE,
    signals.SIGNAL_ERROR,
    signals.SIGNAL_TIMEOUT,
    signals.SIGNAL_CANCELED,
    signals.SIGNAL_LOCKED,
    signals.SIGNAL_RATE_LIMITED,
    signals.SIGNAL_RETRYING,  # The only one after RetryTask.
    signals.SIGNAL_INTERRUPTED,
)
"""The signals that end an execution. One that is tried again may end with two of them."""


@dataclass(frozen=True, slots=True)
class TaskLogEntry:
    """One thing that happened to an attempt of a task.

    - ``source``: ``huey`` for a signal, ``aquila`` for an event of a model call.
    - ``name``: the signal (``executing``, ``complete``, ...) or the event (``call_start``, ``request_start``,
      ``chunk``, ``tool_call``, ``tool_result``, ``retry``, ``request_stop``, ``call_stop``).
    - ``seq``: counts from 0 within an attempt and a process.
    - ``at``: the time, in seconds since the epoch.
    - ``data``: plain data about what happened. ``executing`` has ``waited``: for how many seconds the task was in the
      queue, if a process with a log has enqueued it. The signals that end an execution have ``seconds``, its run time.
      ``call_start`` has the ``metadata`` of the call, if there is any.

    Examples:
        >>> from aquila.huey import MemoryHuey, TaskLog
        >>> from aquila.huey.testing import drain_queue, use_test_queue
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task()
        ... def add(a, b):
        ...     return a + b
        >>> log = TaskLog(huey)
        >>> with use_test_queue(huey):
        ...     result = add(1, 2)
        ...     runs = drain_queue()
        >>> [(entry.attempt, entry.name) for entry in log.read(result.id)]
        [(1, 'enqueued'), (1, 'executing'), (1, 'complete')]
        >>> log.close()
    """

    task_id: str
    task: str
    attempt: int
    seq: int
    source: Literal["huey", "aquila"]
    name: str
    at: float
    pid: int
    data: Mapping[str, Any] = field(default_factory=dict)


class TaskLog:
    """The log of the tasks of one Huey in this process.

    - ``keep``: how many records are kept. The oldest are dropped first.
    - ``content``: whether records have the text of answers. Otherwise they have only its length.

    Raises ``ConfigError`` for a Huey that is not one of ``aquila.huey`` and was not instrumented.
    """

    def __init__(self, huey: Any, *, keep: int = 10_000, content: bool = False) -> None:
        reject_plain_huey(huey, "a TaskLog")
        self._huey = huey
        self._content = content
        # These live as long as the log, also after `close`, because `read` still works then.
        self._records: deque[TaskLogEntry] = deque(maxlen=keep)
        self._receivers: list[Receiver] = []
        # The next number of each attempt. Each record moves its attempt to the end, so ended attempts are in front. If
        # there are too many, they are dropped from the front.
        self._counts: OrderedDict[tuple[str, int], int] = OrderedDict()
        # A record gets its number and is stored in one step. Reentrant, because a receiver may make a model call.
        self._lock = renewed_in_child(threading.RLock())
        note_enqueue_times(huey)
        huey.signal()(self._log_signal)
        self._plugin = plugins.register(_ModelCallPlugin(self))

    def receiver(self, function: Receiver) -> Receiver:
        """Call ``function`` with every record of this process, and return it, so that it serves as a decorator.

        It is called in order, in the thread of the task. An exception in it is logged, and the task goes on.
        """
        self._receivers.append(function)
        return function

    def read(self, task_id: str | None = None, attempt: int | None = None) -> list[TaskLogEntry]:
        """Return the records in order.

        ``task_id`` and ``attempt`` (from 1) choose those of one task and of one attempt. None chooses all.
        """
        return [
            record
            for record in self._records.copy()
            if task_id in (None, record.task_id) and attempt in (None, record.attempt)
        ]

    def close(self) -> None:
        """Stop logging. ``read`` still works."""
        self._huey.disconnect_signal(self._log_signal)
        plugins.unregister(self._plugin)

    def add_entry(self, task: Task, source: Literal["huey", "aquila"], name: str, data: Mapping[str, Any]) -> None:
        """Add a record about a task to the log, and pass it to the receivers.

        ``source``, ``name`` and ``data`` are those of ``TaskLogEntry``.
        """
        attempt = attempt_of(task)
        with self._lock:  # Also around the receivers, because they get the records in order, too.
            seq = self._counts.pop((task.id, attempt), 0)
            self._counts[task.id, attempt] = seq + 1
            if len(self._counts) > _MAX_COUNTERS:
                self._counts.popitem(last=False)
            kind = task_name(task)
            record = TaskLogEntry(task.id, kind, attempt, seq, source, name, time.time(), os.getpid(), data)
            self._records.append(record)
            for receive in self._receivers:
                try:
                    receive(record)
                except Exception:  # noqa: BLE001 -- telemetry must never break a task
                    plugins.logger.exception("a receiver of the task log failed")

    def add_call_entry(self, name: str, **data: Any) -> None:
        """Add a record about a model call to the log, if the call is made in a task of this Huey."""
        current = current_task_or_none()
        if current is not None and current.huey is self._huey:
            self.add_entry(current.task, "aquila", name, data)

    def describe_text(self, text: str) -> dict[str, Any]:
        """Return the fields about a piece of an answer: its text, or without ``content`` its length."""
        return {"text": text} if self._content else {"characters": len(text)}

    def _log_signal(self, signal: str, task: Task, error: BaseException | None = None) -> None:
        data: dict[str, Any] = {} if error is None else {"error": type(error).__name__}
        if signal == signals.SIGNAL_EXECUTING:
            task._aquila_log_began = time.monotonic()
            waited = queue_seconds(self._huey, task)
            if waited is not None:
                data["waited"] = waited
        elif signal in _ENDS and (began := getattr(task, "_aquila_log_began", None)) is not None:
            data["seconds"] = time.monotonic() - began
        self.add_entry(task, "huey", signal, data)


class _ModelCallPlugin:
    """The plugin that gets the events of model calls, and adds them to the log."""

    def __init__(self, log: TaskLog) -> None:
        self._log = log

    @hookimpl
    def aquila_call_start(self, call: CallInfo) -> None:
        about = {"metadata": _metadata_without_secrets(call)} if call.metadata else {}
        self._log.add_call_entry(
            "call_start", ref=call.ref, model=call.model, operation=call.operation, transport=call.transport, **about
        )

    @hookimpl
    def aquila_request_start(self, call: CallInfo, turn: int) -> None:
        self._log.add_call_entry("request_start", ref=call.ref, turn=turn)

    @hookimpl
    def aquila_chunk(self, call: CallInfo, event: Event) -> None:
        text = getattr(event, "text", None)
        about = self._log.describe_text(text) if isinstance(text, str) else {}
        self._log.add_call_entry("chunk", ref=call.ref, kind=type(event).__name__, **about)

    @hookimpl
    def aquila_tool_call(self, call: CallInfo, event: ToolCall) -> None:
        self._log.add_call_entry("tool_call", ref=call.ref, tool=event.name, id=event.id)

    @hookimpl
    def aquila_tool_result(self, call: CallInfo, event: ToolResult, seconds: float) -> None:
        self._log.add_call_entry(
            "tool_result", ref=call.ref, tool=event.name, id=event.id, failed=event.error is not None, seconds=seconds
        )

    @hookimpl
    def aquila_retry(self, call: CallInfo, event: Retry) -> None:
        self._log.add_call_entry("retry", ref=call.ref, delay=event.delay, error=type(event.error).__name__)

    @hookimpl
    def aquila_request_stop(
        self, call: CallInfo, turn: int, answer: AnswerInfo | None, error: BaseException | None, seconds: float
    ) -> None:
        usage = {} if answer is None else {"total_tokens": answer.usage.total_tokens}
        self._log.add_call_entry(
            "request_stop", ref=call.ref, turn=turn, seconds=seconds, **usage, **_error_fields(error)
        )

    @hookimpl
    def aquila_call_stop(self, call: CallInfo, result: Any, error: BaseException | None, seconds: float) -> None:
        outcome = "done" if result is not None else "failed" if error is not None else "closed"
        self._log.add_call_entry("call_stop", ref=call.ref, outcome=outcome, seconds=seconds, **_error_fields(error))


def _metadata_without_secrets(call: CallInfo) -> Any:
    """Return the metadata of a call as JSON, without secrets, because it may be written to a file."""
    return json.loads(redact_json(json.dumps(dict(call.metadata), ensure_ascii=False, default=str)))


def _error_fields(error: BaseException | None) -> dict[str, Any]:
    return {} if error is None else {"error": type(error).__name__}
