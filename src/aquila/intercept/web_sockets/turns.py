"""Whose turn it is to work on a conversation, and what waits for the end of that turn."""

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
        # Not re-entrant: code that interrupts a turn must not get into it.
        self._lock = renewed_in_child(threading.Lock())
        self._worker = 0  # the id of the thread whose turn it is, 0 for none
        self._put_down: deque[Callable[[], None]] = deque()  # queued work; appended to and popped from without the lock

    def take(self, work: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        """Return what ``work`` returns, which is done in a turn of its own. Waits for that.

        Raises ``RuntimeError`` in what has interrupted a turn of the same thread.
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
            if self._put_down:
                self._catch_up()

    def leave(self, work: Callable[[], None]) -> None:
        """Have ``work`` done: now, or by whoever has the turn, when it ends. Never waits."""
        self._put_down.append(work)
        self._catch_up()

    def _catch_up(self) -> None:
        # A thread that queues work after this last look gets the lock itself, or leaves the work to who has the lock.
        while self._put_down and self._lock.acquire(blocking=False):
            try:
                self._worker = get_ident()
                while self._put_down:
                    self._put_down.popleft()()
            finally:
                self._worker = 0
                self._lock.release()
