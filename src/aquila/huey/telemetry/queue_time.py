"""Measures how long a task waited in its queue. Its message carries when it was enqueued, by the clock of the storage.

The clocks of hosts may differ, and a worker may begin a task before it has asked the storage for its time. So a time
that would be negative is reported as 0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from huey.api import Task

from aquila.huey.live.clock import SharedClock
from aquila.huey.state import state_of

if TYPE_CHECKING:
    from aquila.huey.instances import AquilaHuey

FIELD = "enqueued"


def note_enqueue_times(huey: AquilaHuey) -> None:
    """Make the messages of a Huey carry when they were enqueued, from now on."""
    # One clock for each Huey, made for the first caller and kept as long as the Huey.
    if huey.queue_clock is None:
        huey.queue_clock = SharedClock(lambda: state_of(huey).now())


def queue_seconds(huey: AquilaHuey, task: Task) -> float | None:
    """Return how many seconds a task that begins now was in the queue. None if its message does not tell."""
    since: float | None = getattr(task, "_aquila_enqueued", None)
    if since is None or huey.queue_clock is None:
        return None
    return max(0.0, huey.queue_clock.now() - since)


def read_enqueue_time(task: Task, found: Any) -> bool:
    """Set on a task when it was enqueued, from the field of its message. Return whether the field is well-formed.

    ``found`` is the value of the field, None if there is none.
    """
    if found is None:
        return True
    if type(found) is not float or not math.isfinite(found):
        return False
    task._aquila_enqueued = found
    return True
