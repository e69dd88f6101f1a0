"""Huey classes whose tasks carry their cassette to the worker, and whose messages are no pickles."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import huey as _huey
from huey.api import Task, TaskWrapper

from aquila.huey import cassette_stamp, lost_tasks
from aquila.huey.running_task import CurrentTask, attempt_of, current_task, current_task_or_none, set_current_task
from aquila.huey.serializer import MsgpackSerializer

H = TypeVar("H", bound=_huey.Huey)


class AquilaHuey(_huey.Huey):  # type: ignore[misc]
    """What Aquila adds to a Huey. Mix it in before a Huey class: ``class MyHuey(AquilaHuey, RedisHuey)``.

    - A task carries whose cassette its requests are answered from: the test that enqueued it, through retries,
      schedules, pipelines, chords and nested tasks, in any worker. In production it carries nothing.
    - A task runs in a context of its own: it leaks no context variable into the next.
    - Functions may be ``async``.
    - Messages are written by ``MsgpackSerializer`` unless ``serializer`` says otherwise; a signing one is bound to
      the queue.
    - With ``keep_running=True`` a task that is executing stays in the storage until it has ended, so that one whose
      worker was killed is enqueued again when a consumer starts; see ``requeue_lost_tasks``.

    ``around_tasks`` are functions that are given the ``CurrentTask`` and return a context manager to execute it in.
    """

    keep_running: bool = False
    around_tasks: tuple[Callable[[CurrentTask], AbstractContextManager[Any]], ...] = ()

    def __init__(
        self, name: str = "huey", *args: Any, serializer: Any = None, keep_running: bool = False, **options: Any
    ) -> None:
        if serializer is None:
            compression = bool(options.pop("compression", False))
            options.pop("use_zlib", None)
            serializer = MsgpackSerializer(compression=compression)
        if isinstance(serializer, MsgpackSerializer):
            serializer = serializer.for_queue(name)
        super().__init__(name, *args, serializer=serializer, **options)
        if keep_running:
            lost_tasks.keep_running(self)

    def get_task_wrapper_class(self) -> type[TaskWrapper]:
        """Return the class of decorated functions."""
        return AquilaTaskWrapper

    def serialize_task(self, task: Task) -> bytes:
        """Return a task as a message, stamped with the scope that it belongs to and its attempt, if there is need."""
        carried, kwargs = cassette_stamp.fields_to_send(task), task.kwargs
        if carried is not None:
            task.kwargs = {**kwargs, cassette_stamp.KEY: carried}
        try:
            data: bytes = super().serialize_task(task)
        finally:
            task.kwargs = kwargs
        return data

    def deserialize_task(self, data: bytes) -> Task:
        """Return the task of a message. Raises ``MessageRejected`` for one that is not from this queue."""
        if isinstance(self.serializer, MsgpackSerializer):
            task = self._registry.create_task(self.serializer.deserialize(data, "task"))
        else:
            task = super().deserialize_task(data)
        cassette_stamp.attach_fields(task, task.kwargs.pop(cassette_stamp.KEY, None))
        return task

    def read_periodic(self, timestamp: Any) -> list[Task]:
        """Return the periodic tasks that are due. A scheduler asks for nobody: they belong to no test that runs now."""
        tasks: list[Task] = super().read_periodic(timestamp)
        for task in tasks:
            task._aquila_stamp = None
        return tasks

    def dequeue(self) -> Task | None:
        """Take the next task out of the queue, or return None."""
        data = self.storage.dequeue()
        if data is None:
            return None
        task = self.deserialize_task(data)
        if self.keep_running:
            lost_tasks.store_running_copy(self, task, data)
        return task

    def execute(self, task: Task, timestamp: Any = None) -> Any:
        """Execute a task in a context of its own, with the cassettes of its scope in force."""
        return contextvars.copy_context().run(self._execute_in_context, task, timestamp)

    def _execute_in_context(self, task: Task, timestamp: Any) -> Any:
        set_current_task(CurrentTask(self, task))
        # Without a stamp attribute it never was on the wire: immediate mode, in the scope of its caller.
        entered = cassette_stamp.enter_task_scope(self, task) if "_aquila_stamp" in vars(task) else None
        try:
            return super().execute(task, timestamp)
        finally:
            if entered is not None:
                cassette_stamp.leave_task_scope(self, task, *entered)
            if self.keep_running and not getattr(task, "_aquila_interrupted", False):
                lost_tasks.delete_running_copy(self, task)

    def _execute(self, task: Task, timestamp: Any) -> Any:
        """Execute a task that is due, neither revoked nor expired."""
        if not self.around_tasks:
            return super()._execute(task, timestamp)
        with contextlib.ExitStack() as stack:
            for around in self.around_tasks:
                stack.enter_context(around(current_task()))
            return super()._execute(task, timestamp)

    def _run_post_execute(self, task: Task, task_value: Any, exception: BaseException | None) -> None:
        self.record_outcome(task, exception)
        super()._run_post_execute(task, task_value, exception)

    def record_outcome(self, task: Task, exception: BaseException | None) -> None:
        """Take note of how an execution ended: a complete task needs no checkpoints any more."""
        task._aquila_error = exception
        if exception is None and (current := current_task_or_none()) is not None and current.task is task:
            current.delete_progress()

    def _requeue_task(self, task: Task, timestamp: Any, retry_eta: Any = None) -> None:
        task._aquila_attempt = attempt_of(task) + 1
        super()._requeue_task(task, timestamp, retry_eta)


class AquilaTaskWrapper(TaskWrapper):  # type: ignore[misc]
    """A decorated function, which may be ``async``."""

    def create_task(
        self, func: Callable[..., Any], context: bool = False, name: str | None = None, **settings: Any
    ) -> Any:
        """Return the task class of a function."""
        if not inspect.iscoroutinefunction(func):
            return super().create_task(func, context, name, **settings)

        @functools.wraps(func)
        def run(*args: Any, **kwargs: Any) -> Any:
            return run_coroutine(func(*args, **kwargs))

        return super().create_task(run, context, name, **settings)


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, in a thread of its own where this one runs an event loop already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    outcome: list[Any] = []
    context = contextvars.copy_context()

    def run() -> None:
        try:
            outcome.append((context.run(asyncio.run, coroutine), None))
        except BaseException as error:  # noqa: BLE001 -- raised in the thread that waits
            outcome.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


class MemoryHuey(AquilaHuey, _huey.MemoryHuey):  # type: ignore[misc]
    """A queue in this process's memory: for tests and single programs."""


