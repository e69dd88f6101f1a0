"""Signals whose handlers raised something while a fork waited: Ctrl-C, time limits of tests, ``sys.exit`` at SIGTERM.

Python prints and forgets what a hook of a fork raises. So the hooks note it, and the signal is sent again when the fork
is over. Loaded only then.
"""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

from aquila.lazy_imports import wait_before_fork

_PATIENCE = 60.0
"""Seconds within which a fork is over, once its hooks in the parent run."""
_MARGIN = 0.05
"""Seconds after it. The other thread lets this one run when it is about to wait, and a signal that comes right before
it waits does not wake it."""


def send_again(errors: Sequence[BaseException], forking: FrameType) -> None:
    """Send this thread the signals whose handlers raised ``errors``, once the fork is over that ``forking`` called.

    Raises an error that no handler of a signal has raised.
    """
    signals = {id(error): _find_signal(error) for error in errors}
    numbers = {number for number in signals.values() if number is not None}
    if numbers:
        _thread.start_new_thread(_send_after, (numbers, _thread.get_ident(), forking, forking.f_lasti))
    for error in errors:
        if signals[id(error)] is None:
            raise error


def _find_signal(error: BaseException) -> int | None:
    """Return the signal whose handler raised an error, or None."""
    ran = {frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)}
    for number in signal.valid_signals():
        if getattr(signal.getsignal(number), "__code__", None) in ran:
            return number
    return signal.SIGINT if isinstance(error, KeyboardInterrupt) else None  # Python's own handler leaves no frame


def _send_after(numbers: set[int], thread: int, forking: FrameType, position: int) -> None:
    def is_over() -> bool:
        frame = sys._current_frames().get(thread)
        while frame is not None and frame is not forking:
            frame = frame.f_back
        return frame is None or frame.f_lasti != position

    wait_before_fork(is_over, _PATIENCE)
    wait_before_fork(lambda: False, _MARGIN)
    for number in numbers:
        with contextlib.suppress(OSError):  # the thread has ended
            signal.pthread_kill(thread, number)
