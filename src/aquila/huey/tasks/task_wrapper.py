"""Functions decorated with ``@huey.task()`` of the classes in ``aquila.huey``."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import inspect
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Generic

from aquila.errors import ConfigError
from aquila.fork_locks import are_threads_greenlets, renewed_in_child
from aquila.huey.limits.settings import check_task_settings
from aquila.huey.tasks.django_connections import with_own_connections
from aquila.huey.tasks.task_ids import let_make_ids
from aquila.huey.tasks.task_types import P, T_co
from aquila.signatures import read_signature

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from aquila.huey.tasks.task_types import Result, Task

    class TaskWrapper:
        """Huey's class, for type checkers: what does not depend on the function."""

        huey: Any
        func: Any
        context: bool
        name: str | None
        task_class: Any
        retries: int
        retry_delay: float

        def create_task(self, func: Any, context: bool = False, name: str | None = None, **settings: Any) -> Any: ...
        def unregister(self) -> bool: ...
        def is_revoked(self, timestamp: datetime | None = None, peek: bool = True) -> bool: ...
        def revoke(self, revoke_until: datetime | None = None, revoke_once: bool = False) -> None: ...
        def restore(self) -> bool: ...
else:
    from huey.api import TaskWrapper


HUEY_OPTIONS = ("eta", "delay", "id", "retries", "retry_delay", "retry_backoff", "priority", "expires", "timeout")
"""The keyword arguments that Huey's ``TaskWrapper.s`` takes for itself. A parameter with such a name never gets one."""


class AquilaTaskWrapper(TaskWrapper, Generic[P, T_co]):
    """A decorated function, which may be ``async``. ``P`` are its parameters, ``T_co`` is what it returns.

    Examples:
        >>> from aquila.huey import AquilaTaskWrapper, MemoryHuey
        >>> from aquila.huey.testing import perform_job
        >>> huey = MemoryHuey("jobs")
        >>> @huey.task()
        ... async def add(a: int, b: int) -> int:
        ...     return a + b
        >>> isinstance(add, AquilaTaskWrapper)    # a type checker knows it as AquilaTaskWrapper[[int, int], int]
        True
        >>> perform_job(add, 1, b=2).value
        3
    """

    def create_task(
        self, func: Callable[..., Any], context: bool = False, name: str | None = None, **settings: Any
    ) -> Any:
        """Return the class of the tasks of a function.

        ``func`` is the decorated function, ``context`` whether Huey passes it the task, ``name`` the name of the task
        if it is not that of the function. Raises ``ConfigError`` for settings that cannot be used, and for a generator.
        """
        if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
            raise ConfigError(
                f"the task {getattr(func, '__qualname__', name)} has `yield` in it: calling it only makes a generator, "
                "and no worker would execute its code. Return a list, or put code with `yield` into a function that "
                "the task calls"
            )
        settings = check_task_settings(settings, func, context=context, name=name)
        called = func
        if is_async(func):

            @functools.wraps(func)
            def called(*args: Any, **kwargs: Any) -> Any:
                value = func(*args, **kwargs)
                if not inspect.iscoroutine(value):
                    return value
                try:
                    return run_coroutine(with_own_connections(value))
                finally:
                    # After an interrupt another thread may still run it.
                    if inspect.getcoroutinestate(value) == inspect.CORO_CREATED:
                        value.close()

        task_class = super().create_task(called, context, name, **settings)
        # Whoever wraps or replaces its `execute` hides the function, by whose parameters secrets are recognized.
        # `staticmethod` keeps it from becoming a method.
        task_class._aquila_function = staticmethod(func)
        let_make_ids(task_class)
        return task_class

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Result[T_co]: ...

        def call_local(self, *args: P.args, **kwargs: P.kwargs) -> T_co: ...

        def s(self, *args: P.args, **kwargs: P.kwargs) -> Task[T_co]: ...

        def schedule(
            self,
            args: tuple[Any, ...] | float | timedelta | datetime | None = None,
            kwargs: dict[str, Any] | None = None,
            eta: datetime | None = None,
            delay: float | timedelta | None = None,
            priority: float | None = None,
            retries: int | None = None,
            retry_delay: float | None = None,
            retry_backoff: float | None = None,
            expires: float | timedelta | datetime | None = None,
            timeout: float | None = None,
            id: str | None = None,
        ) -> Result[T_co]: ...

        def map(self, it: Iterable[Any]) -> Any: ...


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a function is ``async``, also below decorators that hand its coroutine on, as djhuey's ``db_task``."""
    return inspect.iscoroutinefunction(inspect.unwrap(function, stop=inspect.iscoroutinefunction))


def enclose_function(function: Callable[..., Any], manager: Any, *, as_argument: bool) -> Any:
    """Return a function, which may be ``async``, so that it runs within a context manager.

    With ``as_argument`` it is given the value of the context manager as its first argument, and callers are not.
    """

    @functools.wraps(function)
    def enclosed(*args: Any, **kwargs: Any) -> Any:
        with contextlib.ExitStack() as stack:
            value = stack.enter_context(manager)
            result = function(value, *args, **kwargs) if as_argument else function(*args, **kwargs)
            # That of an async function below another decorator. Its code has not begun.
            return _await_within(stack.pop_all(), result) if inspect.iscoroutine(result) else result

    @functools.wraps(function)
    async def enclosed_async(*args: Any, **kwargs: Any) -> Any:
        with manager as value:
            return await (function(value, *args, **kwargs) if as_argument else function(*args, **kwargs))

    made: Any = enclosed_async if inspect.iscoroutinefunction(function) else enclosed
    if as_argument:
        signature = read_signature(function)
        parameters = list(signature.parameters.values())
        if parameters and parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:  # `*args` takes the others, too.
            del parameters[0]
        made.__signature__ = signature.replace(parameters=parameters)
    return made


async def _await_within(stack: contextlib.ExitStack, coroutine: Coroutine[Any, Any, Any]) -> Any:
    with stack:
        return await coroutine


# Held while a greenlet runs an event loop. Reentrant, so that a task within a task fails and does not wait for itself.
_looping = renewed_in_child(threading.RLock())


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end and return its value, or raise what it raises.

    Where this thread runs an event loop already, as in immediate mode within an ``async`` test, the coroutine runs in a
    thread of its own, and the loop stands still meanwhile. Greenlets run their coroutines one after the other: they
    share a thread, in which only one event loop can run.
    """
    if are_threads_greenlets():
        with contextlib.closing(coroutine), _looping:
            return asyncio.run(coroutine)
    # Not `get_running_loop`, whose error would be the context of every error of the coroutine, and in its traceback.
    if asyncio._get_running_loop() is None:
        return asyncio.run(coroutine)
    outcome: list[Any] = []
    # A new thread begins with an empty context, in which no scope and no current task would be in force.
    context = contextvars.copy_context()

    def run_in_thread() -> None:
        try:
            outcome.append((context.run(asyncio.run, coroutine), None))
        except BaseException as error:  # noqa: BLE001 -- raised in the thread that waits
            outcome.append((None, error))

    thread = threading.Thread(target=run_in_thread)
    thread.start()
    thread.join()
    value, error = outcome[0]
    if error is not None:
        raise error
    return value
