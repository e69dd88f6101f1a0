"""How long a task waited in its queue: its message carries when it was put there, by the clock of the storage.

Hosts may differ in their clocks, and workers may start before they have asked the storage for its own. So a time that
would be negative is 0.
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


def stamp_messages(huey: AquilaHuey) -> None:
    """Have the messages of a Huey carry when they were enqueued, from now on."""
    if huey.queue_clock is None:
        huey.queue_clock = SharedClock(lambda: state_of(huey).now())


def queue_seconds(huey: AquilaHuey, task: Task) -> float | None:
    """Return how long a task that begins now was in the queue; None where its message did not say."""
    since: float | None = getattr(task, "_aquila_enqueued", None)
    if since is None or huey.queue_clock is None:
        return None
    return max(0.0, huey.queue_clock.now() - since)


def read_stamp(task: Task, found: Any) -> bool:
    """Give a task what its message carries. Return whether that is well-formed."""
    if found is None:
        return True
    if type(found) is not float or not math.isfinite(found):
        return False
    task._aquila_enqueued = found
    return True
