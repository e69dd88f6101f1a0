"""The clock that a test may have put forward. Code that waits for a moment asks this clock as well as the real one.

Only ``aquila.huey.testing`` sets it. A worker never does.
"""

from __future__ import annotations

from contextvars import ContextVar
from datetime import datetime
from typing import Protocol


class ClockOfTest(Protocol):
    """A clock that stands still while a task executes, and is put forward between two tasks."""

    def now(self, *, utc: bool) -> datetime:
        """Return the time of this clock without a zone, as Huey has it: in UTC or in local time."""

    def timestamp(self) -> float:
        """Return the time of this clock in seconds since the epoch."""


current_clock: ContextVar[ClockOfTest | None] = ContextVar("aquila_clock_of_test", default=None)
"""The clock of the drain that runs in this context. Huey then asks this clock. None: Huey asks the real one.

The tasks of the drain execute in copies of its context.
"""


def find_skipped_moment() -> float:
    """Return the time to which a test has put its clock forward, in seconds since the epoch; 0 without such a clock."""
    clock = current_clock.get()
    return 0.0 if clock is None else clock.timestamp()
