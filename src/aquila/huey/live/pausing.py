"""Pauses a queue: its workers take no task out of it until it is resumed. They finish tasks that they have begun."""

from __future__ import annotations

import time
from typing import Any

from aquila.huey.state import state_of

_TABLE, _KEY = "live.control", "paused"
_LOOK_EVERY = 1.0  # Seconds.


def pause_queue(huey: Any) -> None:
    """Pause the queue of a Huey. Its workers notice within a second or two. Raises what the storage raises."""
    state = state_of(huey)
    state.put(_TABLE, _KEY, b"1", order=state.now())


def resume_queue(huey: Any) -> None:
    """Resume the queue of a Huey. Raises what the storage raises."""
    state_of(huey).delete(_TABLE, _KEY)


def is_paused(huey: Any) -> bool:
    """Whether the queue of a Huey is paused. Raises what the storage raises."""
    return state_of(huey).get(_TABLE, _KEY) is not None


class Pausing:
    """Answers the workers of a process, before each task, whether the queue is paused. Asks the storage once a second.

    The ``EventWriter`` owns it. Its workers share it without a lock: two that look at once only ask twice.
    """

    def __init__(self, huey: Any) -> None:
        self._huey = huey
        self._looked = float("-inf")  # By the monotonic clock.
        self._is_paused = False

    def wait_while_paused(self) -> bool:
        """Return whether the queue is paused. Raises what the storage raises.

        If it is, and the storage is one that would make a worker wait for a task, waits a moment first.
        """
        now = time.monotonic()
        if now - self._looked >= _LOOK_EVERY:
            self._looked = now
            self._is_paused = is_paused(self._huey)
        # Huey's worker sleeps by itself where the storage does not block. Where it does, it would ask in a busy loop.
        if self._is_paused and self._huey.storage.blocking:
            time.sleep(0.2)
        return self._is_paused
