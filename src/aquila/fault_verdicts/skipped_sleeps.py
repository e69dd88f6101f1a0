"""Skips the sleeps of a process that runs one test under one fault, so that back-off is noticed but takes no time.

Only sleeps of a thread or task that has met a fault are skipped; all others take their time. The clocks that the
program reads advance by the skipped time, so that its deadlines come when they should. They advance by the longest of
the sleeps that overlap, and by the sum of those that follow each other. Nothing is ever restored: the process ends with
the test.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from aquila.lazy_imports import find_loaded

_CLOCKS = ("time", "monotonic", "perf_counter")


_inherited: ContextVar[float] = ContextVar("aquila_skipped", default=0.0)
"""How many seconds were skipped in the task that started this one, from which this task has copied its context."""


class SkippedSleeps:
    """The skipped sleeps of this process, from ``install`` on. ``_lock`` guards the numbers, which are never reset."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._ahead_of: dict[object, float] = {}
        """For each thread and task whose sleeps are skipped: how many seconds were skipped."""
        self._new: dict[str, dict[int, object]] = {}
        """The replacement of each function, by its name and its ``id()``; the originals live as long as the process."""
        self._places: list[tuple[dict[str, Any], object]] = []
        """The namespaces of modules in which ``sleep`` was replaced, each with the replacement."""
        # The real clock, taken before it is replaced.
        self._now = time.monotonic
        # fork: made in the forked process that runs the test
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the time in seconds, plus the sleeps that this thread or task, or else the process, has skipped."""
        return self._now() + self._ahead_of.get(find_sleeper(), self._ahead)

    @property
    def skipped_here(self) -> float:
        """The seconds that were skipped in this thread or task."""
        return self._ahead_of.get(find_sleeper(), 0.0)

    def skip_here(self) -> None:
        """Skip from now on the sleeps of this thread, or of the task that runs in it."""
        with self._lock:
            self._ahead_of.setdefault(find_sleeper(), _inherited.get())

    @property
    def are_faked(self) -> bool:
        """Whether the test has replaced a sleep itself, so that the length of its waits is not known."""
        return any(known.get("sleep") is not new for known, new in self._places)

    def install(self) -> None:
        """Replace the clocks and sleeps of this process, for good."""
        for name in _CLOCKS:
            clock, exact = getattr(time, name), getattr(time, f"{name}_ns")
            self._replace(name, clock, self._shift(clock))
            self._replace(f"{name}_ns", exact, self._shift_nanoseconds(exact))
        self._replace("sleep", time.sleep, self._make_sleep(time.sleep))
        self._replace("sleep", asyncio.sleep, self._make_async_sleep(asyncio.sleep))
        if (trio := find_loaded("trio")) is not None:
            self._replace("sleep", trio.sleep, self._make_async_sleep(trio.sleep))
        self._put_in_place()

    def skip_method(self, kind: type, name: str) -> None:
        """Skip a method of ``kind`` that sleeps for the seconds in its argument, such as a client's own."""
        original = getattr(kind, name)

        def sleep(this: Any, seconds: float) -> Any:
            return original(this, 0 if self._is_skipped(seconds) else seconds)

        setattr(kind, name, sleep)  # for good, as `install`: the process was forked for one run of a test

    def _is_skipped(self, seconds: float) -> bool:
        """Whether a sleep of so many seconds is skipped here. If so, the clocks advance by it."""
        sleeper = find_sleeper()
        if sleeper not in self._ahead_of or not seconds > 0:
            return False
        with self._lock:
            self._ahead_of[sleeper] += seconds
            self._ahead = max(self._ahead, self._ahead_of[sleeper])
        _inherited.set(self._ahead_of[sleeper])
        return True

    def _shift(self, clock: Callable[[], float]) -> Callable[[], float]:
        return lambda: clock() + self._ahead

    def _shift_nanoseconds(self, clock: Callable[[], int]) -> Callable[[], int]:
        return lambda: clock() + int(self._ahead * 1e9)

    def _make_sleep(self, original: Callable[[float], None]) -> Callable[[float], None]:
        def sleep(seconds: float, /) -> None:
            # A sleep of 0 still lets other threads run, as the program expects.
            original(0 if self._is_skipped(seconds) else seconds)

        return sleep

    def _make_async_sleep(self, original: Callable[..., Any]) -> Callable[..., Any]:
        async def sleep(delay: float, *others: Any, **named: Any) -> Any:
            return await original(0 if self._is_skipped(delay) else delay, *others, **named)

        return sleep

    def _replace(self, name: str, original: object, new: object) -> None:
        self._new.setdefault(name, {})[id(original)] = new

    def _put_in_place(self) -> None:
        """Replace the functions in every module that holds them under their names (``from time import sleep``)."""
        for module in list(sys.modules.values()):
            known = getattr(module, "__dict__", None)
            if not isinstance(known, dict):
                continue
            for name, by_id in self._new.items():
                new = by_id.get(id(known.get(name)))
                if new is not None:
                    known[name] = new
                    if name == "sleep":
                        self._places.append((known, new))


def find_sleeper() -> object:
    """Return what a sleep here delays: a weak reference to the running task, or else the number of the thread."""
    try:
        task: object = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is None and (trio := find_loaded("trio")) is not None:
        try:
            task = trio.lowlevel.current_task()
        except RuntimeError:
            task = None
    # Weak references to one object are equal and hash alike while it lives, so they serve as keys without keeping
    # tasks alive. Dead references of different tasks are unequal.
    return threading.get_ident() if task is None else weakref.ref(task)
