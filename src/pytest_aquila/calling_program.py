"""A program that has called pytest, and goes on when the run has ended. Other runs do not load this module."""

from __future__ import annotations

import atexit
import sys
from typing import TYPE_CHECKING

from aquila.intercept.activation import RunGuard, interception
from aquila.lazy_imports import lazy_modules
from aquila.recording.runtime import Run

if TYPE_CHECKING:
    from aquila.intercept.processes import left_threads
else:
    lazy_modules(globals(), "aquila.intercept.processes: left_threads")


class CallingProgram:
    """A program that has called pytest. It gets its environment back; what the run has left in it stays guarded."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._threads_before = frozenset(sys._current_frames())
        self._is_back = False
        # `atexit` calls functions in reverse order: `_come_back`, which `go_on` registers, then the functions that the
        # tests have registered, then this one. So the functions of the tests run within the run.
        atexit.register(self._leave_again)

    def go_on(self) -> None:
        """Leave the run."""
        atexit.register(self._come_back)
        if len(sys._current_frames()) > 1:
            left_threads.GuardedThreads(self._run, self._threads_before, interception()).guard()
        self._leave()

    def _come_back(self) -> None:
        self._run.__enter__()
        self._is_back = True
        self._run.state_of(RunGuard).put_in_force()

    def _leave_again(self) -> None:
        if self._is_back:
            self._leave()

    def _leave(self) -> None:
        self._run.state_of(RunGuard).lift()
        self._run.__exit__(None, None, None)
