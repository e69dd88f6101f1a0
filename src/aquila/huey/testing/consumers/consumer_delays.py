"""How often a consumer under test looks for tasks, where Huey's own delay grows to ten seconds; and what it tells."""

from __future__ import annotations

from typing import Any

from huey.consumer import Scheduler

FIRST_DELAY, LONGEST_DELAY = 0.01, 0.02
"""Seconds between two looks at an empty queue."""

READY = "ready"
"""The file with which a consumer program says that it takes tasks, and obeys signals: not so when its log says so."""


class QuickScheduler(Scheduler):  # type: ignore[misc]
    """Looks at the schedule as often as the workers at the queue; Huey's own takes a second at least."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.interval = LONGEST_DELAY
