"""Keeps what goes wrong with a report away from the run that it tells of."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from aquila.recording.secrets import outgoing

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class ReportGuard:
    """Runs the code of a report where an error of it would reach pytest or a test.

    One thread at a time does so: a scope may end in any. ``problem`` is the first error. ``is_over`` says that nothing
    more is collected: the file cannot be written.
    """

    def __init__(self) -> None:
        self.problem = ""
        self.is_over = False
        self._lock = threading.RLock()
        self._process = os.getpid()

    def attempt(self, do: Callable[_Given, _Result], *args: _Given.args, **more: _Given.kwargs) -> _Result | None:
        """Return what ``do`` returns; None if it raises, which is noted."""
        if os.getpid() != self._process:
            return None  # what a forked child collects is told by its parent, if at all; the lock may be held for ever
        with self._lock:
            return None if self.is_over else self._attempt(functools.partial(do, *args, **more))

    def _attempt(self, do: Callable[[], _Result]) -> _Result | None:
        try:
            return do()
        except OSError as error:
            self.is_over = True
            self._note(f"nothing more could be collected: {error.strerror or error}")
        except Exception as error:  # noqa: BLE001 - no test and no run fails because of its report
            self._note(f"something could not be noted for the report: {type(error).__name__}: {error}")
        return None

    def _note(self, problem: str) -> None:
        try:
            self.problem = self.problem or outgoing.redact_outgoing(problem)
        except Exception:  # noqa: BLE001 - as above
            self.problem = "something could not be noted for the report"
