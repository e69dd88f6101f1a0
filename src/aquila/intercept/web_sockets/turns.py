"""Whose turn it is to work on a conversation, and what waits for the end of that turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Turns:
    """Lets one thread at a time work on a conversation.

    Any line of it may be interrupted, by a signal or by the garbage collector, and what they run may close, send, or
    drop a sender over the same connection. That must not wait for a turn of its own thread, nor for one of a thread
    that waits for it, and must not find half of a change. So such work is queued, and whoever has the turn does it at
    the end of the turn.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker = 0  # the thread whose turn it is
        self._put_down: deque[Callable[[], None]] = deque()  # changed without the lock

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
