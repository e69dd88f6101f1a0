"""The limits of a Huey, and of a task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from aquila.engine.calls.timeouts import check_seconds
from aquila.errors import ConfigError
from aquila.huey.limits.rules import Rule, parse_limits
from aquila.huey.limits.unique_settings import check_unique

LEASE = 60.0
"""Seconds after which the slot of a killed worker is free again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the requests of a queue's tasks are held to.

    ``lease`` is how long the slots of a killed worker stay taken, in seconds; ``counts_in_tests`` whether requests of
    tests count, and those that a recording or a script answers.
    """

    rules: tuple[Rule, ...] = ()
    lease: float = LEASE
    counts_in_tests: bool = False


NO_LIMITS = Limits()


def set_limits(
    huey: Any,
    limit: str | Iterable[str] | None = None,
    *,
    lease: float = LEASE,
    counts_in_tests: bool = False,
) -> None:
    """Hold the requests of a Huey's tasks to limits. What was set before holds no more.

    - ``limit``: text such as ``"openai: 60/min, 4 at once, 100k tokens/min; openai/gpt-5*: 20/min"``, or several.
    - ``lease``: seconds after which the slot of a killed worker is free again.
    - ``counts_in_tests``: hold tests to the limits, too, and what a recording or a script answers. By default these
      count nothing, so that no test waits or fails because of another. ``drain_queue`` skips the time until a turn.

    The Huey is one of ``aquila.huey``, or was given to ``instrument``. Raises ``ConfigError`` that names the mistake.
    """
    check_has_limits(huey, {"limit": limit, "set_limits()": True})
    rules = () if limit is None else parse_limits(limit)
    huey.limits = replace(
        NO_LIMITS, rules=rules, lease=check_seconds(lease, "lease"), counts_in_tests=bool(counts_in_tests)
    )


def check_task_settings(given: Mapping[str, Any], function: Callable[..., Any], *, context: bool) -> dict[str, Any]:
    """Return the settings of a task as its class keeps them. Raises ``ConfigError`` where the task is declared."""
    settings = dict(given)
    limit = settings.pop("limit", None)
    if limit is not None:
        settings["_aquila_rules"] = parse_limits(limit)
    settings |= check_unique(settings.pop("unique", None), function, context=context)
    return settings


def check_has_limits(huey: Any, settings: Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` where a Huey would not hold to the limits of one of its tasks."""
    given = [name for name in ("limit", "unique", "set_limits()") if settings.get(name)]
    if given and not hasattr(huey, "rescheduling"):
        raise ConfigError(
            f"{given[0]} has no effect with {huey!r}: use a class of aquila.huey, or give it to instrument() first"
        )
