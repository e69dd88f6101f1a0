"""Runs a real consumer until a ``with`` block ends: in threads, processes or greenlets, or as a program of its own."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any

from huey.storage import MemoryStorage, RedisStorage

from aquila.errors import ConfigError, TaskError
from aquila.huey.delivery.consumer import AquilaConsumer, AquilaWorker
from aquila.huey.scopes.scope_sharing import collect_misses, share_with_workers
from aquila.huey.testing.attribute_patches import replace_attributes
from aquila.huey.testing.consumers.consumer_delays import FIRST_DELAY, LONGEST_DELAY, READY, QuickScheduler
from aquila.huey.testing.consumers.end_with_maker import EndsWithMaker
from aquila.huey.testing.consumers.running_consumer import RunningConsumer, describe_executing
from aquila.huey.testing.consumers.worker_errors import WorkerErrors
from aquila.huey.testing.fixture_types import WorkerType
from aquila.huey.testing.queue_under_test import huey_under_test, innermost_test_queue
from aquila.recording import runtime
from aquila.recording.storing.machine_clock import machine_seconds
from aquila.recording.under_test import VARIABLE, under_test
from aquila.setting_lines import placed_setting
from aquila.temporary_folders import TemporaryFolder

_IN_MEMORY = ("", ":memory:")
_PROGRAM = "from aquila.huey.testing.consumers.consumer_program import main; main()"
_GREENLET_PROGRAM = f"from gevent import monkey; monkey.patch_all(); {_PROGRAM}"


class _ClosingWorker(EndsWithMaker, AquilaWorker):
    def shutdown(self) -> None:
        """Close the Postgres connection that listens, one for each thread. Huey leaves it to the garbage collector."""
        super().shutdown()
        # Private: only Huey's storage on Postgres has it. Its `close` would close the one that all threads share, too,
        # and fails if another thread has just done so.
        listening: Any = getattr(self.huey.storage, "_listen_local", None)
        if (connection := getattr(listening, "conn", None)) is not None:
            connection.close()
            del listening.conn


class _TestConsumer(AquilaConsumer):
    scheduler_class = QuickScheduler
    worker_class = _ClosingWorker
    stop_flag: Any

    def _set_signal_handlers(self) -> None:
        """Set no handlers: Huey would replace pytest's handler of SIGINT for good, and fails off the main thread."""

    @property
    def worker_processes(self) -> list[BaseProcess]:
        """The workers, if they are processes."""
        return [worker for _, worker in self.worker_threads if isinstance(worker, BaseProcess)]

    @property
    def is_alive(self) -> bool:
        workers = [process for _, process in self.worker_threads]
        return any(self.environment.is_alive(process) for process in [*workers, self.scheduler])

    def kill_processes(self) -> None:
        """Kill the worker processes that have not stopped. ``multiprocessing`` would wait for them at the exit."""
        for process in [*self.worker_processes, self.scheduler]:
            if isinstance(process, BaseProcess) and process.is_alive():
                process.kill()
                process.join()

    def stop(self, graceful: bool = False) -> None:
        """Stop as Huey does, and close the pipe by which worker processes are told to stop. Huey leaves it open."""
        super().stop(graceful)
        pipe = [end for name in ("_r", "_w") if isinstance(end := getattr(self.stop_flag, name, None), int)]
        if pipe and not self.is_alive:
            self.stop_flag = threading.Event()
            self.stop_flag.set()
            for end in pipe:
                os.close(end)


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
    queue: str | None = None,
) -> Iterator[RunningConsumer]:
    """Run a real consumer until the block ends. Then wait until no task is executing.

    - ``worker_type``, ``workers``: the kind and the number of workers, as for ``huey_consumer``.
    - ``subprocess``: run ``huey_consumer`` as a program of its own, for the Huey at this import path
      (``"myapp.tasks.huey"``). True takes the path from the ini key ``aquila_huey``.
    - ``periodic``: whether to enqueue periodic tasks, too. Some of them are enqueued at once.
    - ``drain``: whether to wait at the end of the block until the queue is empty.
    - ``raise_errors``: whether to raise what failed. A miss or a refused request of a task is raised as soon as the
      block waits for something, the first exception of a task that failed for good at the end of the block.
    - ``timeout``: the longest time to wait for anything, in seconds.
    - ``huey``: the Huey; by default the one under test, or the one under test with the name ``queue``.

    Raises ``ConfigError`` where the workers cannot see the queue: processes with a memory storage, and for processes
    and programs on Windows. Raises ``TaskError`` when the consumer does not start or end in time, and when the queue
    never becomes empty.

    Examples:
        >>> from aquila.huey import MemoryHuey
        >>> from aquila.huey.testing import run_consumer, use_test_queue
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task()
        ... def divide(a, b):
        ...     return a / b
        >>> with use_test_queue(huey), run_consumer() as consumer:
        ...     consumer.wait(divide(6, 3))
        2.0
    """
    huey = huey_under_test(huey, queue)
    mode = innermost_test_queue(huey)
    if mode is not None and mode.mode == "inline":
        raise ConfigError(
            "an inline test queue executes tasks at once, and leaves a consumer nothing to do: use mode='manual'"
        )
    outside = worker_type == "process" or bool(subprocess)
    if outside and sys.platform == "win32":
        # Huey forks its worker processes, and a program is told by a signal to finish what it executes.
        raise ConfigError("workers in processes of their own need Linux or macOS: use worker_type='thread' on Windows")
    if outside and (isinstance(huey.storage, MemoryStorage) or getattr(huey.storage, "filename", None) in _IN_MEMORY):
        file = runtime.current_run().layers.settings_file
        raise ConfigError(
            f"worker processes cannot see the {type(huey.storage).__name__} of this process: give use_test_queue "
            f"another storage, or set {placed_setting('huey_storage', 'own', file)} to "
            "use that of the Huey"
        )
    options = {"workers": workers, "periodic": periodic}
    scope = share_with_workers(huey) if outside else None
    with under_test(), TemporaryFolder("consumer") as folder:
        running = (
            _run_as_program(huey, subprocess, worker_type, options, timeout, drain, Path(folder))
            if subprocess
            else _run_in_process(huey, worker_type, options, timeout, drain, Path(folder))
        )
        with running as consumer:
            if not raise_errors:
                consumer.ignore_unanswered()
            yield consumer
            if drain:
                consumer.wait_until_empty()
        errors = consumer.errors
    if scope is not None:
        scope.sessions.adopt_shared_plays()
        collect_misses(huey, scope)
    if raise_errors:
        consumer.raise_unanswered()
        if errors:
            raise errors[0]


