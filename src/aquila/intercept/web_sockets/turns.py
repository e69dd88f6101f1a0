"""Lets one thread at a time work on a conversation, and queues work that must not wait for its turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from aquila.fork_locks import renewed_in_child

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Turns:
    """Lets one thread at a time work on a conversation.

    A signal handler or the garbage collector may interrupt a turn at any line, and run code that closes or sends over
    the same connection. That code must not wait for a turn of its own thread, which would be a deadlock, and must not
    see a half-finished change. So its work is queued, and the thread that has the turn does it at the end of the turn.
    """

    def __init__(self) -> None:
        # Re-entrant because such a lock knows its owner. But code that interrupts a turn never enters it again.
        self._lock = renewed_in_child(threading.RLock())
        self._queued: deque[Callable[[], None]] = deque()  # `append` and `popleft` are atomic, and need no lock

    @property
    def _is_here(self) -> bool:
        """Whether this thread has the turn, so that the caller has interrupted it."""
        # Private. A note of our own would be missing if Ctrl-C came between taking the lock and writing the note.
        return self._lock._is_owned()  # type: ignore[attr-defined, no-any-return]

    def take(self, work: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        """Wait for a turn, do ``work`` in it, and return its result.

        Raises ``RuntimeError`` if the caller has interrupted a turn of the same thread.
        """
        if self._is_here:
            raise RuntimeError(
                "a signal handler, or a finalizer, interrupted the use of a WebSocket in this thread and uses it too. "
                "It may close the WebSocket there, but cannot send or receive messages"
            )
        try:
            self._lock.acquire()
            return work(*args, **kwargs)
        finally:
            if self._is_here:  # not if Ctrl-C ended the wait
                self._lock.release()
            if self._queued:
                self._catch_up()

    def do_or_queue(self, work: Callable[[], None]) -> None:
        """Do ``work`` now, or have the thread that has the turn do it at the end of the turn. Never waits."""
        self._queued.append(work)
        self._catch_up()

    def _catch_up(self) -> None:
        if self._is_here:
            return
        # A thread that queues work after the last check gets the lock itself, or the holder of the lock does the work.
        try:
            while self._queued and self._lock.acquire(blocking=False):
                while self._queued:
                    self._queued.popleft()()
                self._lock.release()
        finally:
            if self._is_here:
                self._lock.release()
