"""A memo of computed values, by the identity of objects: where many tests share a cassette, each would compute all.

Comparing two interactions by value takes as long as most of what is computed of a short one.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

_lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # Windows has none, and forks nothing.
    # A forked child would inherit the lock as another thread holds it, and wait for ever.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


class ObjectMemo(Generic[Key, Value]):
    """Values by the identity of unchanging objects, which it keeps alive. Thread-safe.

    The sizes of what it keeps are at most ``limit`` together: it gives up what was added first.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._rows: OrderedDict[int, tuple[Key, Value, int]] = OrderedDict()

    def find(self, key: Key) -> Value | None:
        """Return the value of an object, or None if it is not known."""
        row = self._rows.get(id(key))
        return row[1] if row is not None else None

    def add(self, key: Key, value: Value, size: int) -> None:
        """Keep the value of an object. ``size`` is that of both, in whatever the limit is."""
        with _lock:
            before = self._rows.pop(id(key), None)
            self._rows[id(key)] = key, value, size
            self._size += size - (before[2] if before is not None else 0)
            while self._size > self._limit:
                self._size -= self._rows.popitem(last=False)[1][2]
