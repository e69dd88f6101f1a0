"""The garbage collector, paused while a cassette is read.

Reading makes many objects and no cycles; the collector would walk all of them again and again (two thirds of the time
of a large load).
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Pause:
    """The pause of this process: how many readers hold it, and whether the collector ran before the first came.

    Readers in any thread change it under ``lock``; it is clear again when the last one has left.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.readers = 0
        self.was_enabled = False


_pause = _Pause()  # one for the process, as there is one collector


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Pause the collector; the last of several threads that leaves puts it back as the first one found it."""
    with _pause.lock:
        if _pause.readers == 0:
            _pause.was_enabled = gc.isenabled()
            gc.disable()
        _pause.readers += 1
    try:
        yield
    finally:
        with _pause.lock:
            _pause.readers -= 1
            if _pause.readers == 0 and _pause.was_enabled:
                gc.enable()
