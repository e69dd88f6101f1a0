"""Sleeps of a process that runs one test under one fault: back-off costs no time, and is known all the same.

Only those are skipped that come from what has met a fault: of its thread, or of its task. Whatever else sleeps in
the process does so in earnest. The clocks that a program reads go on by as much as was skipped, so that its deadlines
come when they should. Nothing is put back: the process ends with the test.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

_CLOCKS = ("time", "monotonic", "perf_counter")


class SkippedSleeps:
    """The skipped sleeps of this process, from ``install`` on."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._sleepers: set[object] = set()
        self._now = time.monotonic
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the moment, in seconds, with all that was skipped."""
        return self._now() + self._ahead

    def skip_here(self) -> None:
        """Skip from now on the sleeps of this thread, or of the task that runs in it."""
        self._sleepers.add(_sleeper())

    def install(self) -> None:
        """Put it in force in this process, for good."""
        for name in _CLOCKS:
            self._replace(name, getattr(time, name), self._shift(getattr(time, name)))
            exact = getattr(time, f"{name}_ns")
            self._replace(f"{name}_ns", exact, self._shift_nanoseconds(exact))
        self._replace("sleep", time.sleep, self._make_sleep(time.sleep))
        self._replace("sleep", asyncio.sleep, self._make_async_sleep(asyncio.sleep))

    def _pass(self, seconds: float) -> None:
        with self._lock:
            self._ahead += seconds

    def _shift(self, clock: Callable[[], float]) -> Callable[[], float]:
        return lambda: clock() + self._ahead

    def _shift_nanoseconds(self, clock: Callable[[], int]) -> Callable[[], int]:
        return lambda: clock() + int(self._ahead * 1e9)

    def _make_sleep(self, original: Callable[[float], None]) -> Callable[[float], None]:
        def sleep(seconds: float, /) -> None:
            if seconds > 0 and _sleeper() in self._sleepers:
                self._pass(seconds)
                seconds = 0
            original(seconds)

        return sleep

    def _make_async_sleep(self, original: Callable[..., Any]) -> Callable[..., Any]:
        async def sleep(delay: float, result: Any = None) -> Any:
            if delay > 0 and _sleeper() in self._sleepers:
                self._pass(delay)
                delay = 0
            return await original(delay, result)

        return sleep

    @staticmethod
    def _replace(name: str, original: object, new: object) -> None:
        """Replace a function in every module that has it under its own name, such as by ``from time import sleep``."""
        for module in list(sys.modules.values()):
            if vars(module).get(name) is original if hasattr(module, "__dict__") else False:
                setattr(module, name, new)


def _sleeper() -> object:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return threading.get_ident() if task is None else task
