"""Time limits that are to strike in the midst of something."""

from __future__ import annotations

from collections.abc import Callable


def with_a_limit_in_time(scenario: Callable[[float], None], shortest: float) -> None:
    """Run ``scenario`` with a limit of ``shortest`` seconds, and with longer ones until it passes.

    The limit is to strike when something else has come, and only the machine knows how long that takes. With a longer
    limit the scenario shows the same.
    """
    for limit in (shortest, 5 * shortest):
        try:
            return scenario(limit)
        except Exception:  # noqa: BLE001 - whatever it is, the longest limit will show it
            continue
    return scenario(25 * shortest)
