"""Run a real consumer for the length of a ``with`` block: in threads, processes, greenlets, or a program of its own."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import TYPE_CHECKING, Any, TypeVar, overload

from huey.constants import EmptyData
from huey.consumer import Consumer, Worker
from huey.storage import MemoryStorage
from huey.utils import Error

from aquila.errors import ConfigError, RemoteTaskError, TaskError
from aquila.huey.running_task import FLOW_CONTROL
from aquila.huey.scope_sharing import collect_misses, share_with_workers
from aquila.huey.testing.attribute_patches import replace_attributes
from aquila.huey.testing.consumer_delays import FIRST_DELAY, LONGEST_DELAY, QuickScheduler
from aquila.huey.testing.fixture_types import WorkerType
from aquila.huey.testing.queue_under_test import huey_under_test, innermost_test_queue
from aquila.recording.under_test import VARIABLE, under_test

if TYPE_CHECKING:
    from aquila.huey.task_types import Result

T = TypeVar("T")

_PAUSE = 0.01  # Seconds between two looks at a queue or a result.
_IN_MEMORY = ("", ":memory:")
_PROGRAM = "from aquila.huey.testing.consumer_program import main; main()"
_GREENLET_PROGRAM = f"from gevent import monkey; monkey.patch_all(); {_PROGRAM}"
_HOOK = "aquila run_consumer"


class RunningConsumer:
    """A consumer that works on the queue. ``run_consumer`` yields it.

    - ``errors``: the exceptions of tasks that failed for good, and what a worker otherwise only logs: a result that
      cannot be stored, a message that cannot be read. Those of worker processes are ``RemoteTaskError``. Those of a
      program of its own are missing.
    - ``process``: the program, with ``subprocess``. ``log`` is what it has written.
    - ``timeout``: the longest time to wait for anything, its start and its end too, in seconds.
    """

    def __init__(self, huey: Any, timeout: float, pause: Callable[[float], None] = time.sleep) -> None:
        self.huey = huey
        self.timeout = timeout
        self.errors: list[BaseException] = []
        self.process: Popen[bytes] | None = None
        self._pause = pause
        self._log_file = Path(os.devnull)

    @property
    def log(self) -> str:
        """What the program has written to its standard error."""
        return self._log_file.read_text(errors="replace")

    def wait_for(self, condition: Callable[[], T | None], *, timeout: float | None = None, what: str = "it") -> T:
        """Wait until ``condition()`` is true and return its value.

        ``what`` names it in the error. Raises ``TaskError`` after ``timeout`` seconds.
        """
        limit = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + limit
        while not (value := condition()):
            self.raise_if_ended()
            if time.monotonic() >= deadline:
                pending, scheduled = self.huey.pending_count(), self.huey.scheduled_count()
                raise TaskError(f"{what} did not come within {limit:g} s (pending: {pending}, scheduled: {scheduled})")
            self._pause(_PAUSE)
        return value

    @overload
    def wait(self, result: Result[T], /, *, timeout: float | None = None) -> T: ...
    @overload
    def wait(self, *results: Result[Any], timeout: float | None = None) -> list[Any]: ...
    def wait(self, *results: Result[Any], timeout: float | None = None) -> Any:
        """Wait for the results of tasks and return them: one value, or a list of several. They stay in the store.

        A task that returns None stores nothing, unless the Huey has ``store_none=True``, and is never ready. An error
        that a retry follows is not a result. Raises ``RemoteTaskError`` for a task that failed for good, ``TaskError``
        after ``timeout`` seconds.
        """
        values = []
        for result in results:
            what = f"the result of {result.task!r}"
            (value,) = self.wait_for(functools.partial(self._read_final_result, result.id), timeout=timeout, what=what)
            if isinstance(value, Error):
                raise RemoteTaskError(result.task.name, f"{value.metadata['error']}\n{value.metadata['traceback']}")
            values.append(value)
        return values[0] if len(values) == 1 else values

    def _read_final_result(self, task_id: str) -> tuple[Any] | None:
        # From the storage: the Result keeps the first error that it sees, and a retry may follow.
        data = self.huey.storage.peek_data(task_id)
        if data is EmptyData:
            return None
        value = self.huey.serializer.deserialize(data)
        return None if isinstance(value, Error) and value.metadata.get("retries") else (value,)

    def wait_until_empty(self, *, scheduled: bool = False, timeout: float | None = None) -> None:
        """Wait until no task is in the queue, nor in the schedule if ``scheduled``. Some may still be executing."""
        self.wait_for(
            lambda: not self.huey.pending_count() and not (scheduled and self.huey.scheduled_count()),
            timeout=timeout,
            what="an empty queue",
        )

    def raise_if_ended(self) -> None:
        """Raise ``TaskError`` if the program has ended."""
        if self.process is not None and (code := self.process.poll()) is not None:
            raise TaskError(f"the consumer has ended with code {code}; it wrote:\n{self.log[-2000:]}")


class _ClosingWorker(Worker):  # type: ignore[misc]
    def shutdown(self) -> None:
        """Close the Postgres connection that listens, one for each thread. Huey leaves it to the garbage collector."""
        super().shutdown()
        if hasattr(self.huey.storage, "_listen_local"):
            self.huey.storage.close()


class _TestConsumer(Consumer):  # type: ignore[misc]
    scheduler_class = QuickScheduler
    worker_class = _ClosingWorker

    def _set_signal_handlers(self) -> None:
        """Keep pytest's handlers: Huey would replace that of SIGINT for good, and raise off the main thread."""

    @property
    def is_alive(self) -> bool:
        workers = [process for _, process in self.worker_threads]
        return any(self.environment.is_alive(process) for process in [*workers, self.scheduler])


