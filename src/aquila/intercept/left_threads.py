"""Threads that were started in a run and outlive it, in a program that has called pytest and goes on.

What the program itself sends after the run goes out. What these threads send, and the threads that they start, is
refused as it was in the run.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from aquila.recording import askers, runtime

if TYPE_CHECKING:
    from aquila.intercept.activation import Interception
    from aquila.recording.runtime import Run


class GuardedThreads:
    """The threads that one run has left. The patches of the guard stay in force until the last of them has ended."""

    def __init__(self, run: Run, before: frozenset[int], interception: Interception) -> None:
        """``before`` are the numbers of the threads that were there when the run began."""
        self.run = run
        self._interception = interception
        known = {thread.ident for thread in threading.enumerate()}
        # Threads that C libraries or `_thread` started have no `Thread` object that could be marked. They are known by
        # their ids; all others are not, because the id of a thread that has ended may be given to another.
        # `_current_frames` is private, and the only function that lists them.
        self._unknown = frozenset(sys._current_frames()) - known - before - {threading.get_ident()}

    def guard(self) -> bool:
        """Refuse from now on what they send. Return whether there is any."""
        if not self._are_alive():
            return False
        self._interception.put_guard_in_force(self)
        runtime.left_threads.append(self)
        return True

    def has_current(self) -> bool:
        """Whether this thread is one of them."""
        if threading.get_ident() in self._unknown:
            return True
        return askers.run_of(threading.current_thread()) is self.run

    def end_with_last(self) -> bool:
        """Take the patches back if none of them is alive. Return whether that is so."""
        if self._are_alive():
            return False
        self._interception.withdraw_guard(self)
        return True

    def _are_alive(self) -> bool:
        here = threading.current_thread()
        if any(askers.run_of(thread) is self.run and thread is not here for thread in threading.enumerate()):
            return True
        return not self._unknown.isdisjoint(sys._current_frames())
