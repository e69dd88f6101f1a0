"""The clock that a test has put forward, if one has: what waits for a moment asks it beside the real one.

A worker never sets it. ``aquila.huey.testing`` has what does.
"""

from __future__ import annotations

from contextvars import ContextVar
from datetime import datetime
from typing import Protocol


class ClockOfTest(Protocol):
    """A clock that stands still while a task executes, and is put forward between two."""

    def now(self, *, utc: bool) -> datetime:
        """Return the moment without a zone, as Huey has it: in UTC or in local time."""

    def timestamp(self) -> float:
        """Return the moment in seconds since the epoch."""


current_clock: ContextVar[ClockOfTest | None] = ContextVar("aquila_clock_of_test", default=None)
"""The clock that Huey is to ask here, of the drain that runs in this context; None for the real one.

The tasks of the drain execute in copies of its context.
"""


def find_skipped_moment() -> float:
    """Return the moment that a test has put its clock forward to, in seconds since the epoch; 0 where none has."""
    clock = current_clock.get()
    return 0.0 if clock is None else clock.timestamp()