@contextlib.contextmanager
def run_consumer(
    worker_type: WorkerType = "thread",
    workers: int = 1,
    *,
    subprocess: bool | str = False,
    periodic: bool = False,
    drain: bool = True,
    raise_errors: bool = True,
    timeout: float = 30,
    huey: Any = None,
) -> Iterator[RunningConsumer]:
    """Run a real consumer for the length of the block, and wait at its end until no task is executing.

    - ``worker_type``, ``workers``: the kind and the number of workers, as for ``huey_consumer``.
    - ``subprocess``: run ``huey_consumer`` as a program of its own, for the Huey at this import path
      (``"myapp.tasks.huey"``). True takes the path from the ini key ``aquila_huey``.
    - ``periodic``: enqueue periodic tasks too, some of them at once.
    - ``drain``: at the end of the block wait until the queue is empty.
    - ``raise_errors``: at the end of the block raise the first exception of a task that failed for good.
    - ``timeout``: the longest time to wait for anything, in seconds.
    - ``huey``: the Huey under test by default.

    Raises ``ConfigError`` where workers cannot see the queue, which are processes with a memory storage. Raises
    ``TaskError`` when the consumer does not start or end in time.
    """
    huey = huey_under_test(huey)
    mode = innermost_test_queue(huey)
    if mode is not None and mode.mode == "inline":
        raise ConfigError(
            "an inline test queue executes tasks at once, and leaves a consumer nothing to do: use mode='manual'"
        )
    outside = worker_type == "process" or bool(subprocess)
    if outside and (isinstance(huey.storage, MemoryStorage) or getattr(huey.storage, "filename", None) in _IN_MEMORY):
        raise ConfigError(
            f"worker processes cannot see the {type(huey.storage).__name__} of this process: give use_test_queue "
            "another storage, or set `aquila_huey_storage = own` in the ini file to use that of the Huey"
        )
    options = {"workers": workers, "periodic": periodic}
    scope = share_with_workers(huey) if outside else None
    running = (
        _run_as_program(huey, subprocess, worker_type, options, timeout)
        if subprocess
        else _run_in_process(huey, worker_type, options, timeout, drain)
    )
    with under_test(), running as consumer:
        yield consumer
        if drain:
            consumer.wait_until_empty()
    if scope is not None:
        scope.sessions.adopt_shared_plays()
        collect_misses(huey, scope)
    if consumer.errors and raise_errors:
        raise consumer.errors[0]


@contextlib.contextmanager
def _run_in_process(
    huey: Any, worker_type: str, options: Any, timeout: float, drain: bool
) -> Iterator[RunningConsumer]:
    """Run a consumer whose workers are threads, greenlets or forks of this process."""
    running = RunningConsumer(huey, timeout, _green_sleep if worker_type == "greenlet" else time.sleep)
    with contextlib.ExitStack() as stack:
        # A consumer sets the handler of its kind of worker on the Huey, and leaves it there.
        stack.enter_context(replace_attributes(huey, _timeout_handler=huey._timeout_handler))
        if getattr(huey.storage, "read_timeout", None):  # How long a worker waits in the server before it sees the end.
            stack.enter_context(replace_attributes(huey.storage, read_timeout=LONGEST_DELAY))
        if (
            worker_type == "greenlet"
        ):  # A worker that waits in the server would stop all of them: gevent patches nothing here.
            stack.enter_context(replace_attributes(huey.storage, blocking=False))
        stack.enter_context(_collect_errors(huey, running.errors))
        consumer = _start_consumer(huey, worker_type, options, timeout)
        try:
            yield running
        except BaseException:
            consumer.stop(graceful=True)
            raise
        _stop_consumer(huey, consumer, timeout)
        while (
            drain and huey.pending_count()
        ):  # A task that was still executing has enqueued others. A consumer cannot start again.
            consumer = _start_consumer(huey, worker_type, options, timeout)
            running.wait_until_empty()
            _stop_consumer(huey, consumer, timeout)


