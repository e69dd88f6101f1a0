"""A clock for draining a queue. Where a worker would wait, the clock is put forward to the time of the next task.

The clock stands still while a task executes. Huey asks it wherever it needs the present moment: for schedules, delays,
retries, expiry and rate limits. So do Aquila's limits, pauses and budgets. Nothing else is changed: ``datetime.now()``
and ``time.time()`` in a task return the real time, unless ``move_clock`` moves that, too.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from huey import api
from huey.utils import normalize_expire_time, normalize_time

from aquila.huey.scopes.clock_of_test import current_clock
from aquila.huey.testing.attribute_patches import replace_attributes

MoveClock: TypeAlias = Callable[[datetime], object]


class SkippingClock:
    """A clock that is only ever put forward. ``skipped`` is how far in all.

    ``move_clock`` is called with each new moment, a ``datetime`` in UTC. ``drain_queue`` owns the clock for one drain.
    """

    def __init__(self, move_clock: MoveClock | None = None) -> None:
        self._started = datetime.now(UTC)
        self._move_clock = move_clock
        self.skipped = timedelta()

    def now(self, *, utc: bool) -> datetime:
        """Return the moment without a zone, as Huey has it: in UTC or in local time."""
        moment = self._started + self.skipped
        return (moment if utc else moment.astimezone()).replace(tzinfo=None)

    def timestamp(self) -> float:
        """Return the moment in seconds since the epoch."""
        return (self._started + self.skipped).timestamp()

    def skip_to(self, moment: datetime | None, *, utc: bool) -> None:
        """Put the clock forward to a moment in the time of a Huey, if it is in the future; otherwise do nothing."""
        if moment is not None and moment > self.now(utc=utc):
            self.skipped += moment - self.now(utc=utc)
            if self._move_clock is not None:
                self._move_clock(self._started + self.skipped)


@contextlib.contextmanager
def use_clock(clock: SkippingClock) -> Iterator[SkippingClock]:
    """Make Huey ask this clock within the block, and in no other thread.

    The functions of Huey's module are replaced for the whole process until the block ends; they look up the clock in
    the context, and elsewhere do what Huey's own do.
    """
    # Huey 3.5 has no object that could be given another clock: `huey.api` calls two functions and the module `time`.
    replaced = replace_attributes(
        api, normalize_time=_normalize_time, normalize_expire_time=_normalize_expire_time, time=_ClockModule()
    )
    token = current_clock.set(clock)
    try:
        with replaced:
            yield clock
    finally:
        current_clock.reset(token)


class _ClockModule:
    """Stands in for the module ``time`` in ``huey.api``: only ``time()`` is different."""

    def time(self) -> float:
        clock = current_clock.get()
        return time.time() if clock is None else clock.timestamp()

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def _normalize_time(eta: Any = None, delay: Any = None, utc: bool = True) -> Any:
    clock = current_clock.get()
    if clock is None or delay is None or eta is not None:
        return normalize_time(eta, delay, utc)
    return clock.now(utc=utc) + (delay if isinstance(delay, timedelta) else timedelta(seconds=delay))


def _normalize_expire_time(expires: Any, utc: bool = True) -> Any:
    clock = current_clock.get()
    if clock is None or isinstance(expires, datetime):
        return normalize_expire_time(expires, utc)
    return clock.now(utc=utc) + (expires if isinstance(expires, timedelta) else timedelta(seconds=expires))
