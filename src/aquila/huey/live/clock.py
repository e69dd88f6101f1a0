"""The time by the clock of the storage, without asking the storage each time. The clocks of hosts may differ."""

from __future__ import annotations

import time
from collections.abc import Callable

_AGREED_FOR = 60.0
"""Seconds for which a measured difference between the two clocks is used."""


class SharedClock:
    """The clock of a storage. ``ask`` returns its time, in seconds since the epoch.

    Any thread may use it. No lock is needed: two threads that measure at once only measure twice.
    """

    def __init__(self, ask: Callable[[], float]) -> None:
        self._ask = ask
        self._offset: float | None = None  # Seconds by which the storage is ahead of the monotonic clock.
        self._until = float("-inf")  # Until when that is used, by the monotonic clock.

    def now(self) -> float:
        """Return the time of the storage, in seconds since the epoch. Never raises.

        If the storage does not answer, the last known difference is used. Before its first answer the clock of this
        host is used.
        """
        here, offset = time.monotonic(), self._offset
        if offset is None or here >= self._until:
            if offset is not None:
                # Set before asking: other threads use the known difference. Before the first answer all of them ask.
                self._until = here + _AGREED_FOR
            try:
                offset = self._ask() - time.monotonic()
                self._until = here + _AGREED_FOR
            except Exception:  # noqa: BLE001 -- the storage is away; the next write to it reports that
                offset = time.time() - here if offset is None else offset
                self._until = here + 1  # A second later the storage is asked again.
            self._offset = offset
        return time.monotonic() + offset

    def known_now(self) -> float:
        """Return what ``now`` returns, by the last known difference. Asks the storage only if none is known."""
        return self.now() if self._offset is None else time.monotonic() + self._offset
