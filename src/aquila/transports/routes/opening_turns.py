"""Opens in threads what the requests of an event loop need, and keeps the requests in order.

The n-th of equal requests gets the n-th recording, and requests are counted after their cassette was opened. Threads
end in any order. Without turns, requests that a program makes at the same time would swap answers from run to run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from anyio import Lock
from anyio.lowlevel import RunVar

from aquila.transports.own_threads import run_in_thread

T = TypeVar("T")

# One lock for each event loop. The task that holds it opens; the others wait, and go on one by one.
_turn: RunVar[Lock] = RunVar("aquila_opening_turn")

_unopened: set[object] = set()
"""The requests that hold a turn or wait for one, in all event loops. While there are none, no lock is needed."""


async def open_in_turn(open_it: Callable[[], T], is_ready: Callable[[], bool] = lambda: False) -> T:
    """Return what ``open_it`` opens, in a thread unless it ``is_ready``: then nothing is read from a disk.

    In one event loop, callers go on in the order in which they have called this.
    """
    if not _unopened and is_ready():
        return open_it()
    request = object()
    _unopened.add(request)
    try:
        async with _turn_of_this_loop():
            return open_it() if is_ready() else await run_in_thread(open_it)
    finally:
        _unopened.discard(request)


def _turn_of_this_loop() -> Lock:
    try:
        return _turn.get()
    except LookupError:
        turn = Lock(fast_acquire=True)
        _turn.set(turn)
        return turn
