"""Copies of the messages that workers have taken, so that a task outlives its worker. One implementation a storage.

A copy belongs to a consumer, by the consumer's id. It is made in the same step that takes the message out of the queue,
and removed in the same step that stores the outcome of the task: its result, or its retry. So a worker may be killed
between any two steps, and of two consumers that take over the same copy only one succeeds.
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
"""The beginning of the name of the table or list with the copies of a consumer. The id of the consumer follows."""


class Copy(NamedTuple):
    """The copy of a message.

    ``owner`` is the id of the consumer that took the message, ``key`` is the key of the copy in the storage (empty on
    Redis, which finds a copy by its content), and ``data`` is the message.
    """

    owner: str
    key: str
    data: bytes


class RunningCopies(ABC):
    """The copies of one queue. All methods raise what the storage raises."""

    @abstractmethod
    def take(self, owner: str, finished: Sequence[Copy]) -> Copy | None:
        """Take the next message out of the queue and make its copy, in one step. None where the queue is empty.

        ``owner`` is the id of the consumer. The copies ``finished`` are removed in the same round trip. Waits for a
        message as long as the storage does.
        """

    @abstractmethod
    def take_due(self, owner: str, moment: Any) -> list[Copy]:
        """Take the messages that are due at ``moment``, a ``datetime``, and make their copies, in one step."""

    @abstractmethod
    def list_copies(self, owner: str, *, limit: int = 100) -> list[Copy]:
        """Return up to ``limit`` copies of a consumer, the oldest first."""

    @abstractmethod
    def has(self, copy: Copy) -> bool:
        """Whether a copy is still there. It is gone where another consumer has taken it over."""

    @abstractmethod
    def count(self, owner: str) -> int:
        """Return how many copies a consumer has."""

    @abstractmethod
    def forget(self, *copies: Copy) -> int:
        """Remove copies. Returns how many of them were still there: another consumer may have taken some over."""

    # Each of the next methods removes a copy and stores something in its place, in one step. Where the copy is gone,
    # because another consumer has taken it over, it stores nothing and returns False.

    @abstractmethod
    def move_to_queue(self, copy: Copy, data: bytes, priority: float | None) -> bool:
        """Enqueue a message in the place of a copy."""

    @abstractmethod
    def move_to_schedule(self, copy: Copy, data: bytes, eta: Any) -> bool:
        """Schedule a message for ``eta``, a ``datetime``, in the place of a copy."""

    @abstractmethod
    def move_to_results(self, copy: Copy, task_id: str, value: bytes) -> bool:
        """Store a result in the place of a copy."""


class CopyBeingMoved(Exception):
    """Another consumer is moving a copy. It may still fail, so it is not known yet whether the copy stays."""


_MARK = b"\xc1aquila.moving"  # 0xC1 begins neither msgpack nor a pickle, so no message begins so.
_MARK_LASTS = 60.0
"""Seconds for which only the thread that has marked a copy may move it. After that the thread is taken for dead."""
_MOVER_SIZE = 16  # Bytes.


def new_key() -> str:
    """Return a key for a copy."""
    return uuid.uuid4().hex


class LooseCopies(RunningCopies):
    """Copies for a storage that cannot change its queue and the shared state in one step, such as a folder of files.

    A worker that is killed between taking a message and storing its copy loses the task.
    """

    def __init__(self, storage: Any, state: SharedState) -> None:
        self._storage = storage
        self._state = state
        self._id = uuid.uuid4().hex  # Names, with the process and the thread, the mover of a copy.
        self._stored: set[str] = set()
        """The keys of copies whose outcome is stored, and that are not deleted yet. ``_move`` adds a key and removes
        it. Where deleting fails the key stays, so that the next try only deletes."""

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
        """Store the outcome, and then delete the copy. If the process is killed in between, it is stored twice.

        A thread that moves a copy marks it first. Other threads and processes then get ``CopyBeingMoved``, because the
        first one may still fail. The mark of a killed process runs out, and a thread's own mark is no obstacle.
        """
        table = TABLE + copy.owner
        if copy.key not in self._stored:
            marked = self._mark(table, copy.key)
            if marked is None:
                return False
            try:
                store()
            except BaseException:
                # A storage that has refused the outcome may refuse this, too. In that case the mark runs out.
                with contextlib.suppress(Exception):
                    self._state.replace(table, copy.key, marked, _split_mark(marked).data)
                raise
            self._stored.add(copy.key)
        self._state.delete(table, copy.key)
        try:
            self._stored.remove(copy.key)
        except KeyError:
            return False  # Another thread has found the key in `_stored`, and was faster.
        return True

    def _mark(self, table: str, key: str) -> bytes | None:
        """Mark a copy as being moved. Returns the marked value, or None where the copy is gone.

        Raises ``CopyBeingMoved`` where another one has marked it less than ``_MARK_LASTS`` seconds ago.
        """
        # A mover is one thread, because a thread moves one copy at a time. A fork has another process id.
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
    """A stored copy: when somebody began to move it (0 for never), who that is, and the message."""

    at: float
    mover: bytes
    data: bytes


def _split_mark(value: bytes) -> _Marked:
    begin = len(_MARK) + 8
    end = begin + _MOVER_SIZE
    if not value.startswith(_MARK) or len(value) < end:  # Anybody may have enqueued a message that begins so.
        return _Marked(0.0, b"", value)
    return _Marked(struct.unpack(">d", value[len(_MARK) : begin])[0], value[begin:end], value[end:])
