"""Work in forked children."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

LIMIT = 60
"""Seconds after which a child that waits for ever is ended."""


def do_in_child(work: Callable[[], object]) -> int:
    """Do ``work`` in a forked child, and return how the child ended: 0 if the work was done."""
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
