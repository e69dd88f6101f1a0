"""The garbage collector, paused while a cassette is read.

Reading makes many objects and no cycles; the collector would walk all of them again and again (two thirds of the time
of a large load).
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_depth = 0
_was_enabled = False


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Pause the collector; the last of several threads that leaves puts it back as the first one found it."""
    global _depth, _was_enabled
    with _lock:
        if _depth == 0:
            _was_enabled = gc.isenabled()
            gc.disable()
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0 and _was_enabled:
                gc.enable()
