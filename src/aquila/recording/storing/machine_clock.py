"""The clock of the machine. That of a test may stand still or be years away, and its recordings are no older for it."""

from __future__ import annotations

import datetime
import sys
import time

# A clock of Linux that is set by each tick. Python does not name it, so freezegun and time-machine leave it alone.
_CLOCK_REALTIME_COARSE = 5


def machine_time() -> datetime.datetime:
    """Return what time it is, in UTC. Only on Linux is it that of the machine where a test has another."""
    seconds = time.clock_gettime(_CLOCK_REALTIME_COARSE) if sys.platform == "linux" else time.time()
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
