"""A storage that is away: its consumer says so once, and once that it answers again. Huey says it for each attempt.

It says it again where the reason is another, and once in a while: who reads the log later must not take it for over.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import Any

logger = logging.getLogger("huey.aquila")

QUEUE, SCHEDULE = "Error reading from queue", "Error reading schedule."
"""What Huey's worker and its scheduler log where the storage does not answer."""

_SAID_EVERY = 60.0
"""Seconds after which a trouble that goes on is said again."""

_ATTRIBUTE = "_aquila_reading_trouble"


class ReadingTrouble:
    """What the workers of a process know of each other: since when the storage is away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: float | None = None
        self._said: dict[type[BaseException] | None, float] = {}

    def begin(self, error: BaseException | None = None) -> bool:
        """Note a failure. Returns whether it is to be said: it is the first of its kind for a while."""
        with self._lock:
            now, kind = time.monotonic(), None if error is None else type(error)
            self._failed = now
            # Of each kind: two that take turns are not said each time.
            is_news = kind not in self._said or now - self._said[kind] >= _SAID_EVERY
            if is_news:
                self._said[kind] = now
            return is_news

    def end(self, began: float) -> bool:
        """Note that the storage has answered what was asked at a moment. Returns whether it was away until then."""
        with self._lock:
            if self._failed is None or began <= self._failed:
                return False
            self._failed = None
            self._said.clear()
            return True


class SaysOnce(logging.LoggerAdapter):  # type: ignore[type-arg]
    """Logs for a worker, or a scheduler, as Huey does, but ``failure`` only where this process has not just said it.

    After it the worker goes through ``_loop_watched`` until it was answered. Before, nothing of its time is taken.
    """

    def __init__(self, logger: logging.Logger, worker: Any, failure: str) -> None:
        super().__init__(logger, {})
        self._worker = worker
        self._failure = failure
        troubles = vars(worker.huey).setdefault(_ATTRIBUTE, {QUEUE: ReadingTrouble(), SCHEDULE: ReadingTrouble()})
        self._trouble: ReadingTrouble = troubles[failure]
        self._has_failed = False

    def exception(self, msg: object, *args: object, **options: Any) -> None:
        """Log an error with its traceback."""
        if msg != self._failure:
            super().exception(msg, *args, **options)
            return
        self._has_failed = True
        self._worker.loop = self._loop_watched
        if self._trouble.begin(sys.exc_info()[1]):
            super().exception(msg, *args, **options)
        else:
            super().debug(msg, *args, exc_info=True)

    def _loop_watched(self, now: Any = None) -> None:
        began, worker = time.monotonic(), self._worker
        self._has_failed, due = False, getattr(worker, "_next_loop", began)
        type(worker).loop(worker, now)
        if self._has_failed or due + getattr(worker, "interval", 0) < began:  # A scheduler that is late does not look.
            return
        worker.__dict__.pop("loop", None)
        if self._trouble.end(began):
            what = "queue" if self._failure == QUEUE else "schedule"
            logger.warning("the %s of %r can be read again", what, worker.huey.name)