def _knows_fractions(storage: Any) -> bool:
    """Whether the server of a storage can wait for a part of a second. Redis can since version 6 (``BRPOP``)."""
    if not isinstance(storage, RedisStorage):
        return True
    version = str(storage.conn.info("server")["redis_version"])
    return int(version.partition(".")[0]) >= 6


@contextlib.contextmanager
def _run_in_process(
    huey: Any, worker_type: str, options: Any, timeout: float, drain: bool, folder: Path
) -> Iterator[RunningConsumer]:
    """Run a consumer whose workers are threads, greenlets or forks of this process."""
    errors = WorkerErrors(folder / "errors")
    running = RunningConsumer(huey, timeout, errors, _green_sleep if worker_type == "greenlet" else time.sleep)
    with contextlib.ExitStack() as stack:
        # Huey's consumer sets the handler of time limits for its kind of worker on the Huey, and leaves it there.
        stack.enter_context(replace_attributes(huey, _timeout_handler=huey._timeout_handler))
        # A worker that waits in the server sees only after this time that it must end.
        if getattr(huey.storage, "read_timeout", None) and _knows_fractions(huey.storage):
            stack.enter_context(replace_attributes(huey.storage, read_timeout=LONGEST_DELAY))
        if worker_type == "greenlet":
            # gevent patches nothing here, so a greenlet that waits in the server would stop all others.
            stack.enter_context(replace_attributes(huey.storage, blocking=False))
        stack.enter_context(errors.watch(huey))
        stack.callback(setattr, running, "worker_processes", [])  # They have descriptors open.
        consumer = _start_consumer(huey, worker_type, options, timeout)
        running.worker_processes = consumer.worker_processes
        try:
            yield running
        except BaseException:
            consumer.stop(graceful=True)
            consumer.kill_processes()
            raise
        _stop_consumer(huey, consumer, timeout)
        for _ in _rounds_of_the_rest(running, drain):
            # A consumer cannot start again.
            consumer = _start_consumer(huey, worker_type, options, timeout)
            running.worker_processes = consumer.worker_processes
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
        # Python 3.12 warns of a fork in a process with threads. Worker processes under a test runner are just that.
        warnings.simplefilter("ignore", DeprecationWarning)
        consumer.start()
    return consumer


