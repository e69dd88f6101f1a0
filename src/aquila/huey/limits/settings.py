"""The limits of a Huey, and of a task."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from aquila.engine.calls.timeouts import check_seconds
from aquila.errors import ConfigError
from aquila.huey.limits.budgets import TOKENS, Cap, parse_budget
from aquila.huey.limits.rules import LimitRule, parse_limits
from aquila.huey.limits.unique_settings import check_unique
from aquila.prices import Price, PriceTable, prices_of, read_prices
from aquila.recording import runtime

Prices: TypeAlias = "PriceTable | Mapping[str, Any] | Iterable[Price] | str | os.PathLike[str]"
"""What ``prices=`` takes."""

LEASE = 60.0
"""Seconds after which the slot of a killed worker is free again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits and budgets of a Huey, which owns them as ``huey.limits``. ``set_limits`` replaces the whole record.

    ``rules`` are limits, ``caps`` are budgets, and ``prices`` is what models cost. ``lease`` is for how many seconds
    the slots of a killed worker stay taken. ``counts_in_tests`` says whether to count also requests that are sent in a
    test, or that a recording or a script answers.
    """

    rules: tuple[LimitRule, ...] = ()
    caps: tuple[Cap, ...] = ()
    prices: PriceTable | None = None
    lease: float = LEASE
    counts_in_tests: bool = False


NO_LIMITS = Limits()

_NUMBERS = ("retries", "retry_delay", "retry_backoff", "priority", "timeout")
"""The settings of a task that are numbers. A class of tasks has them as ``default_retries`` and so on."""


def set_limits(
    huey: Any,
    limit: str | Iterable[str] | None = None,
    *,
    budget: str | Iterable[str] | None = None,
    prices: Prices | None = None,
    lease: float = LEASE,
    counts_in_tests: bool = False,
) -> None:
    """Hold the requests of a Huey's tasks to limits. They replace all limits that were set before.

    - ``limit``: text such as ``"openai: 60/min, 4 at once, 100k tokens/min; openai/gpt-5*: 20/min"``, or several.
    - ``budget``: text such as ``"200k tokens per task, 20 USD per day"``, or several. Scopes are a task, the queue, and
      an hour, a day and a month of UTC. A request that a budget has no room for raises ``BudgetExceeded``.
    - ``prices``: what models cost, for budgets of money: the path of a TOML file, or a ``PriceTable``. By default
      the table that the setting ``prices`` names.
    - ``lease``: seconds after which the slot of a killed worker is free again.
    - ``counts_in_tests``: also count requests that are sent in a test, or that a recording or a script answers. By
      default these are not counted, so that no test waits or fails because of another test. ``drain_queue`` skips the
      time until a turn.

    The Huey is one of ``aquila.huey``, or was given to ``instrument``. Raises ``ConfigError`` that names the mistake.

    Examples:
        >>> from aquila.huey import MemoryHuey, set_limits
        >>> huey = MemoryHuey("jobs")
        >>> set_limits(huey, limit="openai: 60/min, 4 at once", budget="200k tokens per task")
    """
    check_has_limits(huey, {"set_limits()": True})
    caps = () if budget is None else parse_budget(budget)
    if prices is None and any(cap.unit != TOKENS for cap in caps):
        prices = prices_of(runtime.current_settings())
    if prices is None and any(cap.unit != TOKENS for cap in caps):
        raise ConfigError(
            f"budget {budget!r} is of money: pass prices=, a TOML file or a PriceTable, or name the file in "
            "aquila_prices or AQUILA_PRICES"
        )
    huey.limits = Limits(
        rules=() if limit is None else parse_limits(limit),
        caps=caps,
        prices=None if prices is None else read_prices(prices),
        lease=check_seconds(lease, "lease"),
        counts_in_tests=bool(counts_in_tests),
    )


def check_task_settings(
    given: Mapping[str, Any], function: Callable[..., Any], *, context: bool, name: str | None
) -> dict[str, Any]:
    """Return the settings of a task as attributes of its class, with ``limit``, ``budget`` and ``unique`` parsed.

    ``given`` is what the decorator was called with, ``function`` is the decorated function, ``context`` whether Huey
    passes it the task, and ``name`` the name of the task if it is not that of the function. Raises ``ConfigError`` for
    a setting that cannot be parsed, so that the mistake is found where the task is declared.
    """
    settings = dict(given)
    for setting in _NUMBERS:
        number = settings.get(f"default_{setting}")
        if number is not None and not (isinstance(number, (int, float)) and math.isfinite(number)):
            raise ConfigError(
                f"{setting}={number!r} of the task {name or function.__name__} is no finite number, "
                "which its messages carry"
                f"{'; for delays that grow, give a factor: retry_backoff=2' if setting == 'retry_delay' else ''}"
            )
    limit = settings.pop("limit", None)
    if limit is not None:
        settings["_aquila_rules"] = parse_limits(limit)
    budget = settings.pop("budget", None)
    if budget is not None:
        settings["_aquila_caps"] = parse_budget(budget, owner=name or function.__name__)
    settings |= check_unique(settings.pop("unique", None), function, context=context)
    return settings


def check_has_limits(huey: Any, settings: Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` where ``settings`` has limits and the Huey is a plain one, which would ignore them."""
    # Every Huey that has Aquila's class has the attribute `rescheduling`.
    given = [name for name in ("limit", "budget", "unique", "set_limits()") if settings.get(name)]
    if given and not hasattr(huey, "rescheduling"):
        raise ConfigError(
            f"{given[0]} has no effect with {huey!r}: use a class of aquila.huey, or give it to instrument() first"
        )
