"""One consumer for many tests, where starting one for each would take too long. Its workers are threads.

Each test has a queue of its own, and the workers take from the queue that is open. So a test ends only after all of its
tasks are executed, and the next test finds idle workers.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from aquila.huey.testing.attribute_patches import replace_attributes
from aquila.huey.testing.consumers.consumer_runs import run_consumer
from aquila.huey.testing.consumers.running_consumer import RunningConsumer
from aquila.huey.testing.consumers.worker_errors import WorkerErrors
from aquila.huey.testing.queue_under_test import use_test_queue


class SharedConsumer:
    """A consumer that serves one test after another. ``share_consumer`` yields it."""

    def __init__(self, huey: Any, running: RunningConsumer) -> None:
        self.huey = huey
        self._running = running
        # fork: a consumer of threads, which are the parent's
        self._lock = threading.Lock()  # Guards `_busy`: adding to a number is not atomic.
        self._busy = 0  # Workers that are taking a task out of the queue, or execute one.
        self._worker = threading.local()  # Whether this thread has taken the task that it executes next.

    @contextlib.contextmanager
    def serve(self) -> Iterator[RunningConsumer]:
        """Yield the consumer as a test sees it, and wait at the end until all tasks of the test are executed.

        At the end a miss or a refusal of a task is raised, as by ``run_consumer``; otherwise the first exception of a
        task that failed for good. Raises ``TaskError`` when the tasks do not end in time.
        """
        errors = _LaterErrors(self._running)
        consumer = RunningConsumer(self.huey, self._running.timeout, errors)
        try:
            yield consumer
        finally:
            # Also after a failure, because the next test must find idle workers. No miss ends this wait, only the time.
            idle = RunningConsumer(self.huey, self._running.timeout, errors)
            idle.ignore_unanswered()
            # A worker that waits in the server of the queue is counted as busy, and waits there again at once.
            with replace_attributes(self.huey.storage, blocking=False):
                idle.wait_for(self._is_idle, what="the end of all tasks")
        consumer.raise_unanswered()
        if consumer.errors:
            raise consumer.errors[0]

    def _is_idle(self) -> bool:
        # The queue is asked before and after. A task that leaves it is counted as busy before that, so it is not missed
        # by the first question; and a task that ends may have enqueued another one, which the last question finds.
        return not self.huey.pending_count() and not self._busy and not self.huey.pending_count()

    def _count(self, change: int) -> None:
        with self._lock:
            self._busy += change

    @contextlib.contextmanager
    def watch_workers(self) -> Iterator[None]:
        """Count the busy workers until the block ends."""
        dequeue, execute = self.huey.dequeue, self.huey.execute

        def counted_dequeue() -> Any:
            self._count(1)
            task = None
            try:
                task = dequeue()
            finally:
                if task is None:
                    self._count(-1)
                else:
                    self._worker.has_taken = True
            return task

        def counted_execute(task: Any, timestamp: Any = None) -> Any:
            has_taken, self._worker.has_taken = getattr(self._worker, "has_taken", False), False
            try:
                return execute(task, timestamp)
            finally:
                if has_taken:  # Otherwise the thread of a test performs a task, which was never counted.
                    self._count(-1)

        with replace_attributes(self.huey, dequeue=counted_dequeue, execute=counted_execute):
            yield


class _LaterErrors(WorkerErrors):
    """The errors of a consumer since this object was made."""

    def __init__(self, running: RunningConsumer) -> None:
        self._running = running
        self._before = len(running.errors)

    def collect(self) -> list[BaseException]:
        """Return the errors since this object was made."""
        return self._running.errors[self._before :]


@contextlib.contextmanager
def share_consumer(huey: Any, *, workers: int = 1, timeout: float = 30) -> Iterator[SharedConsumer]:
    """Run a consumer in threads until the block ends, and yield it for many tests.

    ``workers`` and ``timeout`` are those of ``run_consumer``. Raises ``ConfigError`` for an object that is not a Huey.
    """
    running = run_consumer(workers=workers, timeout=timeout, drain=False, raise_errors=False, huey=huey)
    with use_test_queue(huey), running as consumer:
        shared = SharedConsumer(huey, consumer)
        with shared.watch_workers():
            yield shared
