"""Guards threads that outlive the run in which they were started, in a program that has called pytest and goes on.

Requests of the program itself go out after the run. Requests of these threads, and of threads that they start, are
refused as in the run.
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
    """The threads that outlive one run. The patches of the guard stay in force until the last of them has ended."""

    def __init__(self, run: Run, before: frozenset[int], interception: Interception) -> None:
        """``before`` are the ids of the threads that existed when the run began."""
        self.run = run
        self._interception = interception
        known = {thread.ident for thread in threading.enumerate()}
        # Threads that C libraries or `_thread` started have no `Thread` object that could be marked, so their ids are
        # kept. Other threads are marked, because the id of an ended thread may be reused. `_current_frames` is private,
        # and the only function that lists all threads.
        self._unknown = frozenset(sys._current_frames()) - known - before - {threading.get_ident()}

    def guard(self) -> bool:
        """Refuse requests of these threads from now on. Return whether there is such a thread."""
        if not self._are_alive():
            return False
        self._interception.put_guard_in_force(self)
        runtime.left_threads.append(self)
        return True

    def has_current(self) -> bool:
        """Whether the current thread is one of them."""
        if threading.get_ident() in self._unknown:
            return True
        return askers.run_of(threading.current_thread()) is self.run

    def end_with_last(self) -> bool:
        """Undo the patches if none of the threads is alive. Return whether that is so."""
        if self._are_alive():
            return False
        self._interception.withdraw_guard(self)
        return True

    def _are_alive(self) -> bool:
        here = threading.current_thread()
        if any(askers.run_of(thread) is self.run and thread is not here for thread in threading.enumerate()):
            return True
        return not self._unknown.isdisjoint(sys._current_frames())
