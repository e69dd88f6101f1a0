"""The misses of a scope, so that code that swallows one does not hide it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import overload

from aquila.errors import CassetteMiss


class MissLog(Sequence[CassetteMiss]):
    """Misses, oldest first. Any thread may add one."""

    def __init__(self) -> None:
        self._misses: list[CassetteMiss] = []

    @overload
    def __getitem__(self, index: int) -> CassetteMiss: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[CassetteMiss]: ...
    def __getitem__(self, index: int | slice) -> CassetteMiss | Sequence[CassetteMiss]:
        return self._misses[index]

    def __len__(self) -> int:
        return len(self._misses)

    def remember(self, miss: CassetteMiss) -> None:
        """Add a miss."""
        self._misses.append(miss)

    def forget(self, misses: Collection[CassetteMiss]) -> None:
        """Remove some misses: these very objects, not those that are equal."""
        forgotten = set(map(id, misses))
        self._misses = [miss for miss in self._misses if id(miss) not in forgotten]
