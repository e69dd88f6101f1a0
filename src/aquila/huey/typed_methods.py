"""Huey's own methods with the types that it does not declare, for type checkers. Nothing is executed here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime, timedelta
    from typing import Any, Literal, overload

    from aquila.huey.limits.unique_settings import Uniqueness
    from aquila.huey.task_types import ContextTaskDecorator, TaskDecorator
    from aquila.huey.task_types import Task as TypedTask

    AnyTask = TypedTask[Any]


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
            priority: float | None = None,
            context: Literal[False] = False,
            name: str | None = None,
            expires: float | timedelta | datetime | None = None,
            timeout: float | None = None,
            limit: str | Iterable[str] | None = None,
            budget: str | Iterable[str] | None = None,
            unique: Uniqueness = None,
        ) -> TaskDecorator: ...
        @overload
        def task(
            self,
            retries: int = 0,
            retry_delay: float = 0,
            retry_backoff: float = 0,
            priority: float | None = None,
            *,
            context: Literal[True],
            name: str | None = None,
            expires: float | timedelta | datetime | None = None,
            timeout: float | None = None,
            limit: str | Iterable[str] | None = None,
            budget: str | Iterable[str] | None = None,
            unique: Uniqueness = None,
        ) -> ContextTaskDecorator: ...
        def task(self, *args: Any, **settings: Any) -> Any: ...

        @overload
        def periodic_task(
            self,
            validate_datetime: Callable[[datetime], bool],
            retries: int = 0,
            retry_delay: float = 0,
            retry_backoff: float = 0,
            priority: float | None = None,
            context: Literal[False] = False,
            name: str | None = None,
            expires: float | timedelta | datetime | None = None,
            timeout: float | None = None,
            limit: str | Iterable[str] | None = None,
            budget: str | Iterable[str] | None = None,
            unique: Uniqueness = None,
        ) -> TaskDecorator: ...
        @overload
        def periodic_task(
            self,
            validate_datetime: Callable[[datetime], bool],
            retries: int = 0,
            retry_delay: float = 0,
            retry_backoff: float = 0,
            priority: float | None = None,
            *,
            context: Literal[True],
            name: str | None = None,
            expires: float | timedelta | datetime | None = None,
            timeout: float | None = None,
            limit: str | Iterable[str] | None = None,
            budget: str | Iterable[str] | None = None,
            unique: Uniqueness = None,
        ) -> ContextTaskDecorator: ...
        def periodic_task(self, *args: Any, **settings: Any) -> Any: ...

        def pending(self, limit: int | None = None) -> list[AnyTask]: ...
        def pending_count(self) -> int: ...
        def scheduled(self, limit: int | None = None) -> list[AnyTask]: ...
        def scheduled_count(self) -> int: ...
