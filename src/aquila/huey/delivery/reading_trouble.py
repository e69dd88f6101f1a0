"""Logs once that a storage does not answer, and once that it answers again. Huey logs an outage at each attempt.

The outage is logged again for another reason, and once a minute: somebody who reads the end of the log must not think
that the storage answers.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from typing import Any

from aquila.fork_locks import renewed_in_child

logger = logging.getLogger("huey.aquila")

QUEUE, SCHEDULE = "Error reading from queue", "Error reading schedule."
"""The texts that the worker and the scheduler of Huey 3.5 log where the storage does not answer. With other texts every
attempt would be logged, as by Huey itself."""

_SAID_EVERY = 60.0
"""Seconds after which an outage that goes on is logged again."""

_ATTRIBUTE = "_aquila_reading_trouble"
"""The attribute of a Huey that has its two ``ReadingTrouble``. All workers of the process share them."""


class ReadingTrouble:
    """The outage of a storage. All workers of a process share one object, so that only one of them logs the outage."""

    def __init__(self) -> None:
        self._lock = renewed_in_child(threading.Lock())  # Guards both attributes. The first answer clears them.
        self._failed: float | None = None  # When a worker has last failed, by the monotonic clock.
        self._said: dict[type, float] = {}  # When an error of each class was last logged.

    def begin(self, error: BaseException | None) -> bool:
        """Note a failure. Returns whether to log it, because it is the first of its class for a while."""
        with self._lock:
            now, kind = time.monotonic(), type(error)
            self._failed = now
            # By class, so that two errors that take turns are not logged each time.
            is_news = kind not in self._said or now - self._said[kind] >= _SAID_EVERY
            if is_news:
                self._said[kind] = now
            return is_news

    def end(self, began: float) -> bool:
        """Note that the storage has answered. Returns whether that ends an outage, which is to be logged.

        ``began`` is when the question was asked, by the monotonic clock. An answer to a question that was asked before
        the last failure does not end the outage.
        """
        with self._lock:
            if self._failed is None or began <= self._failed:
                return False
            self._failed = None
            self._said.clear()
            return True


class OncePerOutageLogger(logging.LoggerAdapter):  # type: ignore[type-arg]
    """The logger of a worker or a scheduler. It logs the text ``failure`` only once for each outage of the storage.

    After the first failure it puts ``_loop_watched`` in the place of the worker's ``loop``, until the storage answers.
    So a worker whose storage answers spends no time here.
    """

    def __init__(self, logger: logging.Logger, worker: Any, failure: str) -> None:
        super().__init__(logger, {})
        self._worker = worker
        self._failure = failure
        troubles = vars(worker.huey).setdefault(_ATTRIBUTE, {QUEUE: ReadingTrouble(), SCHEDULE: ReadingTrouble()})
        self._trouble: ReadingTrouble = troubles[failure]
        self._has_failed = False  # Whether the present round of `_loop_watched` has failed. One thread uses it.

    def exception(self, msg: object, *args: object, **options: Any) -> None:
        """Log an error with its traceback. An outage that was logged just now goes to the level ``DEBUG``."""
        if msg != self._failure:
            super().exception(msg, *args, **options)
            return
        self._has_failed = True
        # An attribute of the instance hides the method. Huey looks `loop` up anew in each round.
        self._worker.loop = self._loop_watched
        if self._trouble.begin(sys.exc_info()[1]):
            super().exception(msg, *args, **options)
        else:
            super().debug(msg, *args, exc_info=True)

    def _loop_watched(self, now: Any = None) -> None:
        began, worker = time.monotonic(), self._worker
        self._has_failed, due = False, getattr(worker, "_next_loop", began)
        type(worker).loop(worker, now)
        # A scheduler of Huey that is late skips the round without asking the storage.
        if self._has_failed or due + getattr(worker, "interval", 0) < began:
            return
        worker.__dict__.pop("loop", None)
        if self._trouble.end(began):
            what = "queue" if self._failure == QUEUE else "schedule"
            logger.warning("the %s of %r can be read again", what, worker.huey.name)
