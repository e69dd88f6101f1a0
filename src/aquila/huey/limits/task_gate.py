"""What every request of a task passes, on its way to the provider."""

from __future__ import annotations

import math
from typing import Any


class TaskGate:
    """The gate of one execution of a task."""

    __slots__ = ("_huey",)

    def __init__(self, huey: Any) -> None:
        self._huey = huey

    @property
    def longest_wait(self) -> float:
        """The seconds for which a call waits in its worker. If it were to wait longer, its task comes back later."""
        rules = self._huey.rescheduling
        return math.inf if rules is None or self._huey.immediate else float(rules.longest_wait)
