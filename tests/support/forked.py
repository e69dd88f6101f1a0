"""Calls a function in a forked child process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

LIMIT = 60
"""Seconds after which a child that still runs is ended."""


def do_in_child(work: Callable[[], object]) -> int:
    """Call ``work`` in a forked child, and return the child's wait status: 0 if ``work`` has returned."""
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(LIMIT)
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]
