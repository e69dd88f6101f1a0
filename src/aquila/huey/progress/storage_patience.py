"""Asks a storage again that does not answer for a while, and logs the outage once."""

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
"""Seconds between two tries. They double from ``FIRST_DELAY`` up to ``LONGEST_DELAY``."""


def ask_until_answered(ask: Callable[[], T], *, patience: float) -> T:
    """Call ``ask`` until it does not raise, and return what it returns.

    Raises its last exception after ``patience`` seconds. ``ask`` should do nothing but ask the storage: an error that
    comes again each time, such as a value that cannot be serialised, would be waited for as well.
    """
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 -- whatever a storage raises
        failure = error
    return ask_again(ask, failure, patience=patience)


def ask_again(ask: Callable[[], T], failure: Exception, *, patience: float) -> T:
    """Go on as ``ask_until_answered`` does, after ``ask`` has raised ``failure`` at the first call."""
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
    """Return a delay that is up to a fifth shorter, at random, so that many workers do not all ask at once."""
    return delay * random.uniform(0.8, 1.0)


class Outage:
    """Logs for one watcher, once, that the storage does not answer, and once that it answers again.

    The watcher owns it. It may use it in several threads, of which two at the same instant may both log.
    """

    def __init__(self, watcher: str, consequence: str) -> None:
        """``watcher`` names what asks the storage. ``consequence`` is a sentence on what does not happen meanwhile."""
        self._watcher = watcher
        self._consequence = consequence
        self._since: float | None = None  # When the outage began, by the monotonic clock. None while there is none.
        self._delay = 0.0  # Seconds. Begins anew with each outage.

    def note_failure(self, error: BaseException) -> float:
        """Note that the storage did not answer. Return after how many seconds to ask again."""
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
        """Note that the storage has answered."""
        since, self._since = self._since, None
        if since is not None:
            logger.warning("%s: the storage answers again, after %.1f s", self._watcher, time.monotonic() - since)
