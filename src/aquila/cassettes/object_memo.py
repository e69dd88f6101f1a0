"""A memo of values that were computed from objects, found by the identity of the object.

Many tests may share one cassette; without the memo, each of them would compute the same values again. The key is the
identity of the object, because comparing two short interactions takes as long as most of these computations.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

from aquila.fork_locks import held_at_fork

Key = TypeVar("Key")
Value = TypeVar("Value")

# One lock for all memos of the process: writes are rare and short. It guards `_rows` and `_size`, which must agree, in
# a forked child too.
_lock = held_at_fork(threading.RLock())


class ObjectMemo(Generic[Key, Value]):
    """Values by the identity of immutable objects, which the memo keeps alive. Thread-safe.

    ``limit`` is the largest sum of the sizes that ``add`` is given. Beyond it, the memo drops what was added first;
    nothing else removes a row.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._rows: OrderedDict[int, tuple[Key, Value, int]] = OrderedDict()

    def find(self, key: Key) -> Value | None:
        """Return the value of an object, or None if it is not known."""
        # Without the lock: one lookup in a dict is atomic. The row keeps its object alive, so no other object can have
        # the same id while the row exists.
        row = self._rows.get(id(key))
        return row[1] if row is not None else None

    def add(self, key: Key, value: Value, size: int) -> None:
        """Keep the value of an object. ``size`` is that of object and value together, in the unit of ``limit``."""
        with _lock:
            before = self._rows.pop(id(key), None)
            self._rows[id(key)] = key, value, size
            self._size += size - (before[2] if before is not None else 0)
            while self._size > self._limit:
                self._size -= self._rows.popitem(last=False)[1][2]
