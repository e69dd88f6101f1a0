"""Pause a queue: its workers take no task out of it until it is resumed. What they have begun they finish."""

from __future__ import annotations

import time
from typing import Any

from aquila.huey.state import state_of

_TABLE, _KEY = "live.control", "paused"
_LOOK_EVERY = 1.0


def pause_queue(huey: Any) -> None:
    """Pause a queue. Its workers notice within a second or two."""
    state = state_of(huey)
    state.put(_TABLE, _KEY, b"1", order=state.now())


def resume_queue(huey: Any) -> None:
    """Resume a queue that was paused."""
    state_of(huey).delete(_TABLE, _KEY)


def is_paused(huey: Any) -> bool:
    """Whether a queue is paused."""
    return state_of(huey).get(_TABLE, _KEY) is not None


class Pausing:
    """Whether the queue of a Huey is paused, as a worker asks before each task: the storage is asked once a second."""

    def __init__(self, huey: Any) -> None:
        self._huey = huey
        self._looked = float("-inf")
        self._is_paused = False

    def wait_while_paused(self) -> bool:
        """Return whether the queue is paused. Waits a moment then, where the storage makes nobody wait itself."""
        now = time.monotonic()
        if now - self._looked >= _LOOK_EVERY:
            self._looked = now
            self._is_paused = is_paused(self._huey)
        if self._is_paused and self._huey.storage.blocking:
            time.sleep(0.2)
        return self._is_paused
