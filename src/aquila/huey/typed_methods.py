"""Huey's own methods with the types that it does not declare, for type checkers. Nothing is executed here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime, timedelta
    from typing import Any, Literal, TypedDict, Unpack, overload

    from aquila.huey.limits.unique_settings import Uniqueness
    from aquila.huey.tasks.task_types import ContextTaskDecorator, TaskDecorator
    from aquila.huey.tasks.task_types import Task as TypedTask

    AnyTask = TypedTask[Any]
    Due = Callable[[datetime], bool]

    class TaskSettings(TypedDict, total=False):
        """What ``task`` and ``periodic_task`` take by name, besides ``context``."""

        priority: float | None
        name: str | None
        expires: float | timedelta | datetime | None
        timeout: float | None
        limit: str | Iterable[str] | None
        budget: str | Iterable[str] | None
        unique: Uniqueness


class TypedMethods:
    """What type checkers see of ``task``, ``periodic_task`` and other methods. At run time this class is empty."""

    # It has no `__slots__`: with them an existing Huey could not get a class with this base; see `instrumenting`.

    if TYPE_CHECKING:

        @overload
        def task(
            self,
            retries: int = 0,
            retry_delay: float = 0,
            retry_backoff: float = 0,
            *,
            context: Literal[False] = False,
            **settings: Unpack[TaskSettings],
        ) -> TaskDecorator: ...
        @overload
        def task(
            self,
            retries: int = 0,
            retry_delay: float = 0,
            retry_backoff: float = 0,
            *,
            context: Literal[True],
            **settings: Unpack[TaskSettings],
        ) -> ContextTaskDecorator: ...
        def task(self, *args: Any, **settings: Any) -> Any: ...

        @overload
        def periodic_task(
            self,
            validate_datetime: Due,
            retries: int = 0,
            retry_delay: float = 0,
            retry_backoff: float = 0,
            *,
            context: Literal[False] = False,
            **settings: Unpack[TaskSettings],
        ) -> TaskDecorator: ...
        @overload
        def periodic_task(
            self,
            validate_datetime: Due,
            retries: int = 0,
            retry_delay: float = 0,
            retry_backoff: float = 0,
            *,
            context: Literal[True],
            **settings: Unpack[TaskSettings],
        ) -> ContextTaskDecorator: ...
        def periodic_task(self, *args: Any, **settings: Any) -> Any: ...

        def pending(self, limit: int | None = None) -> list[AnyTask]: ...
        def pending_count(self) -> int: ...
        def scheduled(self, limit: int | None = None) -> list[AnyTask]: ...
        def scheduled_count(self) -> int: ...
