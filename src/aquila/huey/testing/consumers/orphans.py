"""The end of consumers whose test run has ended without ending them: it was killed, or ended by SIGTERM.

They would wait for tasks for ever, and take those of the next run.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
from typing import Any


class EndsWithMaker:
    """A base of workers and schedulers: a fork ends when the process that made it has ended, between two tasks."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._maker = os.getpid()
        super().__init__(*arguments, **options)

    def loop(self, now: Any = None) -> None:
        """Do what is to be done now."""
        if self._maker not in (os.getpid(), os.getppid()):
            os._exit(1)  # nothing to clean up: what lasts belongs to the process that made this one
        super().loop(now)  # type: ignore[misc]


def end_with_input() -> None:
    """End this process and its group when its standard input does. Its own code reads an empty one instead."""
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
    if (monkey := sys.modules.get("gevent.monkey")) is not None:  # a thread of its kind would keep all from running
        start = monkey.get_original("_thread", "start_new_thread")
    start(work, ())
