"""A storage that is away: its consumer says so once, and once that it answers again. Huey says it for each attempt."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

logger = logging.getLogger("huey.aquila")

QUEUE, SCHEDULE = "Error reading from queue", "Error reading schedule."
"""What Huey's worker and its scheduler log where the storage does not answer."""

_ATTRIBUTE = "_aquila_reading_trouble"


class ReadingTrouble:
    """What the workers of a process know of each other: since when the storage is away."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed: float | None = None

    def begin(self) -> bool:
        """Note a failure. Returns whether it is the first."""
        with self._lock:
            is_first, self._failed = self._failed is None, time.monotonic()
            return is_first

    def end(self, began: float) -> bool:
        """Note that the storage has answered what was asked at a moment. Returns whether it was away until then."""
        with self._lock:
            if self._failed is None or began <= self._failed:
                return False
            self._failed = None
            return True


class SaysOnce(logging.LoggerAdapter):  # type: ignore[type-arg]
    """Logs for a worker, or a scheduler, as Huey does, but ``failure`` only where it is the first of this process.

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
        if self._trouble.begin():
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
