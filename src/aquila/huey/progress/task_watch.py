"""Watches the task of a stream in a thread of its own, because the reader may be waiting for the provider.

The storage may not answer for seconds, or not at all. So only that thread waits for it, and at the end the reader waits
a bounded time until the last text is stored. The call of the stream ends a wait at the time limit of its task; here the
limit ends a reader who is slow, although more events are there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from huey.exceptions import CancelExecution

from aquila.errors import NotSerializable
from aquila.huey.progress.storage_patience import Outage, logger
from aquila.huey.tasks.running_task import CurrentTask
from aquila.huey.tasks.task_ends import is_lost

PATIENCE = 5.0
"""Seconds for which the end of a stream that was cut waits for the storage. A retry may go on from the stored text."""
PATIENCE_WHEN_COMPLETE = 1.0
"""Seconds for which the end of a complete stream waits for the storage. Its text so far is then of little use."""


class TaskWatch:
    """Watches one task while it reads one stream.

    - ``current``: the task.
    - ``every``: seconds between two looks, at which the text is stored and the storage is asked for a revocation.
    - ``store``: stores the text so far, if there is more of it than before. Called in the thread that asks the storage.
    - ``end_stream``: closes the connection of the stream. Called in that thread.
    """

    def __init__(
        self, current: CurrentTask, every: float, *, store: Callable[[], None], end_stream: Callable[[], None]
    ) -> None:
        self._current = current
        self._every = every
        self._store = store
        self._end_stream = end_stream
        # fork: of one stream of a task, whose threads are the parent's
        # Whoever reads the reason waits until the stream has ended, so that nobody closes it before.
        self._lock = threading.Lock()
        self._reason: Exception | None = None  # Why the task must end. Set once, by `_end_with`.
        self._finishing = threading.Event()  # Set once, by `finish`; it ends the thread that asks the storage.
        self._patience = PATIENCE  # Set by `finish` before `_finishing`, and read by the thread after it.
        self._abandoned = False  # The reader has gone on without waiting for the thread.
        self._outage = Outage(
            f"task {current.id}",
            "Its stream goes on; until the storage answers, no text so far is stored and no revocation is seen.",
        )
        name = f"aquila-follow-{current.id}"
        self._asking = threading.Thread(target=self._ask_storage, name=name, daemon=True)

    @property
    def is_running(self) -> bool:
        """Whether ``start`` was called, and ``finish`` was not."""
        return self._asking.ident is not None and not self._finishing.is_set()

    def start(self) -> None:
        """Start the thread."""
        self._asking.start()

    def finish(self, *, is_complete: bool) -> None:
        """Store the last text and end the thread. Never raises.

        Waits for the storage, longer if the answer is not complete; see ``PATIENCE``. A thread that still hangs then is
        left to itself. It is a daemon.
        """
        self._patience = PATIENCE_WHEN_COMPLETE if is_complete else PATIENCE
        self._finishing.set()
        self._asking.join(self._patience + 0.5)  # The thread gives up first, unless a call of the storage hangs.
        if self._asking.is_alive():
            self._abandoned = True
            logger.warning(
                "task %s: the storage does not answer, and the task goes on before its last text is stored",
                self._current.id,
            )

    def raise_if_ended(self) -> None:
        """Raise the exception by which the task ends, a time limit or a revocation of Huey, if it must end."""
        with self._lock:
            if self._reason is not None:
                raise self._reason
        self._current.task.check_timeout()

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
        """Store the text, and look whether the task was revoked. Return after how many seconds to do so again.

        With ``last`` the task is over, so a revocation is not looked for, and 0 says that the text is stored.
        """
        if is_lost(self._current.task):  # Whatever it stored would take the place of what the other execution stores.
            self._end_with(CancelExecution("taken over by another consumer", retry=False))
            return 0.0 if last else self._every
        error = None
        try:
            self._store()
        except NotSerializable as refusal:  # Not an error of the storage, so asking again does not help.
            logger.warning("task %s: its text so far is not stored: %s", self._current.id, refusal)
        except Exception as failure:  # noqa: BLE001 -- whatever a storage raises, the task is watched
            error = failure
        if not last:
            try:
                # Also after a failure: a storage that cannot write, because its disk is full, may still answer.
                if self._reason is None and self._current.is_revoked():
                    self._end_with(CancelExecution("revoked", retry=False))
            except Exception as failure:  # noqa: BLE001 -- whatever a storage raises
                error = error or failure
        if error is not None:
            return self._outage.note_failure(error)
        self._outage.note_answer()
        return 0.0 if last else self._every
