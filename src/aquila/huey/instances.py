"""Huey classes whose tasks carry their cassette to the worker, and whose messages are no pickles."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import huey as _huey
from huey.api import PeriodicTask, Task, TaskWrapper

from aquila.huey import _stamp
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
    """

    def __init__(self, name: str = "huey", *args: Any, serializer: Any = None, **options: Any) -> None:
        if serializer is None:
            compression = bool(options.pop("compression", False))
            options.pop("use_zlib", None)
            serializer = MsgpackSerializer(compression=compression)
        if isinstance(serializer, MsgpackSerializer):
            serializer = serializer.for_queue(name)
        super().__init__(name, *args, serializer=serializer, **options)

    def get_task_wrapper_class(self) -> type[TaskWrapper]:
        """Return the class of decorated functions."""
        return AquilaTaskWrapper

    def serialize_task(self, task: Task) -> bytes:
        """Return a task as a message, stamped with the scope that it belongs to, if there is one."""
        stamp = stamp_of(task)
        kwargs = task.kwargs
        if stamp is not None:
            task.kwargs = {**kwargs, _stamp.KEY: stamp}
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
        stamp = task.kwargs.pop(_stamp.KEY, None)
        task._aquila_stamp = stamp if stamp is None else _stamp.checked(stamp)
        return task

    def execute(self, task: Task, timestamp: Any = None) -> Any:
        """Execute a task in a context of its own, with the cassettes of its scope in force."""
        return contextvars.copy_context().run(self._execute_in_scope, task, timestamp)

    def _execute_in_scope(self, task: Task, timestamp: Any) -> Any:
        if "_aquila_stamp" not in vars(task):  # It never was on the wire: immediate mode. This is its own context.
            return super().execute(task, timestamp)
        with _stamp.in_force(self, task, task._aquila_stamp):
            return super().execute(task, timestamp)

    def _run_post_execute(self, task: Task, task_value: Any, exception: BaseException | None) -> None:
        task._aquila_failed = exception is not None
        super()._run_post_execute(task, task_value, exception)


def stamp_of(task: Task) -> dict[str, Any] | None:
    """The stamp of a task: the one that it came with, else that of the scope in force here."""
    if "_aquila_stamp" in vars(task):
        stamp: dict[str, Any] | None = task._aquila_stamp
        return stamp
    # A scheduler enqueues periodic tasks for nobody: whatever test is running then, it is not theirs.
    return _stamp.of_this_context(bound_only=isinstance(task, PeriodicTask))


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


def instrument(huey: H) -> H:
    """Give an existing Huey what ``AquilaHuey`` adds, except for the serializer, and return it.

    Its tasks stay what they are; tasks declared from now on may be ``async``. Do it where the Huey is made, so that
    producers and workers both have it. Does nothing to a Huey that has it already.
    """
    kind = type(huey)
    if not isinstance(huey, AquilaHuey):
        if kind not in _instrumented:
            _instrumented[kind] = type(kind.__name__, (AquilaHuey, kind), {"__module__": kind.__module__})
        huey.__class__ = _instrumented[kind]
        if huey.task_wrapper_class is TaskWrapper:
            huey.task_wrapper_class = AquilaTaskWrapper
    return huey
