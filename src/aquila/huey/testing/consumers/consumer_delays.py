"""How often a consumer under test looks for tasks: far more often than Huey's own, whose delay grows to ten seconds."""

from __future__ import annotations

from typing import Any

from huey.consumer import Scheduler

from aquila.huey.testing.consumers.end_with_maker import EndsWithMaker

FIRST_DELAY, LONGEST_DELAY = 0.01, 0.02
"""Seconds between two looks at an empty queue."""

READY = "ready"
"""The file that a consumer program makes once it takes tasks and handles signals. Its log tells that too early."""


class QuickScheduler(EndsWithMaker, Scheduler):  # type: ignore[misc]
    """A scheduler that looks at the schedule as often as the workers look at the queue."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.interval = LONGEST_DELAY  # Set afterwards, because Huey's constructor raises it to a second.
