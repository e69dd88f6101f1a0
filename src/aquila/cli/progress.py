"""Shows the progress of long work on stderr, if that is a terminal and the work takes more than a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from aquila.cli.output import write_to_stderr

Item = TypeVar("Item")

_SHOWN_AFTER = 1.0
"""Seconds of silence before the first line."""
_LINE_EVERY = 5.0
"""Seconds between two lines."""


def track_progress(items: Sequence[Item], doing: str, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Item]:
    """Yield the items, and write a line every few seconds that says how many are done.

    ``doing`` is the word for the work, such as ``converting``. Nothing is written in pipes, and before a second has
    passed. ``clock`` returns the time in seconds.
    """
    due = clock() + _SHOWN_AFTER if sys.stderr.isatty() else float("inf")
    for done, item in enumerate(items):
        if (now := clock()) >= due:
            due = now + _LINE_EVERY
            write_to_stderr(f"aquila: {doing}: {done:,} of {len(items):,}")
        yield item
