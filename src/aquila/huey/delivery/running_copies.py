"""Copies of the tasks that workers have taken, so that a task outlives its worker. Of each storage one implementation.

A copy belongs to a consumer, by the consumer's id. It is made in the step that takes the message out of the queue, and
it goes in the step that stores the outcome of the task: its result, or its retry. So a worker may be killed between any
two steps, and two that take over the same copy do not both succeed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from aquila.huey.state import SharedState

TABLE = "running."
"""Begins the name of the table, or of the list, that holds the copies of a consumer. Its id follows."""


class Copy(NamedTuple):
    """The copy of a message: the id of the consumer that took it, what the storage finds it by, and the message."""

    owner: str
    key: str
    data: bytes


class RunningCopies(ABC):
    """The copies of one queue."""

    @abstractmethod
    def take(self, owner: str, finished: Sequence[Copy]) -> Copy | None:
        """Take the next message out of the queue and keep a copy of it, in one step. None where the queue is empty.

        The copies that are ``finished`` are forgotten on the way. Waits for a message as the storage does.
        """

    @abstractmethod
    def take_due(self, owner: str, moment: Any) -> list[Copy]:
        """Take the messages that are due out of the schedule and keep copies of them, in one step."""

    @abstractmethod
    def list_copies(self, owner: str, *, limit: int = 100) -> list[Copy]:
        """Return the copies of a consumer, at most ``limit``."""

    @abstractmethod
    def has(self, copy: Copy) -> bool:
        """Whether a copy is still there: it is not where another consumer has taken it over."""

    @abstractmethod
    def count(self, owner: str) -> int:
        """Return how many copies a consumer has."""

    @abstractmethod
    def forget(self, *copies: Copy) -> int:
        """Remove copies. Returns how many there still were: none where another consumer has taken them over."""

    # Each of these removes a copy and stores something in its place, in one step. It does nothing, and returns False,
    # where the copy is gone: another consumer has taken it over.

    @abstractmethod
    def move_to_queue(self, copy: Copy, data: bytes, priority: float | None) -> bool:
        """Enqueue a message in the place of a copy."""

    @abstractmethod
    def move_to_schedule(self, copy: Copy, data: bytes, eta: Any) -> bool:
        """Schedule a message in the place of a copy."""

    @abstractmethod
    def move_to_results(self, copy: Copy, task_id: str, value: bytes) -> bool:
        """Store a result in the place of a copy."""


class CopyBeingMoved(Exception):
    """Somebody else has begun to move a copy: ask again whether it is gone."""


_MARK = b"\xc1aquila.moving"  # No message of a serializer begins so.
_MARK_LASTS = 60.0
"""Seconds for which nobody else moves a copy that somebody has begun to move."""
_MOVER_SIZE = 16


def new_key() -> str:
    """Return a key for a copy."""
    return uuid.uuid4().hex


class LooseCopies(RunningCopies):
    """Copies of a storage whose queue and shared state do not change in one step, such as a folder of files.

    A worker that is killed between two of its steps loses its task.
    """

    def __init__(self, storage: Any, state: SharedState) -> None:
        self._storage = storage
        self._state = state
        self._id = uuid.uuid4().hex
        self._stored: set[str] = set()
        """The keys of copies in whose place something is stored, and that the storage did not let go yet."""

    def take(self, owner: str, finished: Sequence[Copy]) -> Copy | None:
        self.forget(*finished)
        data = self._storage.dequeue()
        return None if data is None else self._keep(owner, data)

    def take_due(self, owner: str, moment: Any) -> list[Copy]:
        return [self._keep(owner, data) for data in self._storage.read_schedule(moment)]

    def _keep(self, owner: str, data: bytes) -> Copy:
        copy = Copy(owner, new_key(), bytes(data))
        self._state.put(TABLE + owner, copy.key, copy.data, order=self._state.now())
        return copy

    def list_copies(self, owner: str, *, limit: int = 100) -> list[Copy]:
        found = self._state.entries(TABLE + owner, limit=limit)
        return [Copy(owner, entry.key, _split_mark(entry.value).data) for entry in found]

    def has(self, copy: Copy) -> bool:
        return self._state.get(TABLE + copy.owner, copy.key) is not None

    def count(self, owner: str) -> int:
        return self._state.count(TABLE + owner)

    def forget(self, *copies: Copy) -> int:
        return sum(self._state.delete(TABLE + copy.owner, copy.key) for copy in copies)

    def move_to_queue(self, copy: Copy, data: bytes, priority: float | None) -> bool:
        return self._move(copy, lambda: self._storage.enqueue(data, priority))

    def move_to_schedule(self, copy: Copy, data: bytes, eta: Any) -> bool:
        return self._move(copy, lambda: self._storage.add_to_schedule(data, eta))

    def move_to_results(self, copy: Copy, task_id: str, value: bytes) -> bool:
        return self._move(copy, lambda: self._storage.put_data(task_id, value, is_result=True))

    def _move(self, copy: Copy, store: Callable[[], object]) -> bool:
        """Store first, and forget the copy then: who is killed in between does it twice, and loses nothing.

        Of several who would move a copy one does, which marks it before: the others get ``CopyBeingMoved``, for it may
        still fail. The mark of one that was killed loses force, and one's own has none.
        """
        table = TABLE + copy.owner
        if copy.key not in self._stored:
            marked = self._mark(table, copy.key)
            if marked is None:
                return False
            try:
                store()
            except BaseException:
                with contextlib.suppress(Exception):  # Who stored nothing may well fail at this too.
                    self._state.replace(table, copy.key, marked, _split_mark(marked).data)
                raise
            self._stored.add(copy.key)
        self._state.delete(table, copy.key)
        try:
            self._stored.remove(copy.key)
        except KeyError:  # Another thread has seen that it is stored, and was faster.
            return False
        return True

    def _mark(self, table: str, key: str) -> bytes | None:
        """Mark a copy as being moved. Returns what it is then, or None where it is gone."""
        # Of a thread: it moves one copy at a time.
        mover = hashlib.blake2b(
            f"{self._id}:{os.getpid()}:{threading.get_ident()}".encode(), digest_size=_MOVER_SIZE
        ).digest()
        while (present := self._state.get(table, key)) is not None:
            found, now = _split_mark(present), self._state.now()
            if found.mover != mover and abs(now - found.at) < _MARK_LASTS:
                raise CopyBeingMoved("another consumer is moving this task: its outcome here is not stored yet")
            marked = _MARK + struct.pack(">d", now) + mover + found.data
            if self._state.replace(table, key, present, marked):
                return marked
        return None


class _Marked(NamedTuple):
    """When somebody began to move a copy, 0 for never; who, and the message."""

    at: float
    mover: bytes
    data: bytes


def _split_mark(value: bytes) -> _Marked:
    if not value.startswith(_MARK):
        return _Marked(0.0, b"", value)
    begin = len(_MARK) + 8
    end = begin + _MOVER_SIZE
    return _Marked(struct.unpack(">d", value[len(_MARK) : begin])[0], value[begin:end], value[end:])
