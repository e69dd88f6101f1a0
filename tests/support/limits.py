"""Repeats tests whose time limit must end something that is in progress."""

from __future__ import annotations

from collections.abc import Callable


def with_a_limit_in_time(scenario: Callable[[float], None], shortest: float) -> None:
    """Call ``scenario`` with a limit of ``shortest`` seconds, then with longer limits until it passes.

    The limit must not end before some other event, and a slow machine needs longer for that event. A longer limit tests
    the same behaviour.
    """
    for limit in (shortest, 5 * shortest):
        try:
            return scenario(limit)
        except Exception:  # noqa: BLE001 - the longest limit shows any lasting error
            continue
    return scenario(60 * shortest)
