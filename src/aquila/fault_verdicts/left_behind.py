"""What a test leaves behind in its process: threads, tasks of asyncio, and sockets."""

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
"""So many seconds a thread may take to end after its test."""

_OURS = "aquila-scripts"
"""The thread of Aquila's that serves scripts as long as the process lives: to wait for it would be in vain."""


class LeftBehind:
    """Knows what was there when it was made, and finds what has come since."""

    def __init__(self) -> None:
        gc.freeze()  # what is there already costs no collection, and is no task that the test leaves
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
        # Tasks before what is garbage is collected: nothing may refer to one any more that never ended.
        leaks += ["task" for each in gc.get_objects() if issubclass(type(each), asyncio.Task) and not each.done()]
        gc.collect()  # a traceback that only itself refers to holds what the frames of the test had
        return leaks + ["socket"] * max(0, _count_sockets() - self._sockets)


def _waits_for_work(thread: threading.Thread) -> bool:
    """Whether it belongs to a pool and has nothing to do. How many a pool has is a matter of chance."""
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and Path(frame.f_code.co_filename).parts[-3:] == ("concurrent", "futures", "thread.py")


def _count_sockets() -> int:
    count = 0
    with suppress(OSError):
        for name in os.listdir("/dev/fd"):
            with suppress(OSError):
                count += stat.S_ISSOCK(os.fstat(int(name)).st_mode)
    return count
