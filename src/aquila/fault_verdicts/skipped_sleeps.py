"""Sleeps of a process that runs one test under one fault: back-off costs no time, and is known all the same.

Only those are skipped that come from what has met a fault: of its thread, or of its task. Whatever else sleeps in
the process does so in earnest. The clocks that a program reads go on by as much as was skipped, so that its deadlines
come when they should: by the longest of what sleeps at the same time, and by the sum of what sleeps in turn. Nothing
is put back: the process ends with the test.
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

_CLOCKS = ("time", "monotonic", "perf_counter")


_inherited: ContextVar[float] = ContextVar("aquila_skipped", default=0.0)
"""How far ahead a task was when it began another one."""


class SkippedSleeps:
    """The skipped sleeps of this process, from ``install`` on."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._ahead_of: dict[object, float] = {}
        """Of each thread and task whose sleeps are skipped: how far ahead it is."""
        self._new: dict[str, dict[int, object]] = {}
        """What stands in the place of a function with a name and an identity."""
        self._places: list[tuple[dict[str, Any], object]] = []
        """The names of the modules that have a sleep, and which one it is now."""
        self._now = time.monotonic
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the moment, in seconds, with all that was skipped here: in this thread or task, if it skips."""
        return self._now() + self._ahead_of.get(find_sleeper(), self._ahead)

    @property
    def skipped_here(self) -> float:
        """How many seconds were skipped in this thread or task."""
        return self._ahead_of.get(find_sleeper(), 0.0)

    def skip_here(self) -> None:
        """Skip from now on the sleeps of this thread, or of the task that runs in it."""
        with self._lock:
            self._ahead_of.setdefault(find_sleeper(), _inherited.get())

    @property
    def are_faked(self) -> bool:
        """Whether the test has put sleeps of its own in the place of some: what they would take, nobody knows."""
        return any(known.get("sleep") is not new for known, new in self._places)

    def install(self) -> None:
        """Put it in force in this process, for good."""
        for name in _CLOCKS:
            clock, exact = getattr(time, name), getattr(time, f"{name}_ns")
            self._replace(name, clock, self._shift(clock))
            self._replace(f"{name}_ns", exact, self._shift_nanoseconds(exact))
        self._replace("sleep", time.sleep, self._make_sleep(time.sleep))
        self._replace("sleep", asyncio.sleep, self._make_async_sleep(asyncio.sleep))
        if (trio := sys.modules.get("trio")) is not None:
            self._replace("sleep", trio.sleep, self._make_async_sleep(trio.sleep))
        self._put_in_place()

    def skip_method(self, kind: type, name: str) -> None:
        """Skip a method that sleeps for the seconds that it is given."""
        original = getattr(kind, name)

        def sleep(this: Any, seconds: float) -> Any:
            return original(this, 0 if self._is_skipped(seconds) else seconds)

        setattr(kind, name, sleep)

    def _is_skipped(self, seconds: float) -> bool:
        """Whether a sleep is skipped here. The clocks go on by as much."""
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
            original(0 if self._is_skipped(seconds) else seconds)

        return sleep

    def _make_async_sleep(self, original: Callable[..., Any]) -> Callable[..., Any]:
        async def sleep(delay: float, *others: Any, **named: Any) -> Any:
            return await original(0 if self._is_skipped(delay) else delay, *others, **named)

        return sleep

    def _replace(self, name: str, original: object, new: object) -> None:
        self._new.setdefault(name, {})[id(original)] = new

    def _put_in_place(self) -> None:
        """Replace functions in every module that has them under their own names, as by ``from time import sleep``."""
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
    """Return what a sleep here holds up: a reference to the task that runs, else the number of the thread."""
    try:
        task: object = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is None and (trio := sys.modules.get("trio")) is not None:
        try:
            task = trio.lowlevel.current_task()
        except RuntimeError:
            task = None
    return threading.get_ident() if task is None else weakref.ref(task)
