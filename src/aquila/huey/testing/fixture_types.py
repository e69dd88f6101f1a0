"""The types of the functions for tests, and of the fixtures with the same names. ``aquila.testing`` exports them.

A type checker compares the arguments of a task with its parameters if the task is decorated by a Huey of
``aquila.huey``. In a call with options of the function (``attempt=``, ``scheduled_in=``, ...) the arguments are not
checked: a keyword may be an argument of the task or an option, and no annotation can express that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, overload

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from huey.storage import BaseStorage

    from aquila.huey.delivery.dead_letters import DeadLetter, LetterKind
    from aquila.huey.tasks.task_types import PlainTask, PlainTaskWrapper, Task
    from aquila.huey.tasks.task_wrapper import AquilaTaskWrapper
    from aquila.huey.testing.consumers.running_consumer import RunningConsumer
    from aquila.huey.testing.draining import Drained
    from aquila.huey.testing.task_run import TaskRun

P = ParamSpec("P")
T = TypeVar("T")
Declared = TypeVar("Declared")

ExpectedErrors: TypeAlias = "type[BaseException] | tuple[type[BaseException], ...]"
Span: TypeAlias = "float | timedelta"
ScheduledIn: TypeAlias = "Span | tuple[Span, Span]"
QueueMode: TypeAlias = Literal["manual", "inline"]
QueueStorage: TypeAlias = Literal["memory", "own"]
WorkerType: TypeAlias = Literal["thread", "process", "greenlet"]


def declared_as(declared: type[Declared]) -> Callable[[Callable[..., Any]], Declared]:
    """Give a function the type of a protocol, whose overloads the signature of the function cannot express."""

    def unchanged(function: Callable[..., Any]) -> Declared:
        typed: Any = function
        result: Declared = typed
        return result

    return unchanged


class BuildTask(Protocol):
    """The type of ``build_task``."""

    @overload
    def __call__(self, task: AquilaTaskWrapper[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Task[T]: ...
    @overload
    def __call__(self, task: AquilaTaskWrapper[..., T], /, *args: Any, attempt: int, **kwargs: Any) -> Task[T]: ...
    @overload
    def __call__(
        self,
        task: AquilaTaskWrapper[..., T],
        /,
        *,
        args: Sequence[Any] = ...,
        kwargs: Mapping[str, Any],
        **options: Any,
    ) -> Task[T]: ...
    @overload
    def __call__(self, task: AquilaTaskWrapper[..., T], /, *, args: Sequence[Any], **options: Any) -> Task[T]: ...
    @overload
    def __call__(self, task: PlainTaskWrapper, /, *args: Any, **kwargs: Any) -> Task[Any]: ...


class PerformJob(Protocol):
    """The type of ``perform_job``."""

    @overload
    def __call__(self, task: AquilaTaskWrapper[P, T], /, *args: P.args, **kwargs: P.kwargs) -> TaskRun[T]: ...
    @overload
    def __call__(
        self,
        task: AquilaTaskWrapper[..., T],
        /,
        *args: Any,
        raises: ExpectedErrors,
        attempt: int | None = ...,
        **kwargs: Any,
    ) -> TaskRun[T]: ...
    @overload
    def __call__(self, task: AquilaTaskWrapper[..., T], /, *args: Any, attempt: int, **kwargs: Any) -> TaskRun[T]: ...
    @overload
    def __call__(
        self,
        task: AquilaTaskWrapper[..., T],
        /,
        *,
        args: Sequence[Any] = ...,
        kwargs: Mapping[str, Any],
        **options: Any,
    ) -> TaskRun[T]: ...
    @overload
    def __call__(self, task: AquilaTaskWrapper[..., T], /, *, args: Sequence[Any], **options: Any) -> TaskRun[T]: ...
    @overload
    def __call__(self, task: Task[T], /, *, raises: ExpectedErrors | None = ...) -> TaskRun[T]: ...
    @overload
    def __call__(self, task: PlainTaskWrapper | PlainTask, /, *args: Any, **kwargs: Any) -> TaskRun[Any]: ...


class AllEnqueued(Protocol):
    """The type of ``all_enqueued``."""

    @overload
    def __call__(
        self,
        task: AquilaTaskWrapper[..., T],
        /,
        *positional: Any,
        args: Sequence[Any] = ...,
        kwargs: Mapping[str, Any] = ...,
        huey: Any = ...,
        queue: str | None = ...,
        scheduled_in: ScheduledIn | None = ...,
        priority: float | None = ...,
        where: Callable[[Task[T]], bool] | None = ...,
        nested: bool = ...,
        **arguments: Any,
    ) -> list[Task[T]]: ...
    @overload
    def __call__(
        self,
        task: PlainTaskWrapper | None = None,
        /,
        *positional: Any,
        args: Sequence[Any] = ...,
        kwargs: Mapping[str, Any] = ...,
        huey: Any = ...,
        queue: str | None = ...,
        scheduled_in: ScheduledIn | None = ...,
        priority: float | None = ...,
        where: Callable[[Task[Any]], bool] | None = ...,
        nested: bool = ...,
        **arguments: Any,
    ) -> list[Task[Any]]: ...


class AssertEnqueued(Protocol):
    """The type of ``assert_enqueued``."""

    @overload
    def __call__(
        self,
        task: AquilaTaskWrapper[..., T],
        /,
        *positional: Any,
        args: Sequence[Any] = ...,
        kwargs: Mapping[str, Any] = ...,
        huey: Any = ...,
        queue: str | None = ...,
        scheduled_in: ScheduledIn | None = ...,
        priority: float | None = ...,
        where: Callable[[Task[T]], bool] | None = ...,
        nested: bool = ...,
        timeout: float = ...,
        **arguments: Any,
    ) -> Task[T]: ...
    @overload
    def __call__(
        self,
        task: PlainTaskWrapper | None = None,
        /,
        *positional: Any,
        args: Sequence[Any] = ...,
        kwargs: Mapping[str, Any] = ...,
        huey: Any = ...,
        queue: str | None = ...,
        scheduled_in: ScheduledIn | None = ...,
        priority: float | None = ...,
        where: Callable[[Task[Any]], bool] | None = ...,
        nested: bool = ...,
        timeout: float = ...,
        **arguments: Any,
    ) -> Task[Any]: ...


class RefuteEnqueued(Protocol):
    """The type of ``refute_enqueued``."""

    def __call__(
        self,
        task: AquilaTaskWrapper[..., Any] | PlainTaskWrapper | None = None,
        /,
        *positional: Any,
        args: Sequence[Any] = ...,
        kwargs: Mapping[str, Any] = ...,
        huey: Any = ...,
        queue: str | None = ...,
        scheduled_in: ScheduledIn | None = ...,
        priority: float | None = ...,
        where: Callable[[Task[Any]], bool] | None = ...,
        nested: bool = ...,
        timeout: float = ...,
        **arguments: Any,
    ) -> None: ...


class AssertUnique(AssertEnqueued, Protocol):
    """The type of ``assert_unique``."""


class AssertDeadLetter(Protocol):
    """The type of ``assert_dead_letter``."""

    def __call__(
        self,
        task: AquilaTaskWrapper[..., Any] | PlainTaskWrapper | None = None,
        /,
        *positional: Any,
        args: Sequence[Any] = ...,
        kwargs: Mapping[str, Any] = ...,
        huey: Any = ...,
        queue: str | None = ...,
        kind: LetterKind | None = ...,
        reason: str = ...,
        **arguments: Any,
    ) -> DeadLetter: ...


class RefuteDeadLetter(Protocol):
    """The type of ``refute_dead_letter``."""

    def __call__(
        self,
        task: AquilaTaskWrapper[..., Any] | PlainTaskWrapper | None = None,
        /,
        *positional: Any,
        args: Sequence[Any] = ...,
        kwargs: Mapping[str, Any] = ...,
        huey: Any = ...,
        queue: str | None = ...,
        kind: LetterKind | None = ...,
        reason: str = ...,
        **arguments: Any,
    ) -> None: ...


class DrainQueue(Protocol):
    """The type of ``drain_queue``."""

    def __call__(
        self,
        *,
        huey: Any = ...,
        queue: str | None = ...,
        with_scheduled: bool | datetime | timedelta = ...,
        with_time_skipping: bool | datetime | timedelta = ...,
        move_clock: Callable[[datetime], object] | None = ...,
        with_recursion: bool = ...,
        raise_errors: bool = ...,
        with_limit: int | None = ...,
    ) -> Drained: ...


class RunPeriodic(Protocol):
    """The type of ``run_periodic``."""

    def __call__(
        self, at: datetime | None = ..., *, until: datetime | None = ..., huey: Any = ..., queue: str | None = ...
    ) -> list[TaskRun[Any]]: ...


class RunConsumer(Protocol):
    """The type of the fixture ``run_consumer``."""

    def __call__(
        self,
        worker_type: WorkerType = ...,
        workers: int = ...,
        *,
        subprocess: bool | str = ...,
        periodic: bool = ...,
        drain: bool = ...,
        raise_errors: bool = ...,
        timeout: float = ...,
        huey: Any = ...,
        queue: str | None = ...,
    ) -> AbstractContextManager[RunningConsumer]: ...


class UseTestQueue(Protocol):
    """The type of the fixture ``use_test_queue``."""

    def __call__(
        self, mode: QueueMode = ..., *, queue: str | None = ..., storage: QueueStorage | BaseStorage = ...
    ) -> AbstractContextManager[Any]: ...
