"""What child processes inherit of a scope, through the environment. ``parent_run`` is the child's side of it.

``AQUILA_SESSION`` holds the settings of the run and a reference to the open scope. A child that imports Aquila joins
that scope: it replays from the same cassette and records into it. Without a scope it refuses what its parent refuses.
A Python child that does not import Aquila is made to: by ``aquila_guard.pth`` where Aquila is installed, and by a
``sitecustomize`` on its ``PYTHONPATH`` elsewhere. What they are told in every run is in ``run_guard``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aquila.intercept import run_guard
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.recording.reporting import child_misses
    from aquila.recording.scope import Scope
    from aquila.recording.storing import record_budget
else:
    lazy_modules(
        globals(),
        child_misses="aquila.recording.reporting.child_misses",
        record_budget="aquila.recording.storing.record_budget",
    )


def describe_scope(scope: Scope | None) -> str:
    """The value of the variable while ``scope`` is the one that children join, or while there is none."""
    around = run_guard.describe_run()
    if scope is None:
        return around
    run, settings = runtime.current_run(), scope.settings
    told: dict[str, Any] = {
        "scope": scope.reference_fields(recording=False, settings=settings),
        "command": next((each.command for each in scope.enclosing() if each.command), ""),
        "misses": child_misses.misses_folder(run),
    }
    if run.play_log is not None:
        told["plays"] = True
    if run.exchange_watch is not None or run.tells_jobs:
        told["jobs"] = True
    if settings.record_budget is not None:
        told["budget"] = run.state_of(record_budget.RecordBudget).path
    # The scope first. The C library keeps all values that it was given, sorted, and compares a new one with some of
    # them: here they differ in their first characters, and not behind the settings of the run, which are all the same.
    return f"{_encode_json(told)[:-1]}, {around[1:]}"


_encode_json = json.JSONEncoder(default=str).encode
