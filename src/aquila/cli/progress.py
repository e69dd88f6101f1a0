"""Shows the progress of long work on stderr, if that is a terminal and the work takes more than a second."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from aquila.cli.output import write_to_stderr
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from rich import console as rich_console
    from rich import progress as rich_progress
else:
    lazy_modules(globals(), "rich: console as rich_console, progress as rich_progress")

Item = TypeVar("Item")

_SHOWN_AFTER = 1.0
"""Seconds of silence before anything is shown."""
_LINE_EVERY = 5.0
"""Seconds between two lines where rich is not installed."""


class Display(Protocol):
    """Shows the progress of one ``track_progress``, on the thread that calls it."""

    def show(self, done: int) -> None:
        """Show how many items are done."""

    def close(self) -> None:
        """Remove what must not stay on the screen."""


def track_progress(
    items: Sequence[Item], doing: str, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic
) -> Iterator[Item]:
    """Yield the items, and show how many are done. ``doing`` is the word for the work, such as ``converting``.

    Nothing is shown with ``quiet``, in pipes, and before a second has passed. Until the last item is done, nothing else
    may be printed. ``clock`` returns the time in seconds.
    """
    if quiet or not sys.stderr.isatty():
        yield from items
        return
    began = clock()
    display: Display | None = None
    try:
        for done, item in enumerate(items):
            if display is None and done and clock() - began >= _SHOWN_AFTER:
                display = _open_display(doing, len(items), clock)
            if display is not None:
                display.show(done)
            yield item
    finally:
        if display is not None:
            display.close()


def _open_display(doing: str, total: int, clock: Callable[[], float]) -> Display:
    return _Bar(doing, total) if importlib.util.find_spec("rich") is not None else _Lines(doing, total, clock)


class _Bar:
    """A progress bar of rich, which disappears when the work is done."""

    def __init__(self, doing: str, total: int) -> None:
        self._progress = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TimeRemainingColumn(),
            console=rich_console.Console(stderr=True),
            transient=True,
            # What the command prints goes to stdout as it is, not through the bar to stderr.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._progress.start()
        self._task = self._progress.add_task(doing, total=total)

    def show(self, done: int) -> None:
        self._progress.update(self._task, completed=done)

    def close(self) -> None:
        self._progress.stop()


class _Lines:
    """A line every few seconds."""

    def __init__(self, doing: str, total: int, clock: Callable[[], float]) -> None:
        self._doing, self._total, self._clock = doing, total, clock
        self._next = clock()

    def show(self, done: int) -> None:
        if self._clock() >= self._next:
            self._next = self._clock() + _LINE_EVERY
            write_to_stderr(f"aquila: {self._doing}: {done:,} of {self._total:,}")

    def close(self) -> None:
        """Do nothing: the lines stay."""
