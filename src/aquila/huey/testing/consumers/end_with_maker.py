"""Ends consumers whose test run was killed, or ended by SIGTERM, before it could end them.

Otherwise they would wait for tasks for ever, and take the tasks of the next run.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
from typing import Any


class EndsWithMaker:
    """A base class of workers and schedulers. A forked one ends between two tasks if its parent has ended."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._maker = os.getpid()
        super().__init__(*arguments, **options)

    def loop(self, now: Any = None) -> None:
        """Execute the next task, or do what is due."""
        if self._maker not in (os.getpid(), os.getppid()):
            os._exit(1)  # nothing to clean up: what lasts belongs to the process that made this one
        super().loop(now)  # type: ignore[misc]


def end_with_input() -> None:
    """End this process and its group when its standard input ends. Its own code gets an empty standard input."""
    lifeline = os.dup(0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)

    def wait() -> None:
        with contextlib.suppress(OSError):
            os.read(lifeline, 1)
        if sys.platform != "win32":
            with contextlib.suppress(OSError):
                os.killpg(0, signal.SIGKILL)
        os._exit(1)

    _start_thread(wait)


def _start_thread(work: Any) -> None:
    start: Any = _thread.start_new_thread
    if (monkey := sys.modules.get("gevent.monkey")) is not None:  # A blocked greenlet would stop all others.
        start = monkey.get_original("_thread", "start_new_thread")
    start(work, ())
