"""The names of signals, for messages about processes that one has ended."""

from __future__ import annotations

import signal


def name_signal(number: int) -> str:
    """Return the name of a signal: ``SIGKILL``. Most real-time signals have none and are ``signal 40``."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