class FileHuey(AquilaHuey, _huey.FileHuey):  # type: ignore[misc]
    """A queue in a folder (``path=``)."""


class SqliteHuey(AquilaHuey, _huey.SqliteHuey):  # type: ignore[misc]
    """A queue in a SQLite file (``filename=``)."""


class RedisHuey(AquilaHuey, _huey.RedisHuey):  # type: ignore[misc]
    """A queue on a Redis server (``url=``, or ``host=``, ``port=``)."""


class PriorityRedisHuey(AquilaHuey, _huey.PriorityRedisHuey):  # type: ignore[misc]
    """A queue on a Redis server that knows priorities."""


class PostgresHuey(AquilaHuey, _huey.PostgresHuey):  # type: ignore[misc]
    """A queue on a Postgres server (``dsn=``)."""


_instrumented: dict[type, type] = {}


def instrument(huey: H, *, keep_running: bool = False) -> H:
    """Give an existing Huey what ``AquilaHuey`` adds, except for the serializer, and return it.

    Its tasks stay what they are; tasks declared from now on may be ``async``. Do it where the Huey is made, so that
    producers and workers both have it. ``keep_running`` as for ``AquilaHuey``. Does nothing to a Huey that has it
    already.
    """
    kind = type(huey)
    if not isinstance(huey, AquilaHuey):
        if kind not in _instrumented:
            _instrumented[kind] = type(kind.__name__, (AquilaHuey, kind), {"__module__": kind.__module__})
        huey.__class__ = _instrumented[kind]
        if huey.task_wrapper_class is TaskWrapper:
            huey.task_wrapper_class = AquilaTaskWrapper
    if keep_running:
        lost_tasks.keep_running(huey)
    return huey
