"""Describes a run to its child processes, in the environment. ``parent_run`` is the child's side of it.

``AQUILA_RUN`` holds the settings of the run and a reference to the open scope. A child that imports Aquila joins
that scope: it replays from the same cassette and records into it. Without a scope it refuses what its parent refuses.
Each Python child imports Aquila: ``aquila_guard.pth`` does so where Aquila is installed, and a ``sitecustomize`` on its
``PYTHONPATH`` elsewhere.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.recording.environment import is_variable_set, put_variables_back

if TYPE_CHECKING:
    from aquila.cassettes.redaction import fingerprints
    from aquila.config import SettingsLayers
    from aquila.recording import scope_joining, scripts
    from aquila.recording.reporting import child_messages
    from aquila.recording.scope import Scope
    from aquila.recording.storing import record_budget
else:
    lazy_modules(
        globals(),
        "aquila.cassettes.redaction: fingerprints",
        "aquila.recording: scope_joining, scripts",
        "aquila.recording.reporting: child_messages",
        "aquila.recording.storing: record_budget",
    )

VARIABLE = "AQUILA_RUN"
_SHORTEST_KEY = 8
"""In characters. ``trivial_values`` treats no shorter text as a secret. This copy saves loading that module."""

SITE_FOLDER = str(Path(__file__).parents[2] / "_site")
"""The folder with the ``sitecustomize`` for children."""


def describe_innermost(scopes: Sequence[Scope]) -> str:
    """Return the value of the variable while these scopes are open, outermost first.

    It names the innermost scope, or none if two scopes stand side by side: a child could not choose one of them.
    """
    are_nested = len(scopes) == 1 or all(inner.parent is outer for outer, inner in itertools.pairwise(scopes))
    return describe_run(scopes[-1] if are_nested else None)


def describe_run(scope: Scope | None) -> str:
    """Return the value of the variable for children that join ``scope``, or, with None, the run without a scope."""
    run, keys = runtime.current_run(), runtime.machine_keys()
    around = _describe_layers(
        run.layers,
        run.layers.root.absolute(),
        tuple(keys.fingerprints),
        tuple(keys.hidden.values()),
        runtime.run_key().key,
        run.messages,
    )
    if scope is None:
        return around
    child_messages.messages_folder(run)  # made now, because the children of a scope leave messages in it
    settings = scope.settings
    told: dict[str, Any] = {
        "scope": scope_joining.reference_fields(scope, recording=False, settings=settings),
        "command": scope.command or next((each.command for each in (scope, *scope.around) if each.command), ""),
    }
    if scope.shows_its_end:
        told["shows_end"] = scope.kind_of_owner
    if told["scope"]["script"] is not None:
        told["meeting_place"] = scripts.meeting_place()  # a child may have another folder for temporary files
    if run.play_log is not None:
        told["plays"] = True
    if run.exchange_watch is not None or run.tells_jobs:
        told["jobs"] = True
    if settings.record_budget is not None:
        told["budget"] = run.state_of(record_budget.RecordBudget).path
    # The scope first. The C library keeps all values of variables in sorted order, and compares a new value with some
    # of them. With the scope first they differ early; the settings of the run are the same in each value.
    return f"{_encode_json(told)[:-1]}, {around[1:]}"


_encode_json = json.JSONEncoder(default=str, check_circular=False).encode


# The keys in the cache's arguments are in memory anyway (see `MachineKeys`). Few entries, so that old keys leave it.
@functools.lru_cache(maxsize=4)
def _describe_layers(
    layers: SettingsLayers,
    root: Path,
    known: tuple[str, ...],
    hidden: tuple[str, ...],
    key: str,
    messages: tuple[str, str, str] | None,
) -> str:
    """Describe all but the scope. Cached, because every test asks for it, nearly always with the same arguments.

    ``known`` are the fingerprints of keys that were hidden in the parent, and ``hidden`` the keys that are hidden here.
    ``key`` is that of ``runtime.RunKey``, and ``messages`` are those of the run.
    """
    inherited: dict[str, Any] = {"around": layers.as_plain_data(), "key": key, "messages": messages}
    keys = [key for key in hidden if len(key) >= _SHORTEST_KEY]
    found = [*known, *(fingerprints.fingerprints_of(keys) if keys else ())]
    if found:
        inherited["fingerprints"] = found
    return _encode_json(inherited)


@contextlib.contextmanager
def tell_child_processes() -> Iterator[None]:
    """Set the variables that tell child processes of this run, until the block ends."""
    before = {name: os.environ.get(name) for name in (VARIABLE, "PYTHONPATH")}
    path = before["PYTHONPATH"]
    if path is None or SITE_FOLDER not in path.split(os.pathsep):
        os.environ["PYTHONPATH"] = SITE_FOLDER if not path else os.pathsep.join((SITE_FOLDER, path))
    os.environ[VARIABLE] = describe_run(None)
    try:
        yield
    finally:
        put_variables_back(before)


def tell_if_forgotten() -> None:
    """Set the variable for child processes again if it is missing, as after a test that cleared the environment."""
    if not is_variable_set(VARIABLE):
        tell_settings()


def tell_settings() -> None:
    """Set the variable for child processes to the present settings, while no scope is open."""
    os.environ[VARIABLE] = describe_run(None)
