"""The clock of the machine. That of a test may stand still or be years away, and its recordings are no older for it."""

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
"""Return the seconds of a clock that only goes forward. freezegun does not know this one, except on Windows.

Made of C alone: it is asked for each chunk that is recorded.
"""


unix_seconds: Callable[[], float]
if sys.platform == "linux":
    # A clock that is set by each tick. Python does not name it, so freezegun and time-machine leave it alone.
    unix_seconds = functools.partial(time.clock_gettime, 5)  # CLOCK_REALTIME_COARSE
else:
    unix_seconds = time.time
"""Return what time it is, in seconds since 1970. Only on Linux is it that of the machine where a test has another."""


utc_time = functools.partial(datetime.datetime.fromtimestamp, tz=datetime.UTC)
"""Return the time of some ``unix_seconds``, in UTC. Bound here, before a test can put another class in its place."""


def milliseconds_since(clock: float) -> int:
    """Return how many milliseconds ago ``machine_seconds`` returned ``clock``."""
    return round((machine_seconds() - clock) * 1000)


def machine_time() -> datetime.datetime:
    """Return what time it is, as ``unix_seconds`` has it, in UTC."""
    return utc_time(unix_seconds())
