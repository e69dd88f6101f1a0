"""The tables that the processes of a queue share: reading, writing and counting their entries, on any storage."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

LOWEST, HIGHEST = float("-inf"), float("inf")


class Entry(NamedTuple):
    """An entry of a table: its ``key``, its ``value``, and ``order``, the number by which entries are sorted.

    That number is most often a time, in seconds since the epoch.
    """

    key: str
    value: bytes
    order: float


class EntryChange(NamedTuple):
    """A change for ``change_many``: adds the entry if ``old`` is None, otherwise replaces ``old`` by ``new``."""

    table: str
    key: str
    old: bytes | None
    new: bytes
    order: float


class SharedState(ABC):
    """The tables of one queue, by their names. All processes that use the queue see the same tables.

    An entry has a key, a value and a number by which entries are sorted; where numbers are equal the keys decide. Keys
    and names are text without NUL. Every method is atomic unless it says otherwise, and passes on what the storage
    raises.
    """

    @abstractmethod
    def now(self) -> float:
        """Return the time by the clock of the storage, in seconds since the epoch. The clocks of hosts may differ."""

    @abstractmethod
    def put(self, table: str, key: str, value: bytes, *, order: float) -> None:
        """Store an entry. It replaces the entry with the same key, if there is one."""

    @abstractmethod
    def add(self, table: str, key: str, value: bytes, *, order: float) -> bool:
        """Store an entry unless there is one with the same key. Returns whether it was stored."""

    @abstractmethod
    def replace(self, table: str, key: str, old: bytes, new: bytes, *, order: float | None = None) -> bool:
        """Replace a value by ``new`` if it is still ``old``. Returns whether it was replaced.

        Without ``order`` the entry keeps its order.
        """

    @abstractmethod
    def remove(self, table: str, key: str, value: bytes) -> bool:
        """Remove an entry if its value is still ``value``. Returns whether it was removed."""

    @abstractmethod
    def get(self, table: str, key: str) -> bytes | None:
        """Return a value, or None."""

    @abstractmethod
    def delete(self, table: str, *keys: str) -> int:
        """Remove entries by their keys. Returns how many there were."""

    @abstractmethod
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
        """Return the entries whose order is at least ``at_least`` and less than ``below``, sorted by it.

        At most ``limit`` entries are returned, after the first ``offset``; the highest first with ``newest_first``.
        """

    @abstractmethod
    def count(self, table: str) -> int:
        """Return how many entries a table has."""

    @abstractmethod
    def delete_below(self, table: str, order: float, *, limit: int = 1000) -> int:
        """Remove the entries whose order is less than ``order``: the first ``limit`` of them. Returns how many."""

    @abstractmethod
    def drop(self, *tables: str) -> None:
        """Remove whole tables."""

    @abstractmethod
    def clear(self) -> None:
        """Remove all tables of this queue."""

    def iterate_pages(
        self, table: str, *, size: int, newest_first: bool = False, at_least: float = LOWEST, below: float = HIGHEST
    ) -> Iterator[list[Entry]]:
        """Yield the entries that ``entries`` would return without a limit, in pages of at most ``size``.

        Others may add and remove entries between two pages. An entry that nobody changes is yielded once. It can only
        be missed if more than ``size`` entries have the same order, and some of these are removed meanwhile.
        """
        # A page begins with the order at which the page before it ended, and leaves out the entries of that page. An
        # offset alone would skip an entry for each one that is removed meanwhile. It is only used within one order.
        bound, offset, known = math.nan, 0, set[str]()
        while True:
            page = self.entries(
                table, limit=size, offset=offset, newest_first=newest_first, at_least=at_least, below=below
            )
            yield [entry for entry in page if entry.key not in known]
            if len(page) < size:
                return
            offset = offset + size if page[-1].order == bound else 0
            bound = page[-1].order
            known = {entry.key for entry in page if entry.order == bound}
            if newest_first:
                below = math.nextafter(bound, math.inf)  # It is exclusive.
            else:
                at_least = bound

    # The next two do many things in order and, where the storage can, in one round trip. Each thing is atomic by
    # itself; all together are not.

    def get_many(self, table: str, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of some keys, None for each that has none."""
        return [self.get(table, key) for key in keys]

    def change_many(self, changes: Sequence[EntryChange]) -> list[bool]:
        """Add and replace entries. Returns for each change whether it was made, as ``add`` and ``replace`` do."""
        return [
            self.add(change.table, change.key, change.new, order=change.order)
            if change.old is None
            else self.replace(change.table, change.key, change.old, change.new, order=change.order)
            for change in changes
        ]

    def update(
        self, table: str, key: str, function: Callable[[bytes | None], bytes | None], *, order: float | None = None
    ) -> bytes | None:
        """Replace a value by what ``function`` returns for it, and return the new value.

        ``function`` is called with None where there is no entry. If it returns None nothing is changed, and the present
        value is returned. It is called again where another process has changed the value meanwhile, so it must have no
        effect of its own. An entry that is added without ``order`` gets the order 0.
        """
        while True:
            present = self.get(table, key)
            wanted = function(present)
            if wanted is None or wanted == present:
                return present
            if present is None:
                if self.add(table, key, wanted, order=0.0 if order is None else order):
                    return wanted
            elif self.replace(table, key, present, wanted, order=order):
                return wanted
