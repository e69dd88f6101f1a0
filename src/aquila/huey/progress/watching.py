"""Watches the task of a stream, from threads of its own: the reader may be waiting for the provider.

The storage may not answer for seconds, or not at all. So no thread waits for it but the one that asks it: the time
limit has a thread of its own, and the reader waits for the last text for a while only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from huey.exceptions import CancelExecution, TaskTimeout

from aquila.errors import NotSerializable
from aquila.huey.progress.storage_patience import Outage, logger
from aquila.huey.running_task import CurrentTask

PATIENCE = 5.0
"""Seconds for which the end of a stream that was cut waits for the storage: a retry may go on from its text."""
PATIENCE_WHEN_COMPLETE = 1.0
"""The same where the answer is there, and its text so far matters only to whoever reads it meanwhile."""


class TaskWatch:
    """Watches one task while it reads one stream.

    - ``store`` stores the text so far, if there is more of it than before. It is called in the thread of the storage.
    - ``end_stream`` closes the connection of the stream. It is called in either thread.
    """

    def __init__(
        self, current: CurrentTask, every: float, *, store: Callable[[], None], end_stream: Callable[[], None]
    ) -> None:
        self._current = current
        self._every = every
        self._store = store
        self._end_stream = end_stream
        self._lock = threading.Lock()
        self._reason: Exception | None = None
        self._finishing = threading.Event()
        self._patience = PATIENCE
        self._abandoned = False
        self._outage = Outage(
            f"task {current.id}",
            "Its stream goes on; until the storage answers, no text so far is stored and no revocation is seen.",
        )
        name = f"aquila-follow-{current.id}"
        self._asking = threading.Thread(target=self._ask_storage, name=name, daemon=True)
        self._timer: threading.Timer | None = None

    @property
    def is_running(self) -> bool:
        """Whether ``start`` was called, and ``finish`` was not."""
        return self._asking.ident is not None and not self._finishing.is_set()

    def start(self) -> None:
        """Begin to watch."""
        task = self._current.task
        if task.timeout:
            # Not before the limit has struck for Huey too.
            self._timer = threading.Timer(
                task.time_remaining, self._end_with, (TaskTimeout(f"timeout {task.timeout}s"),)
            )
            self._timer.daemon = True
            self._timer.start()
        self._asking.start()

    def finish(self, *, is_complete: bool) -> None:
        """Store the last text and end the threads. Never raises, and waits for the storage for a while only."""
        if self._timer is not None:
            self._timer.cancel()
        self._patience = PATIENCE_WHEN_COMPLETE if is_complete else PATIENCE
        self._finishing.set()
        self._asking.join(self._patience + 0.5)  # it gives up by itself first, unless a call hangs
        if self._asking.is_alive():
            self._abandoned = True
            logger.warning(
                "task %s: the storage does not answer, and its last text so far is not waited for", self._current.id
            )

    def raise_if_ended(self) -> None:
        """Raise the exception that ends the task, if it must end."""
        if self._reason is not None:
            raise self._reason

    def _end_with(self, reason: Exception) -> None:
        with self._lock:
            if self._reason is not None or self._finishing.is_set():
                return
            self._reason = reason
        self._end_stream()

    def _ask_storage(self) -> None:
        delay = self._every
        while not self._finishing.wait(delay):
            delay = self._ask_once()
        gives_up = time.monotonic() + self._patience
        while (delay := self._ask_once(last=True)) > 0 and not self._abandoned:
            if time.monotonic() + delay > gives_up:
                logger.warning("task %s: its last text so far could not be stored", self._current.id)
                return
            time.sleep(delay)

    def _ask_once(self, *, last: bool = False) -> float:
        """Store the text, and look whether the task was revoked. Return the seconds after which to do so again."""
        error = None
        try:
            self._store()
        except NotSerializable as refusal:  # that is not the storage, and asking again does not help
            logger.warning("task %s: its text so far is not stored: %s", self._current.id, refusal)
        except Exception as failure:  # noqa: BLE001 -- whatever a storage raises, the task is watched
            error = failure
        if not last:
            try:
                # After a failure too: a storage that takes no values may tell them all the same.
                if self._reason is None and self._current.is_revoked():
                    self._end_with(CancelExecution("revoked", retry=False))
            except Exception as failure:  # noqa: BLE001
                error = error or failure
        if error is not None:
            return self._outage.note_failure(error)
        self._outage.note_answer()
        return 0.0 if last else self._every
