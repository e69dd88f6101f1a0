"""Copies of the messages that workers have taken, so that a task outlives its worker. One implementation a storage.

A copy belongs to a consumer, by the consumer's id. It is made in the same step that takes the message out of the queue,
and removed in the same step that stores the outcome of the task: its result, or its retry. So a worker may be killed
between any two steps, and of two consumers that take over the same copy only one succeeds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

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
