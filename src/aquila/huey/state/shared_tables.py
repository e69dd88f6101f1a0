"""The interface of the shared state of a queue."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

LOWEST, HIGHEST = float("-inf"), float("inf")


class Entry(NamedTuple):
    """An entry of a table: its ``key``, its ``value`` and the number that ``order``s it, most often a time."""

    key: str
    value: bytes
    order: float


class EntryChange(NamedTuple):
    """An entry to be stored: where there is none if ``old`` is None, else in the place of this value."""

    table: str
    key: str
    old: bytes | None
    new: bytes
    order: float


class SharedState(ABC):
    """Tables by name, within one queue. All processes that have the queue see the same.

    An entry has a key, a value and a number by which entries are ordered; where numbers are equal the key decides.
    Keys and names are text without NUL. Every method is atomic. What the storage raises leaves it as it is.
    """

    @abstractmethod
    def now(self) -> float:
        """Return the time by the clock of the storage, in seconds since the epoch: hosts need not agree on theirs."""

    @abstractmethod
    def put(self, table: str, key: str, value: bytes, *, order: float) -> None:
        """Store an entry, in the place of the one with this key."""

    @abstractmethod
    def add(self, table: str, key: str, value: bytes, *, order: float) -> bool:
        """Store an entry where there is none with this key. Returns whether it was stored."""

    @abstractmethod
    def add_many(self, table: str, keys: Sequence[str], *, order: float) -> None:
        """Store an entry without a value for each key that has none. Not atomic as a whole."""

    @abstractmethod
    def replace(self, table: str, key: str, old: bytes, new: bytes, *, order: float | None = None) -> bool:
        """Change a value if it is still ``old``. Returns whether it was. Without ``order`` the entry keeps its own."""

    @abstractmethod
    def remove(self, table: str, key: str, value: bytes) -> bool:
        """Remove an entry if its value is still this one. Returns whether it was."""

    @abstractmethod
    def get(self, table: str, key: str) -> bytes | None:
        """Return a value, or None."""

    @abstractmethod
    def take(self, table: str, key: str) -> Entry | None:
        """Remove an entry and return it. Of several callers one gets it, and the others None."""

    @abstractmethod
    def delete(self, table: str, *keys: str) -> int:
        """Remove entries. Returns how many there were."""

    @abstractmethod
    def increment(self, table: str, key: str, amount: int = 1, *, order: float) -> int:
        """Add to a counter, whose value is a number in decimal digits, and return the new value."""

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
        """Return at most ``limit`` entries whose order is ``at_least`` one number and ``below`` another, in order."""

    @abstractmethod
    def count(self, table: str, *, at_least: float = LOWEST, below: float = HIGHEST) -> int:
        """Return how many entries have an order within these bounds."""

    @abstractmethod
    def delete_below(self, table: str, order: float, *, limit: int = 1000) -> int:
        """Remove at most ``limit`` of the first entries, those whose order is below a number. Returns how many."""

    @abstractmethod
    def drop(self, table: str) -> None:
        """Remove a whole table."""

    @abstractmethod
    def clear(self) -> None:
        """Remove all tables of this queue."""

    # Each of many, in order and atomic by itself, not all together: in one round trip where the storage can.

    def get_many(self, table: str, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of some keys, None for each that has none."""
        return [self.get(table, key) for key in keys]

    def change_many(self, changes: Sequence[EntryChange]) -> list[bool]:
        """Add and replace entries. Returns for each whether it was done, as ``add`` and ``replace`` do."""
        return [
            self.add(change.table, change.key, change.new, order=change.order)
            if change.old is None
            else self.replace(change.table, change.key, change.old, change.new, order=change.order)
            for change in changes
        ]

    def update(
        self, table: str, key: str, function: Callable[[bytes | None], bytes | None], *, order: float | None = None
    ) -> bytes | None:
        """Change a value by a function of the present one, and return the new one.

        ``function`` is given None where there is no entry. It returns None to leave things as they are; the present
        value is returned then. It is called again where another process was faster, so it must have no effect of its
        own. An entry that is made without ``order`` gets 0.
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
