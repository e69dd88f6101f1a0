"""The time limits of a call."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from aquila.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The time limits of a call, in seconds; None is no limit.

    - ``connect``: to make the connection. ``RequestTimeout`` afterwards.
    - ``read``: from sending the request until the answer begins. ``RequestTimeout`` afterwards. Where it is not given,
      ``idle`` holds for this time too.
    - ``idle``: the longest silence in an answer. ``StreamTimeout`` afterwards.
    - ``total``: the whole call, with all its requests, retries and tools. ``RequestTimeout`` afterwards. A tool that is
      a plain function is not interrupted: the call ends after it.
    """

    connect: float | None = 10.0
    read: float | None = None
    idle: float | None = 30.0
    total: float | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None:
                check_seconds(value, f"timeout {each.name}")


def check_seconds(value: Any, what: str) -> float:
    """Return ``value`` as a number of seconds above 0. Raises ``ConfigError``, in which ``what`` names the value."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ConfigError(f"{what} must be a number of seconds above 0, not {value!r}")
    return float(value)
