"""How tasks meet a storage that is away for a while: they ask again, and say so once."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

logger = logging.getLogger("huey.aquila")

T = TypeVar("T")

FIRST_DELAY = 0.05
LONGEST_DELAY = 2.0
"""Seconds between two tries: they double from the first to the longest."""


def ask_until_answered(ask: Callable[[], T], *, patience: float) -> T:
    """Call ``ask`` until it does not raise, for ``patience`` seconds. Raises its last exception then.

    Only for what does nothing but ask the storage: what can never succeed, such as a value that cannot be serialised,
    would be tried again too.
    """
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 -- whatever a storage raises
        failure = error
    return ask_again(ask, failure, patience=patience)


def ask_again(ask: Callable[[], T], failure: Exception, *, patience: float) -> T:
    """Call ``ask``, which has raised ``failure``, until it does not raise, for ``patience`` seconds."""
    gives_up, delay = time.monotonic() + patience, FIRST_DELAY
    while time.monotonic() + delay <= gives_up:
        time.sleep(with_jitter(delay))
        delay = min(2 * delay, LONGEST_DELAY)
        try:
            return ask()
        except Exception as error:  # noqa: BLE001 -- whatever a storage raises
            failure = error
    raise failure


def with_jitter(delay: float) -> float:
    """Return a delay that differs a little each time, so that many workers do not all ask at once."""
    return delay * random.uniform(0.8, 1.0)


class Outage:
    """What one watcher knows of the storage: says once that it does not answer, and once that it answers again."""

    def __init__(self, watcher: str, consequence: str) -> None:
        """``consequence`` says what does not happen meanwhile."""
        self._watcher = watcher
        self._consequence = consequence
        self._since: float | None = None
        self._delay = 0.0

    def note_failure(self, error: BaseException) -> float:
        """Note that the storage did not answer. Return the seconds after which to ask again."""
        if self._since is None:
            self._since = time.monotonic()
            self._delay = FIRST_DELAY
            logger.warning(
                "%s: the storage does not answer (%s: %s). %s",
                *(self._watcher, type(error).__name__, error, self._consequence),
            )
        else:
            self._delay = min(2 * self._delay, LONGEST_DELAY)
        return with_jitter(self._delay)

    def note_answer(self) -> None:
        """Note that the storage answered."""
        if self._since is not None:
            logger.warning("%s: the storage answers again, after %.1f s", self._watcher, time.monotonic() - self._since)
            self._since = None
