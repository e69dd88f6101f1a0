"""The options of ``ask_task`` and ``stream_task``, for annotations. Aquila itself never imports this at run time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from huey.api import Task

from aquila.engine.calls.options import AskOptions
from aquila.engine.streams.cut_answers import Prefill
from aquila.events import Event
from aquila.huey.limits.unique_settings import Uniqueness
from aquila.huey.progress.resuming import Resume


class PromptTaskOptions(AskOptions, total=False):
    """The options of ``ask_task`` except ``name`` and ``result``.

    Examples:
        >>> from typing import Unpack
        >>> from aquila.huey import MemoryHuey, PromptTaskOptions, ask_task
        >>> huey = MemoryHuey("jobs")
        >>> def translator(language: str, **options: Unpack[PromptTaskOptions]):
        ...     return ask_task(huey, f"Translate into {language}: {{text}}", name=f"into_{language}", **options)
        >>> translator("French", temperature=0, retries=2).retries
        2
    """

    response_format: type[Any] | Mapping[str, Any] | None
    retries: int
    retry_delay: float
    retry_backoff: float
    time_limit: float | None
    priority: float | None
    limit: str | Iterable[str] | None
    budget: str | Iterable[str] | None
    resume: Resume | None
    continue_by: str | Prefill | None
    unique: Uniqueness


class StreamTaskOptions(PromptTaskOptions, total=False):
    """The options of ``stream_task`` except ``name`` and ``result``.

    Examples:
        >>> from aquila.huey import MemoryHuey, StreamTaskOptions, stream_task
        >>> huey = MemoryHuey("jobs")
        >>> usual: StreamTaskOptions = {"retries": 2, "every": 0.5}
        >>> stream_task(huey, "Explain {word}.", name="explain", **usual).retries
        2
    """

    on_event: Callable[[Event, Task], Any] | None
    every: float
