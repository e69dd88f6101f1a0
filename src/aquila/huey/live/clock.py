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
        self._offset: float | None = None
        self._until = float("-inf")

    def now(self) -> float:
        """Return the time of the storage; where it does not answer, as it was last known, or of this host."""
        here, offset = time.monotonic(), self._offset
        if offset is None or here >= self._until:
            if offset is not None:
                self._until = here + _AGREED_FOR  # Meanwhile others go on with what is known. At first all ask.
            try:
                offset = self._ask() - time.monotonic()
                self._until = here + _AGREED_FOR
            except Exception:  # noqa: BLE001 -- the storage is away: whoever writes next will notice
                offset = time.time() - here if offset is None else offset
                self._until = here + 1
            self._offset = offset
        return time.monotonic() + offset
