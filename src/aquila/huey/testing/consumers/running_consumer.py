"""A real consumer that works on the queue of a test, as the test sees it. ``consumer_runs`` starts and ends it."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import Popen
from typing import TYPE_CHECKING, Any, TypeVar, overload

from huey.api import ChordResult, ResultGroup
from huey.constants import EmptyData
from huey.utils import Error

from aquila.errors import RemoteTaskError, TaskError
from aquila.huey.scopes.scope_sharing import collect_misses
from aquila.huey.testing.consumers.worker_errors import WorkerErrors
from aquila.intercept.queues import queue_places
from aquila.recording import runtime
from aquila.recording.miss_outcomes import suit_to_place
from aquila.recording.reporting.child_messages import hear_refusals, messages_folder
from aquila.recording.storing.machine_clock import machine_seconds
from aquila.signal_names import name_signal

if TYPE_CHECKING:
    from aquila.errors import UnansweredRequest
    from aquila.huey.tasks.task_types import Result

T = TypeVar("T")

_PAUSE = 0.01  # Seconds between two looks at a queue or a result.


def describe_executing(huey: Any) -> str:
    """Return the tasks that execute, as text: none where the workers are processes, which alone know theirs."""
    return ", ".join(repr(task) for task in list(huey._tasks_in_flight))  # private to Huey 3.5


class RunningConsumer:
    """A consumer that works on the queue. ``run_consumer`` yields it.

    - ``errors``: the exceptions of tasks that failed for good, and errors that a worker only logs: a result that cannot
      be stored, a message that cannot be read. Exceptions of other processes are ``RemoteTaskError``.
    - ``process``: the program, if there is one. ``log`` is what it has written to its standard error.
    - ``timeout``: the longest time to wait for anything, also for its start and its end, in seconds.

    Examples:
        >>> from aquila.huey import MemoryHuey
        >>> from aquila.huey.testing import run_consumer, use_test_queue
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task()
        ... def add(a, b):
        ...     return a + b
        >>> with use_test_queue(huey), run_consumer() as consumer:
        ...     result = add(1, 2)
        ...     consumer.wait(result), consumer.errors
        (3, [])
    """

    def __init__(
        self, huey: Any, timeout: float, worker_errors: WorkerErrors, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.huey = huey
        self.timeout = timeout
        self._worker_errors = worker_errors
        self._unanswered: UnansweredRequests | None = UnansweredRequests(huey)
        self.process: Popen[bytes] | None = None
        self.worker_processes: list[BaseProcess] = []
        """The forks of this process that work, if the workers are processes."""
        self._pause = pause
        self._log, self._log_file = "", Path(os.devnull)

    @property
    def errors(self) -> list[BaseException]:
        """The errors so far, the oldest first."""
        return self._worker_errors.collect()

    @property
    def log(self) -> str:
        """What the program has written to its standard error."""
        self.remember_log()
        return self._log

    def remember_log(self) -> None:
        """Read what the program has written so far. Its file is removed at the end of the block."""
        with contextlib.suppress(FileNotFoundError):
            self._log = self._log_file.read_text(errors="replace")

    def wait_for(
        self, condition: Callable[[], T | None], *, timeout: float | None = None, what: str = "the condition"
    ) -> T:
        """Wait until ``condition()`` is true, and return its value.

        ``what`` is its name in the error. Raises ``TaskError`` after ``timeout`` seconds, by default those of the
        consumer. Raises it at once if the program or a worker process has ended. The end of a worker process is no
        error while others work, if they take over its task or errors are ignored. A miss of a task, or a request that
        the guard refused, is raised at once, too.
        """
        return self._wait_for(condition, timeout, what)

    def _wait_for(
        self, condition: Callable[[], T | None], timeout: float | None, what: str, hint: str = "", task_id: str = ""
    ) -> T:
        """Do what ``wait_for`` does. ``hint`` is a likely cause where no task is left, and none failed.

        ``task_id`` is that of the task whose result is waited for, if it is one.
        """
        limit = self.timeout if timeout is None else timeout
        deadline = machine_seconds() + limit
        while not (value := condition()):
            self.raise_if_ended()
            self.raise_unanswered()
            if machine_seconds() >= deadline:
                self.raise_unanswered(ask_storage=True)
                pending, scheduled = self.huey.pending_count(), self.huey.scheduled_count()
                text = f"{what} did not come within {limit:g} s (pending: {pending}, scheduled: {scheduled})"
                if task_id and isinstance(last := self._read_result(task_id), Error):
                    text += f"; a retry is to follow its last error, {last.metadata['error']}"
                if executing := describe_executing(self.huey):
                    text += f"; still executing: {executing}"
                if failed := self.errors:  # For example a message that no worker can read.
                    raise TaskError(f"{text}. A worker failed: {failed[0]}")
                if not (pending or scheduled or executing):
                    text += hint
                raise TaskError(text + self._advise_sharing())
            self._pause(_PAUSE)
        return value

    def _advise_sharing(self) -> str:
        """Say what may have taken a task away: a worker of pytest-xdist, where all have one storage."""
        worker, storage = os.environ.get("PYTEST_XDIST_WORKER"), self.huey.storage
        if not worker or not queue_places.is_real(storage) or worker in queue_places.name_place(storage):
            return ""
        return (
            f". Other workers of pytest-xdist may have emptied {queue_places.name_place(storage)}: give each a storage "
            "of its own, with the variable PYTEST_XDIST_WORKER in the name of the Huey or of its file"
        )

    @overload
    def wait(self, result: Result[T], /, *, timeout: float | None = None) -> T: ...
    @overload
    def wait(self, *results: Any, timeout: float | None = None) -> list[Any]: ...
    def wait(self, *results: Any, timeout: float | None = None) -> Any:
        """Wait for the results of tasks, and return their values: one value, or a list for several results.

        A pipeline, or what ``task.map`` returns, has a list of values, and a chord that of its callback. The values
        stay in the result store. A task that returns None stores nothing, unless the Huey has ``store_none=True``, and
        is never ready. An error that a retry follows is not a result. Raises ``RemoteTaskError`` for a task that failed
        for good, and ``TaskError`` after ``timeout`` seconds.
        """
        values = [self._wait_for_value(result, timeout) for result in results]
        return values[0] if len(values) == 1 else values

    def _wait_for_value(self, result: Any, timeout: float | None) -> Any:
        if isinstance(result, ResultGroup):
            return [self._wait_for_value(each, timeout) for each in result]
        if isinstance(result, ChordResult):
            result = result.callback
        what = f"the result of {result.task!r}"
        hint = ""
        if not self.huey.store_none:
            # It may still execute: workers in other processes do not say here what they execute.
            hint = (
                ". It still executes, or it has returned None, which is not stored: return something, or give the Huey "
                "store_none=True"
            )
        (value,) = self._wait_for(functools.partial(self._read_final_result, result.id), timeout, what, hint, result.id)
        if isinstance(value, Error):
            self.raise_unanswered(ask_storage=True)
            raise RemoteTaskError(result.task.name, f"{value.metadata['error']}\n{value.metadata['traceback']}")
        return value

    def _read_final_result(self, task_id: str) -> tuple[Any] | None:
        value = self._read_result(task_id)
        return None if value is EmptyData or (isinstance(value, Error) and value.metadata.get("retries")) else (value,)

    def _read_result(self, task_id: str) -> Any:
        """Return what the storage has as the result of a task so far, or ``EmptyData``.

        Huey's `Result` keeps the first error that it sees, and a retry may follow.
        """
        data = self.huey.storage.peek_data(task_id)
        return data if data is EmptyData else self.huey.serializer.deserialize(data)

    def wait_until_empty(self, *, scheduled: bool = False, timeout: float | None = None) -> None:
        """Wait until no task is in the queue and, with ``scheduled``, none in the schedule. Some may still execute.

        Raises as ``wait_for`` does.
        """
        self.wait_for(
            lambda: not self.huey.pending_count() and not (scheduled and self.huey.scheduled_count()),
            timeout=timeout,
            what="an empty queue",
        )

    def ignore_unanswered(self) -> None:
        """Raise no more errors for misses and refused requests."""
        self._unanswered = None

    def raise_unanswered(self, *, ask_storage: bool = False) -> None:
        """Raise the first miss or refusal of a task since the consumer was started, if there is one.

        ``ask_storage``: also look into the result store, where workers in other processes put their misses.
        """
        found = self._unanswered.find_first(ask_storage=ask_storage) if self._unanswered is not None else None
        if found is not None:
            raise suit_to_place(found)

    def raise_if_ended(self) -> None:
        """Raise ``TaskError`` if the program has ended, or if a worker process has ended as no worker should."""
        if self.process is not None and (code := self.process.poll()) is not None:
            raise TaskError(f"the consumer has ended with code {code}; it wrote:\n{self.log[-2000:]}")
        # A worker that an interrupt of its task has ended has exit code 0.
        if code := next((worker.exitcode for worker in self.worker_processes if worker.exitcode), 0):
            # With `keep_running` another one takes the task over. And a test that ignores errors may wait for others.
            may_die = getattr(self.huey, "keep_running", False) or self._unanswered is None
            if may_die and any(worker.is_alive() for worker in self.worker_processes):
                return
            how = f"was killed by {name_signal(-code)}" if code < 0 else f"has ended with code {code}"
            raise TaskError(f"a worker process {how}, and no other one takes over the task that it executed")


class UnansweredRequests:
    """The misses and refusals since this object was made, in this process and in those that it has started since."""

    def __init__(self, huey: Any) -> None:
        self._huey = huey
        self._run = runtime.current_run()
        messages_folder(self._run)  # Made now, because a fork that is made later writes into it.
        # How many there were before. Earlier misses and refusals belong to the test itself, or to another consumer.
        self._misses = {scope.id: len(scope.misses.hear()) for scope in self._run.scopes.surrounding()}
        self._refusals = len(self._run.test.refusals) if self._run.test is not None else 0

    def find_first(self, *, ask_storage: bool = False) -> UnansweredRequest | None:
        """Return the first miss, or the first refusal, or None.

        ``ask_storage``: first collect misses from the result store. Refusals are only remembered in a test of pytest.
        """
        for scope in self._run.scopes.surrounding():
            if ask_storage and scope.is_owner:
                collect_misses(self._huey, scope)
            if misses := scope.misses.hear()[self._misses.get(scope.id, 0) :]:
                return misses[0]
        test = self._run.test
        if test is None:
            return None
        hear_refusals(self._run)
        return next(iter(test.refusals[self._refusals :]), None)