def _stop_consumer(huey: Any, consumer: _TestConsumer, timeout: float) -> None:
    consumer.stop(graceful=True)
    if consumer.is_alive:
        stuck = describe_executing(huey) or "in another process"
        huey.notify_interrupted_tasks()
        consumer.kill_processes()
        raise TaskError(f"the consumer did not end within {timeout:g} s; still executing: {stuck}")


@contextlib.contextmanager
def _run_as_program(
    huey: Any, path: bool | str, worker_type: str, options: Any, timeout: float, drain: bool, folder: Path
) -> Iterator[RunningConsumer]:
    """Run ``huey_consumer`` as in production, in a program of its own."""
    if not isinstance(path, str):
        raise ConfigError('the program needs the import path of its Huey: pass subprocess="myapp.tasks.huey"')
    # For greenlets gevent must patch everything that blocks before anything else is imported, so it is first.
    start = ["-c", _GREENLET_PROGRAM if worker_type == "greenlet" else _PROGRAM, str(folder)]
    delays = ["-d", str(FIRST_DELAY), "-m", str(LONGEST_DELAY)]
    workers = ["-k", worker_type, "-w", str(options["workers"]), *([] if options["periodic"] else ["-n"])]
    command = [sys.executable, *start, path.replace(":", "."), *delays, *workers]
    running = RunningConsumer(huey, timeout, WorkerErrors(folder / "errors"))
    with _program(running, command, folder):
        yield running
    for _ in _rounds_of_the_rest(running, drain):
        with _program(running, command, folder):
            running.wait_until_empty()


def _rounds_of_the_rest(running: RunningConsumer, drain: bool) -> Iterator[None]:
    """Yield as long as tasks that still executed when their consumer ended have enqueued others.

    Raises ``TaskError`` after the longest time to wait, because a task may enqueue itself for ever.
    """
    deadline = machine_seconds() + running.timeout
    while drain and (left := running.huey.pending_count()):
        if machine_seconds() >= deadline:
            raise TaskError(
                f"the queue has filled again and again for {running.timeout:g} s after the block (pending: {left}): a "
                "task enqueues itself, or its followers need more time; pass drain=False, or a longer timeout="
            )
        yield


@contextlib.contextmanager
def _program(running: RunningConsumer, command: list[str], folder: Path) -> Iterator[None]:
    """Run the program for the length of the block, and let it finish what it executes."""
    running._log_file, ready = folder / "log", folder / READY
    ready.unlink(missing_ok=True)
    with running._log_file.open("ab") as log:
        process = running.process = Popen(
            command,
            # The program finds the same modules in the same order as this process, and takes part in its tests.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), VARIABLE: "1"},
            stdin=PIPE,  # The program ends when this pipe is closed, also by the end of this process.
            stderr=log,
            start_new_session=True,  # So that `_kill_program` can end its worker processes, too.
        )
    try:
        running.wait_for(ready.exists, what="the start of the consumer")
        yield
        running.raise_if_ended()
    except BaseException:
        _kill_program(process)
        raise
    finally:
        # Huey finishes the executing tasks on SIGINT, and interrupts them on SIGTERM.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(running.timeout)
        except TimeoutExpired:
            _kill_program(process)
            process.wait()
            raise TaskError(f"the consumer did not end within {running.timeout:g} s:\n{running.log[-2000:]}") from None
        finally:
            if process.stdin is not None:
                process.stdin.close()
            running.remember_log()


def _kill_program(process: Popen[bytes]) -> None:
    """End a program at once, with its worker processes: they would take the tasks of later tests."""
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _green_sleep(seconds: float) -> None:
    importlib.import_module("gevent").sleep(seconds)
