"""Lets one thread at a time work on a conversation, and queues work that must not wait for its turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from threading import get_ident
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
        # Not re-entrant: code that interrupts a turn must not enter it.
        self._lock = renewed_in_child(threading.Lock())
        self._worker = 0  # the id of the thread whose turn it is, 0 for none
        self._queued: deque[Callable[[], None]] = deque()  # `append` and `popleft` are atomic, and need no lock

    def take(self, work: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        """Wait for a turn, do ``work`` in it, and return its result.

        Raises ``RuntimeError`` if the caller has interrupted a turn of the same thread.
        """
        if self._worker == get_ident() and self._lock.locked():
            raise RuntimeError(
                "a signal handler, or a finalizer, interrupted the use of a WebSocket in this thread and uses it too. "
                "It may close the WebSocket there, but cannot send or receive messages"
            )
        try:
            with self._lock:
                self._worker = get_ident()
                try:
                    return work(*args, **kwargs)
                finally:
                    self._worker = 0
        finally:
            if self._queued:
                self._catch_up()

    def do_or_queue(self, work: Callable[[], None]) -> None:
        """Do ``work`` now, or have the thread that has the turn do it at the end of the turn. Never waits."""
        self._queued.append(work)
        self._catch_up()

    def _catch_up(self) -> None:
        # A thread that queues work after the last check gets the lock itself, or the holder of the lock does the work.
        while self._queued and self._lock.acquire(blocking=False):
            try:
                self._worker = get_ident()
                while self._queued:
                    self._queued.popleft()()
            finally:
                self._worker = 0
                self._lock.release()
