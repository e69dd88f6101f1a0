"""Has the processes of a distributed run tell the one that prints only what it prints.

xdist tells six things of each test: that it begins, what became of its setup, its call and its teardown, that it is
over, and that the next may come. To write and read the four that change nothing takes longer than many a test itself.
"""

from __future__ import annotations

from typing import Any

import pytest

_WORTH_TELLING = 0.05
"""Seconds of a setup or teardown that ``--durations`` may be asked for."""


def tell_less(config: pytest.Config) -> None:
    """In a process that runs tests for another: leave out what is not shown. With ``-v`` all is told."""
    worker: Any = next(
        (one for one in config.pluginmanager.get_plugins() if type(one).__name__ == "WorkerInteractor"), None
    )
    if worker is None or config.get_verbosity() > 0:
        return
    tell = worker.sendevent

    def tell_what_counts(name: str, **told: Any) -> None:
        if name not in ("logstart", "logfinish") and not (name == "testreport" and _changes_nothing(told["data"])):
            tell(name, **told)

    worker.sendevent = tell_what_counts


def _changes_nothing(report: dict[str, Any]) -> bool:
    return report["when"] != "call" and report["outcome"] == "passed" and report["duration"] < _WORTH_TELLING
