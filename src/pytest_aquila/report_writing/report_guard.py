"""Keeps errors of a report away from the run that it describes."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from aquila.recording.secrets import outgoing
from aquila.run_report.partial_files import UnwritablePart

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class ReportGuard:
    """Runs code of a report in places where its errors would reach pytest or a test.

    One thread at a time runs it, because a scope may end in any thread. ``problem`` is the text of the first error.
    ``is_over`` says that nothing more is collected, because the file cannot be written.
    """

    def __init__(self) -> None:
        self.problem = ""
        self.is_over = False
        # fork: a child never takes it, see `attempt`
        self._lock = threading.RLock()
        self._process = os.getpid()

    def attempt(self, do: Callable[_Given, _Result], *args: _Given.args, **more: _Given.kwargs) -> _Result | None:
        """Return what ``do`` returns, or None if it raises. The error is noted."""
        if os.getpid() != self._process:
            return None  # a forked child collects nothing, and a thread of the parent may hold its copy of the lock
        with self._lock:
            return None if self.is_over else self._attempt(functools.partial(do, *args, **more))

    def _attempt(self, do: Callable[[], _Result]) -> _Result | None:
        try:
            return do()
        except UnwritablePart as error:
            self.is_over = True
            self._note(f"nothing more could be collected: {error}")
        except Exception as error:  # noqa: BLE001 - no test and no run fails because of its report
            self._note(f"something could not be noted for the report: {type(error).__name__}: {error}")
        return None

    def _note(self, problem: str) -> None:
        try:
            self.problem = self.problem or outgoing.redact_outgoing(problem)
        except Exception:  # noqa: BLE001 - as above
            self.problem = "something could not be noted for the report"
