"""Counts how many jobs end, over time."""

from __future__ import annotations

import math

_SECONDS = 10
_PER_MINUTE = 60 // _SECONDS


class JobRates:
    """Counts the jobs that end in each ten seconds, by state. ``JobIndex`` owns it, and holds its lock in each call."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[int, int]] = {"done": {}, "failed": {}}

    def count(self, state: str, ended: float, number: int) -> None:
        """Add ``number`` to the jobs that ended as ``done`` or ``failed`` at ``ended``, in seconds since the epoch."""
        counts = self._counts.get(state)
        if counts is not None and ended:
            at = math.floor(ended / _SECONDS)
            counts[at] = counts.get(at, 0) + number
            if not counts[at]:  # Jobs are forgotten after days, and the page may be open for months.
                del counts[at]

    def per_minute(self, state: str, now: float) -> int:
        """Return how many jobs ended in a state in the minute before ``now``, in seconds since the epoch."""
        last = math.floor(now / _SECONDS)
        return sum(self._counts[state].get(at, 0) for at in range(last - _PER_MINUTE + 1, last + 1))

    def by_minute(self, state: str, now: float, minutes: int) -> list[int]:
        """Return how many jobs ended in a state in each of the last minutes before ``now``, the oldest first."""
        counts, last = self._counts[state], math.floor(now / 60)
        return [
            sum(counts.get(minute * _PER_MINUTE + part, 0) for part in range(_PER_MINUTE))
            for minute in range(last - minutes + 1, last + 1)
        ]
