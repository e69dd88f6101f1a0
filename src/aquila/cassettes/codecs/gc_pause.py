"""Pauses the garbage collector while a cassette is read.

Reading creates many objects and no cycles. The collector would traverse all of them again and again, which takes two
thirds of the time of loading a large cassette.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from aquila.fork_locks import held_at_fork


class _Pause:
    """The pause of this process: how many readers hold it, and whether the collector was enabled before the first.

    Readers in any thread change it under ``lock``. The last reader restores the state of the collector.
    """

    def __init__(self) -> None:
        self.lock = held_at_fork(threading.Lock())
        self.readers = 0
        self.was_enabled = False

    def end_in_child(self) -> None:
        """End the pause in a forked child, where the threads that held it do not exist and cannot end it."""
        if self.readers and self.was_enabled:
            gc.enable()
        self.readers = 0


_pause = _Pause()  # one for the process, as there is one collector
if hasattr(os, "register_at_fork"):  # Windows has neither this function nor fork.
    os.register_at_fork(after_in_child=_pause.end_in_child)


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Pause the collector within the block. The last of several threads restores the state that the first one found."""
    with _pause.lock:
        if _pause.readers == 0:
            _pause.was_enabled = gc.isenabled()
            gc.disable()
        _pause.readers += 1
    try:
        yield
    finally:
        with _pause.lock:
            _pause.readers = max(0, _pause.readers - 1)  # already 0 in a forked child, see `end_in_child`
            if _pause.readers == 0 and _pause.was_enabled:
                gc.enable()
