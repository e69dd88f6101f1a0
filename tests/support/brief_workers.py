"""Makes the workers of a distributed run send only the events that change what is printed.

For each test, an xdist worker sends six events: the start, the reports of setup, call and teardown, the end, and a
request for the next test. Four of them rarely change the output. To send and read these four takes longer than many a
test.
"""

from __future__ import annotations

from typing import Any

import pytest

_WORTH_TELLING = 0.05
"""A setup or teardown of at least this many seconds is reported, for ``--durations``."""


def tell_less(config: pytest.Config) -> None:
    """In an xdist worker, leave out the events that are not shown. With ``-v`` the worker sends all events."""
    worker: Any = next(
        (plugin for plugin in config.pluginmanager.get_plugins() if type(plugin).__name__ == "WorkerInteractor"), None
    )
    if worker is None or config.get_verbosity() > 0:
        return
    send = worker.sendevent

    def send_what_counts(name: str, **details: Any) -> None:
        if name not in ("logstart", "logfinish") and not (name == "testreport" and _changes_nothing(details["data"])):
            send(name, **details)

    worker.sendevent = send_what_counts


def _changes_nothing(report: dict[str, Any]) -> bool:
    return report["when"] != "call" and report["outcome"] == "passed" and report["duration"] < _WORTH_TELLING
