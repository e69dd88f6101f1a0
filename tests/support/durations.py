"""The order of tests in a run of several processes."""

from __future__ import annotations

import pytest


def begin_with_the_longest(items: list[pytest.Item], processes: int) -> None:
    """Reorder ``items`` in place: each process begins with its share of the tests that are marked as ``long``.

    All other tests keep their order, so that neighbours can share fixtures.
    """
    seconds = {item: mark.args[0] for item in items if (mark := item.get_closest_marker("long")) is not None}
    longest = sorted(seconds, key=lambda item: -seconds[item])  # a stable sort: the same in each process
    others = [item for item in items if item not in seconds]
    ordered: list[pytest.Item] = []
    for process in range(processes):
        begin, end = (len(others) * edge // processes for edge in (process, process + 1))
        ordered += [*longest[process::processes], *others[begin:end]]
    items[:] = ordered
