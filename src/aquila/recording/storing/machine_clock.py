"""The clock of the machine, for recordings: the clock of a test may have been stopped, or set to another year."""

from __future__ import annotations

import datetime
import functools
import sys
import time
from collections.abc import Callable

machine_seconds: Callable[[], float]
if sys.platform == "win32":
    machine_seconds = time.perf_counter  # `monotonic` moves on in steps of 16 ms there before Python 3.13
else:
    machine_seconds = functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC)
"""Return the seconds of a clock that only goes forward. freezegun does not replace it, except on Windows.

No Python code runs in it, because it is called for each chunk that is recorded.
"""


unix_seconds: Callable[[], float]
if sys.platform == "linux":
    # This clock is as precise as a tick. Python has no name for it, so freezegun and time-machine do not replace it.
    unix_seconds = functools.partial(time.clock_gettime, 5)  # CLOCK_REALTIME_COARSE
else:
    unix_seconds = time.time
"""Return the seconds since 1970. On Linux that is the machine's time even where a test has another."""


utc_time = functools.partial(datetime.datetime.fromtimestamp, tz=datetime.UTC)
"""Return ``unix_seconds`` as a time in UTC. Bound here, before a test can replace the class ``datetime``."""


def milliseconds_since(clock: float) -> int:
    """Return how many milliseconds ago ``machine_seconds`` returned ``clock``."""
    return round((machine_seconds() - clock) * 1000)


def machine_time() -> datetime.datetime:
    """Return the time now, by ``unix_seconds``, in UTC."""
    return utc_time(unix_seconds())
