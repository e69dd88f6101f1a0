"""The time by the clock of the storage, without asking it each time: hosts need not agree on theirs."""

from __future__ import annotations

import time
from collections.abc import Callable

_AGREED_FOR = 60.0
"""For so many seconds a difference between clocks is taken for granted."""


class SharedClock:
    """``ask`` returns the time of the storage, in seconds since the epoch."""

    def __init__(self, ask: Callable[[], float]) -> None:
        self._ask = ask
        self._offset = 0.0
        self._until = float("-inf")

    def now(self) -> float:
        """Return the time of the storage; where it does not answer, as it was last known, or of this host."""
        here = time.monotonic()
        if here >= self._until:
            self._until = here + _AGREED_FOR
            try:
                self._offset = self._ask() - time.monotonic()
            except Exception:  # noqa: BLE001 -- the storage is away: whoever writes next will notice
                self._offset = self._offset or time.time() - here
                self._until = here + 1
        return time.monotonic() + self._offset