def _start_consumer(huey: Any, worker_type: str, options: Any, timeout: float) -> _TestConsumer:
    consumer = _TestConsumer(
        huey,
        worker_type=worker_type,
        check_worker_health=False,
        shutdown_timeout=timeout,
        initial_delay=FIRST_DELAY,
        max_delay=LONGEST_DELAY,
        **options,
    )
    with warnings.catch_warnings():
        # Python warns of forking beside other threads; that is what process workers under a test runner are.
        warnings.simplefilter("ignore", DeprecationWarning)
        consumer.start()
    return consumer


def _stop_consumer(huey: Any, consumer: _TestConsumer, timeout: float) -> None:
    consumer.stop(graceful=True)
    if consumer.is_alive:
        stuck = ", ".join(repr(task) for task in huey._tasks_in_flight) or "in another process"
        huey.notify_interrupted_tasks()
        raise TaskError(f"the consumer did not end within {timeout:g} s; still executing: {stuck}")


@contextlib.contextmanager
def _collect_errors(huey: Any, errors: list[BaseException]) -> Iterator[None]:
    """Collect the errors of tasks, and what Huey's workers only log. Forks write theirs as text into a file."""
    execute, dequeue, parent = huey.execute, huey.dequeue, os.getpid()

    with tempfile.TemporaryDirectory(prefix="aquila-") as folder:
        file = Path(folder, "errors")

        def note(error: BaseException) -> None:
            if os.getpid() == parent:
                errors.append(error)
                return
            text = "".join(traceback.format_exception(error))
            with file.open("a", encoding="utf-8", errors="replace") as stream:
                stream.write(f"{type(error).__module__}.{type(error).__qualname__}\0{text}\0")

        def watched_execute(task: Any, timestamp: Any = None) -> Any:
            try:
                return execute(task, timestamp)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # noqa: BLE001 -- pytest.fail() in a task would end the worker unseen
                note(error)

        def watched_dequeue() -> Any:
            try:
                return dequeue()
            except Exception as error:
                note(error)
                raise

        def failed(task: Any, value: Any, error: BaseException | None) -> None:
            if error is not None and not task.retries and not isinstance(error, FLOW_CONTROL):
                note(error)

        huey.post_execute(_HOOK)(failed)
        try:
            with replace_attributes(huey, execute=watched_execute, dequeue=watched_dequeue):
                yield
        finally:
            huey.unregister_post_execute(_HOOK)
            if file.exists():
                parts = file.read_text(encoding="utf-8").split("\0")
                errors += [RemoteTaskError(*pair) for pair in zip(parts[::2], parts[1::2], strict=False)]


@contextlib.contextmanager
def _run_as_program(
    huey: Any, path: bool | str, worker_type: str, options: Any, timeout: float
) -> Iterator[RunningConsumer]:
    """Run ``huey_consumer`` as in production, in a program of its own."""
    if not isinstance(path, str):
        raise ConfigError('the program needs the import path of its Huey: pass subprocess="myapp.tasks.huey"')
    # In a greenlet consumer everything that blocks must be patched before it is imported.
    start = ["-c", _GREENLET_PROGRAM if worker_type == "greenlet" else _PROGRAM]
    delays = ["-d", str(FIRST_DELAY), "-m", str(LONGEST_DELAY)]
    workers = ["-k", worker_type, "-w", str(options["workers"]), *([] if options["periodic"] else ["-n"])]
    running = RunningConsumer(huey, timeout)
    with tempfile.TemporaryDirectory(prefix="aquila-") as folder:
        running._log_file = Path(folder, "log")
        with running._log_file.open("wb") as log:
            running.process = Popen(
                [sys.executable, *start, path.replace(":", "."), *delays, *workers],
                # The program finds the same modules in the same order as this process, and takes part in its tests.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), VARIABLE: "1"},
                stderr=log,
            )
        try:
            running.wait_for(lambda: "Huey consumer started" in running.log, what="the start of the consumer")
            yield running
            running.raise_if_ended()
        except BaseException:
            running.process.kill()
            raise
        finally:
            running.process.send_signal(signal.SIGINT)  # Ends the tasks that execute; SIGTERM would lose them.
            try:
                running.process.wait(running.timeout)
            except TimeoutExpired:
                running.process.kill()
                running.process.wait()
                raise TaskError(
                    f"the consumer did not end within {running.timeout:g} s:\n{running.log[-2000:]}"
                ) from None


def _green_sleep(seconds: float) -> None:
    importlib.import_module("gevent").sleep(seconds)
