"""The misses of a scope, so that code that swallows one does not hide it."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import overload

from aquila.errors import CassetteMiss, ConversationDrifted


class MissLog(Sequence[CassetteMiss]):
    """Misses, oldest first. Any thread may add one."""

    def __init__(self) -> None:
        # Each miss with the mark that all attempts at its request share, or None. Threads need no lock: each change is
        # one atomic operation, so that none is lost.
        self._rows: list[tuple[CassetteMiss, Hashable]] = []
        self.drift: ConversationDrifted | None = None
        """The first miss because of which a conversation is to be recorded anew, if there is one."""

    @overload
    def __getitem__(self, index: int) -> CassetteMiss: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[CassetteMiss]: ...
    def __getitem__(self, index: int | slice) -> CassetteMiss | Sequence[CassetteMiss]:
        return list(self)[index]

    def __iter__(self) -> Iterator[CassetteMiss]:
        return iter([miss for miss, _ in tuple(self._rows)])

    def __len__(self) -> int:
        return len(self._rows)

    def remember(self, miss: CassetteMiss, attempt: Hashable = None) -> None:
        """Add a miss, unless a miss with an equal ``attempt`` was added before: a client has tried again."""
        if attempt is None or all(attempt != known for _, known in tuple(self._rows)):
            self._rows.append((miss, attempt))
            self.drift = self._find_drift()

    def forget(self, misses: Collection[CassetteMiss]) -> None:
        """Remove misses by identity: an equal miss of another request stays."""
        forgotten = set(map(id, misses))
        for row in [row for row in tuple(self._rows) if id(row[0]) in forgotten]:
            self._rows.remove(row)
        self.drift = self._find_drift()

    def _find_drift(self) -> ConversationDrifted | None:
        return next((miss for miss in self if isinstance(miss, ConversationDrifted) and miss.conversation), None)
