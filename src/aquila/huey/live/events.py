"""The numbered events of a job, and how a batch of them is stored.

A batch is one entry of the table ``events_table(job)``, and the order of the entry is the number of the batch. The
number of an event is computed from the number of its batch and its place in the batch. So numbers grow, and none is
used twice, whichever process writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aquila.huey.state import EntryChange, SharedState

MOST_IN_BATCH = 256
"""The most events of a batch. The number of an event is the number of its batch times this, plus its place."""

QUEUED, STARTED, TEXT, REASONING = "queued", "started", "text", "reasoning"
CALL, TOOL_CALL, TOOL_RESULT, REQUEST_RETRY, USAGE = "call", "tool_call", "tool_result", "request_retry", "usage"
RETRY, INTERRUPTED = "retry", "interrupted"
DONE, FAILED, CANCELED, EXPIRED = "done", "failed", "canceled", "expired"
ENDS = frozenset({DONE, FAILED, CANCELED, EXPIRED})
"""The events after which nothing happens to a job any more, unless somebody enqueues it again."""

FIRST = 1
"""The number of the event ``queued``. It is not stored as an event, but read from the summary of the job."""


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One thing that happened to a job.

    - ``number``: grows with each event of a job, across retries, workers and restarts, but not by one.
    - ``kind``: ``queued``, ``started``, ``call``, ``text``, ``reasoning``, ``tool_call``, ``tool_result``,
      ``request_retry``, ``usage``, ``retry``, ``interrupted``, ``done``, ``failed``, ``canceled`` or ``expired``.
    - ``at``: when, in seconds since the epoch, by the clock of the storage.
    - ``run``: which execution of the job it belongs to; empty before the first.
    - ``data``: plain data about it, without secrets.

    Examples:
        >>> from aquila.huey import MemoryHuey
        >>> from aquila.huey.live import JobEvent, publish_jobs, subscribe
        >>> from aquila.huey.testing import drain_queue, use_test_queue
        >>> huey = MemoryHuey("jobs")
        >>> publish_jobs(huey)
        >>> @huey.task()
        ... def add(a, b):
        ...     return a + b
        >>> with use_test_queue(huey):
        ...     result = add(1, 2)
        ...     runs = drain_queue()
        ...     events = list(subscribe(huey, result, timeout=60))
        >>> [event.kind for event in events], events[-1].is_end
        (['queued', 'started', 'done'], True)
    """

    number: int
    kind: str
    at: float
    run: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_end(self) -> bool:
        """Whether the job has ended with this event."""
        return self.kind in ENDS


def events_table(job: str) -> str:
    """Return the name of the table with the events of the job that has this id."""
    return f"live.events.{job}"


def _batch_key(number: int) -> str:
    # With leading zeros, so that keys in the order of texts are in the order of their numbers.
    return f"{number:09d}"


def append_batch(state: SharedState, job: str, batch: bytes, number: int = 0) -> int:
    """Store a batch under the next free number, and return the number. Storing the same batch again changes nothing.

    ``job`` is the id of the job. ``number`` is the one that is probably free, or 0 if that is not known. Raises what
    the storage raises.
    """
    table = events_table(job)
    while True:
        if not number:
            newest = state.entries(table, limit=1, newest_first=True)
            number = int(newest[0].order) + 1 if newest else 1
        key = _batch_key(number)
        # The second condition: an earlier call has stored this batch, and its connection broke before the answer came.
        # Stored once more, the events would be there twice.
        if state.add(table, key, batch, order=number) or state.get(table, key) == batch:
            return number
        number = 0


def change_for(job: str, batch: bytes, number: int) -> EntryChange:
    """Return the change that stores a batch under a number that is probably free; see ``SharedState.change_many``."""
    return EntryChange(events_table(job), _batch_key(number), None, batch, number)


def encode_batch(writer: str, run: str, events: list[tuple[str, float, dict[str, Any]]]) -> bytes:
    """Return a batch as it is stored.

    ``writer`` is unique for each execution, so that a process recognises the batches that it has stored. ``run`` is the
    key of the execution, and each event is a tuple of its kind, time and data.
    """
    return json.dumps([writer, run, events], ensure_ascii=False, separators=(",", ":"), default=str).encode(
        "utf-8", "replace"
    )


def decode_batch(number: int, value: bytes) -> list[JobEvent]:
    """Return the events of a stored batch; none where a later version has written it."""
    try:
        _, run, events = json.loads(value)
        return [
            JobEvent(number * MOST_IN_BATCH + place, kind, at, run, data)
            for place, (kind, at, data) in enumerate(events)
        ]
    except (ValueError, TypeError):
        return []
