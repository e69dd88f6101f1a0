"""Finds the threads, asyncio tasks and sockets that a test leaves behind in its process."""

from __future__ import annotations

import asyncio
import gc
import os
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path

_GRACE = 1.0
"""How many seconds a thread may take to end after its test."""

_OURS = "aquila-scripts"
"""The name of Aquila's own thread that serves scripts until the process ends; waiting for it would be useless."""


class LeftBehind:
    """Notes what exists when it is created, and finds what exists in addition later."""

    def __init__(self) -> None:
        # Frozen objects are skipped by gc.collect() and gc.get_objects(), so older tasks are not taken for the test's.
        # It is never undone: this process ends with the test.
        gc.freeze()
        self._threads = set(threading.enumerate())
        self._sockets = _count_sockets()

    def find(self) -> list[str]:
        """Return a word for each thing that is left: ``thread``, ``task`` or ``socket``."""
        known = self._threads | {threading.current_thread()}
        left = [each for each in threading.enumerate() if each not in known and each.name != _OURS]
        for thread in left:
            if not _waits_for_work(thread):
                thread.join(_GRACE)
        leaks = ["thread" for thread in left if thread.is_alive() and not _waits_for_work(thread)]
        # Tasks are counted before garbage is collected: nothing else may refer to a task that never ended.
        leaks += ["task" for each in gc.get_objects() if issubclass(type(each), asyncio.Task) and not each.done()]
        # A traceback in a reference cycle keeps the frames of the test alive, and so its sockets.
        gc.collect()
        return leaks + ["socket"] * max(0, _count_sockets() - self._sockets)


def _waits_for_work(thread: threading.Thread) -> bool:
    """Whether a thread is an idle worker of a pool. How many workers a pool has started depends on timing."""
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and Path(frame.f_code.co_filename).parts[-3:] == ("concurrent", "futures", "thread.py")


def _count_sockets() -> int:
    # ``/dev/fd`` lists the open descriptors on Linux and macOS; elsewhere no socket is found.
    count = 0
    with suppress(OSError):
        for name in os.listdir("/dev/fd"):
            with suppress(OSError):
                count += stat.S_ISSOCK(os.fstat(int(name)).st_mode)
    return count
