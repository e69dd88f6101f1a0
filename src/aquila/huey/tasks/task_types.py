"""Huey's tasks and results, for type checkers. Huey has no annotations of its own.

At run time ``Task`` and ``Result`` are Huey's own classes, which cannot be subscripted. Write ``Result[str]`` only in
annotations, in a module that begins with ``from __future__ import annotations``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, Protocol, TypeVar, overload

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from aquila.huey.tasks.task_wrapper import AquilaTaskWrapper

    class Task(Generic[T_co]):
        """A task with its arguments, whose function returns a ``T``."""

        id: str
        name: str
        args: tuple[Any, ...]
        kwargs: dict[str, Any]
        eta: datetime | None
        retries: int
        retry_delay: float
        retry_backoff: float
        priority: float | None
        timeout: float | None
        expires: Any
        expires_resolved: datetime | None
        on_complete: Task[Any] | None
        on_error: Task[Any] | None
        chord_config: Any

        @property
        def time_remaining(self) -> float: ...
        @property
        def is_timed_out(self) -> bool: ...
        def check_timeout(self) -> None: ...
        def then(self, task: Any, *args: Any, **kwargs: Any) -> Task[T_co]: ...
        def error(self, task: Any, *args: Any, **kwargs: Any) -> Task[T_co]: ...

    class Result(Generic[T_co]):
        """The handle of an enqueued task, whose function returns a ``T``."""

        huey: Any
        task: Task[T_co]

        @property
        def id(self) -> str: ...
        @overload
        def get(
            self,
            blocking: Literal[True],
            timeout: float | None = None,
            backoff: float = 1.15,
            max_delay: float = 1.0,
            revoke_on_timeout: bool = False,
            preserve: bool = False,
        ) -> T_co: ...
        @overload
        def get(
            self,
            blocking: bool = False,
            timeout: float | None = None,
            backoff: float = 1.15,
            max_delay: float = 1.0,
            revoke_on_timeout: bool = False,
            preserve: bool = False,
        ) -> T_co | None: ...
        def get(self, *args: Any, **options: Any) -> Any: ...

        @overload
        def __call__(self, blocking: Literal[True], timeout: float | None = None) -> T_co: ...
        @overload
        def __call__(self, blocking: bool = False, timeout: float | None = None) -> T_co | None: ...
        def __call__(self, *args: Any, **options: Any) -> Any: ...

        def is_ready(self) -> bool: ...
        def is_revoked(self) -> bool: ...
        def revoke(self, revoke_once: bool = True) -> None: ...
        def restore(self) -> bool: ...
        def reschedule(
            self,
            eta: datetime | None = None,
            delay: float | timedelta | None = None,
            expires: Any = None,
            priority: float | None = None,
            preserve_pipeline: bool = True,
        ) -> Result[T_co]: ...
        def reset(self) -> None: ...

    class AsyncTaskWrapper(AquilaTaskWrapper[P, T]):
        """A decorated ``async`` function."""

        def call_local(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]: ...  # type: ignore[override]

    class TaskDecorator(Protocol):
        """What ``huey.task()`` returns."""

        @overload
        def __call__(self, function: Callable[P, Coroutine[Any, Any, T]], /) -> AsyncTaskWrapper[P, T]: ...
        @overload
        def __call__(self, function: Callable[P, T], /) -> AquilaTaskWrapper[P, T]: ...

    class ContextTaskDecorator(Protocol):
        """What ``huey.task(context=True)`` returns. Huey passes ``task`` itself, so the parameters are not known."""

        @overload
        def __call__(self, function: Callable[..., Coroutine[Any, Any, T]], /) -> AsyncTaskWrapper[..., T]: ...
        @overload
        def __call__(self, function: Callable[..., T], /) -> AquilaTaskWrapper[..., T]: ...
else:
    from huey.api import Result, Task


class PlainTaskWrapper(Protocol):
    """A function decorated by a Huey that is not one of ``aquila.huey``: its parameters are not known."""

    task_base: Any  # AquilaTaskWrapper does not declare it, so that it is never checked as one of these.
    task_class: Any


class PlainTask(Protocol):
    """A task of which only Huey's own, untyped class is known."""

    id: Any
    args: Any
    kwargs: Any
    chord_config: Any
