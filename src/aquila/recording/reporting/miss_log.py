"""The misses of a scope. They are kept because code may swallow the error."""

from __future__ import annotations

import threading
from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import TypeGuard, overload

from aquila.errors import CassetteMiss, ConversationDrifted
from aquila.fork_locks import renewed_in_child

# One for all logs, because each scope has a log and few have a miss. Re-entrant, because a handler of a signal may ask.
_changing = renewed_in_child(threading.RLock())
_TAKEN = object()
"""The mark of a miss that ``take`` has returned. No attempt is equal to it."""


class MissLog(Sequence[CassetteMiss]):
    """Misses, oldest first. Any thread may add one."""

    def __init__(self) -> None:
        # Each miss with the mark that all attempts at its request share, or None.
        self._rows: list[tuple[CassetteMiss, Hashable]] = []
        self.drift: ConversationDrifted | None = None
        """The first miss that requires a conversation to be recorded anew, if there is one."""

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
        with _changing:
            if attempt is None or all(attempt != known for _, known in self._rows):
                self._rows.append((miss, attempt))
                if self.drift is None and _has_conversation(miss):
                    self.drift = miss

    @property
    def untaken(self) -> Sequence[CassetteMiss]:
        """The misses that ``take`` has not returned."""
        return [miss for miss, attempt in tuple(self._rows) if attempt is not _TAKEN]

    def take(self) -> Sequence[CassetteMiss]:
        """Return the misses that no earlier call has returned. An equal miss is added again from now on."""
        with _changing:
            taken = self.untaken
            self._rows = [(miss, _TAKEN) for miss, _ in self._rows]
        return taken

    def forget(self, misses: Collection[CassetteMiss]) -> None:
        """Remove misses by identity: an equal miss of another request stays."""
        forgotten = set(map(id, misses))
        with _changing:
            self._rows = [row for row in self._rows if id(row[0]) not in forgotten]
            self.drift = next(filter(_has_conversation, self), None)


def _has_conversation(miss: CassetteMiss) -> TypeGuard[ConversationDrifted]:
    return isinstance(miss, ConversationDrifted) and bool(miss.conversation)
