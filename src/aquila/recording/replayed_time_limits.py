"""Time limits of Aquila's own calls and of Huey's tasks, as recordings and replays see them.

A replay does not take the time that the recording took. If a limit ended the recorded answer, a replay would have to
wait for that limit. So a recording names the limit that had run out, and a replay lets that limit strike at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from aquila.recording import runtime

ENDED = "aquila_ended"
"""The extension of a request whose answer other code ended: a timer, a revocation, another thread."""

_MARK = "TimeLimit"
TASK = "task"
"""The name of the limit of a task."""
_TOLERANCE = 0.05
"""By how many seconds the clock of a limit and the timer that enforces it may differ."""


class TimeLimit:
    """A limit that begins now. ``name`` says what sets it; ``make_error`` makes what is raised where it strikes."""

    def __init__(self, name: str, seconds: float, make_error: Callable[[], BaseException]) -> None:
        self.name = name
        self.seconds = seconds
        self.make_error = make_error
        self.has_struck = False
        self.ends = time.monotonic() + seconds  # on the monotonic clock

    @property
    def has_run_out(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() >= self.ends - _TOLERANCE


# The limits around the running code, outermost first. They belong to its context; `time_limit` sets and restores them.
_limits: ContextVar[tuple[TimeLimit, ...]] = ContextVar("aquila_time_limits", default=())


current_limits: Callable[[], tuple[TimeLimit, ...]] = _limits.get
"""Return the limits in force here, outermost first."""


def limit_of_task() -> TimeLimit | None:
    """Return the time limit of the Huey task that runs here, which limits its calls too; None if it has none."""
    return min((limit for limit in _limits.get() if limit.name == TASK), key=lambda limit: limit.ends, default=None)


@contextmanager
def time_limit(limit: TimeLimit | None) -> Iterator[None]:
    """Put a limit in force until the block ends. None is no limit."""
    if limit is None:
        yield
        return
    before = _limits.get()
    _held = runtime.hold_values()
    _limits.set((*before, limit))
    try:
        yield
    finally:
        _held = runtime.hold_values()
        _limits.set(before)  # not reset(token): an async generator may be closed in another context


def describe_run_out(limits: tuple[TimeLimit, ...]) -> str:
    """Return which limit has run out, in the form that a recording keeps; "" if none has.

    Of several, the outermost counts: it ends the inner ones.
    """
    return next((f"{_MARK}: {limit.name}, {limit.seconds:g} s" for limit in limits if limit.has_run_out), "")


def strike_limit(limits: tuple[TimeLimit, ...], recorded: str) -> None:
    """Raise the error of the limit that had run out when an answer was ``recorded``.

    Returns if no such limit is in force, or if it is a longer one now.
    """
    mark, _, text = recorded.partition(": ")
    name, _, seconds = text.removesuffix(" s").rpartition(", ")
    if mark != _MARK:
        return
    for limit in limits:
        # The recorded limit may be what was left of a longer one when the call began, so a little longer is the same.
        if limit.name == name and limit.seconds <= float(seconds) * 1.1 + _TOLERANCE:
            limit.has_struck = True
            raise limit.make_error()


def strike_shortest_limit(limits: tuple[TimeLimit, ...], within: float | None) -> None:
    """Raise the error of the shortest limit, for a silence without an end. Returns if none is as short as ``within``.

    ``within`` is another limit that would strike, in seconds; None for no other.
    """
    shortest = min(limits, key=lambda limit: limit.seconds, default=None)
    # The other limit may be what was left of this one, so a little longer counts as equal.
    if shortest is not None and (within is None or shortest.seconds <= within * 1.1 + _TOLERANCE):
        shortest.has_struck = True
        raise shortest.make_error()
