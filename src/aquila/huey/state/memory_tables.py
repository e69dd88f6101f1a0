"""Shared state in the memory of one process."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, insort

from aquila.fork_locks import renewed_in_child
from aquila.huey.state.shared_tables import HIGHEST, LOWEST, Entry, SharedState


class MemoryState(SharedState):
    """The tables of a queue that lives in this process: threads and greenlets share it, processes do not."""

    def __init__(self) -> None:
        # Every method holds the lock, which makes it atomic. Reentrant, because methods call one another.
        self._lock = renewed_in_child(threading.RLock())
        # They live as long as the storage; only `drop` and `clear` remove tables.
        self._tables: dict[str, _Table] = {}

    def now(self) -> float:
        return time.time()

    def put(self, table: str, key: str, value: bytes, *, order: float) -> None:
        with self._lock:
            self._tables.setdefault(table, _Table()).put(key, value, order)

    def add(self, table: str, key: str, value: bytes, *, order: float) -> bool:
        with self._lock:
            is_new = self._find(table, key) is None
            if is_new:
                self.put(table, key, value, order=order)
            return is_new

    def replace(self, table: str, key: str, old: bytes, new: bytes, *, order: float | None = None) -> bool:
        with self._lock:
            found = self._find(table, key)
            if found is None or found.value != old:
                return False
            self.put(table, key, new, order=found.order if order is None else order)
            return True

    def remove(self, table: str, key: str, value: bytes) -> bool:
        with self._lock:
            found = self._find(table, key)
            return found is not None and found.value == value and self.delete(table, key) > 0

    def get(self, table: str, key: str) -> bytes | None:
        with self._lock:
            found = self._find(table, key)
        return None if found is None else found.value

    def delete(self, table: str, *keys: str) -> int:
        with self._lock:
            rows = self._tables.get(table, _EMPTY)
            return sum(rows.remove(key) for key in keys)

    def entries(
        self,
        table: str,
        *,
        limit: int = 100,
        offset: int = 0,
        newest_first: bool = False,
        at_least: float = LOWEST,
        below: float = HIGHEST,
    ) -> list[Entry]:
        with self._lock:
            rows = self._tables.get(table, _EMPTY)
            first, end = rows.find_bounds(at_least, below)
            if newest_first:
                end -= offset
                wanted = range(end - 1, max(first, end - limit) - 1, -1)
            else:
                first += offset
                wanted = range(first, min(end, first + limit))
            return [rows.entries[rows.in_order[at][1]] for at in wanted]

    def count(self, table: str) -> int:
        with self._lock:
            return len(self._tables.get(table, _EMPTY).entries)

    def delete_below(self, table: str, order: float, *, limit: int = 1000) -> int:
        with self._lock:
            return self.delete(table, *(entry.key for entry in self.entries(table, limit=limit, below=order)))

    def drop(self, *tables: str) -> None:
        with self._lock:
            for table in tables:
                self._tables.pop(table, None)

    def clear(self) -> None:
        with self._lock:
            self._tables.clear()

    def _find(self, table: str, key: str) -> Entry | None:
        return self._tables.get(table, _EMPTY).entries.get(key)


class _Table:
    """The entries of a table by key, and their keys in order. The lock of ``MemoryState`` is held for each call."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.in_order: list[tuple[float, str]] = []

    def put(self, key: str, value: bytes, order: float) -> None:
        known = self.entries.get(key)
        # Most changes keep the order, and then the sorted list need not be touched.
        if known is None or known.order != order:
            self.remove(key)
            insort(self.in_order, (order, key))
        self.entries[key] = Entry(key, value, order)

    def remove(self, key: str) -> bool:
        entry = self.entries.pop(key, None)
        if entry is not None:
            del self.in_order[bisect_left(self.in_order, (entry.order, key))]
        return entry is not None

    def find_bounds(self, at_least: float, below: float) -> tuple[int, int]:
        """Return the indices in ``in_order`` at which the entries within bounds begin and end."""
        # A tuple of one sorts before every pair that begins with the same number.
        first: tuple[float, str] | tuple[float] = (at_least,)
        end: tuple[float, str] | tuple[float] = (below,)
        return bisect_left(self.in_order, first), bisect_left(self.in_order, end)


_EMPTY = _Table()  # Stands for a table that does not exist, in methods that add nothing to one. It stays empty.
