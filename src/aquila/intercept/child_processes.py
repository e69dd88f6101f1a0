"""Child processes: what they inherit through the environment, and how they join the run of their parent.

``AQUILA_SESSION`` holds the settings of the run and a reference to the open scope. A child that imports Aquila joins
that scope: it replays from the same cassette and records into it. Without a scope it refuses what its parent refuses.
A Python child that does not import Aquila is made to by a ``sitecustomize`` on its ``PYTHONPATH``.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquila.config import SettingsLayers
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.cassettes.redaction import fingerprints
    from aquila.intercept import activation
    from aquila.recording import child_misses
    from aquila.recording import scope as scopes
    from aquila.recording.scope import Scope
else:
    lazy_modules(
        globals(),
        activation="aquila.intercept.activation",
        child_misses="aquila.recording.child_misses",
        fingerprints="aquila.cassettes.redaction.fingerprints",
        scopes="aquila.recording.scope",
    )

VARIABLE = "AQUILA_SESSION"
SITE_FOLDER = str(Path(__file__).parent.parent / "_site")
"""The folder with the ``sitecustomize`` for children."""


def describe_run(scope: Scope | None) -> str:
    """The value of the variable while ``scope`` is the one that children join, or while there is none."""
    layers, keys = runtime.current_run().layers, runtime.machine_keys()
    around = _describe_layers(layers, layers.root.absolute(), tuple(keys.fingerprints), tuple(keys.hidden.values()))
    if scope is None:
        return around
    joined = scope.make_reference(recording=False)
    told = {
        "scope": {name: getattr(joined, name) for name in joined.__slots__},
        "command": next((each.command for each in scope.enclosing() if each.command), ""),
        "misses": child_misses.misses_folder(runtime.current_run()),
    }
    return f"{around[:-1]}, {_encode_json(told)[1:]}"


_encode_json = json.JSONEncoder(default=str).encode


@functools.lru_cache(maxsize=4)
def _describe_layers(layers: SettingsLayers, root: Path, known: tuple[str, ...], hidden: tuple[str, ...]) -> str:
    """Describe all but the scope. Every test asks, and nearly always the answer is that of the test before.

    ``known`` are the fingerprints of keys that were hidden in the parent, and ``hidden`` the keys that are hidden here.
    They are in memory already.
    """
    inherited: dict[str, Any] = {"around": layers.as_plain_data()}
    found = [*known, *(fingerprints.fingerprints_of(hidden) if hidden else ())]
    if found:
        inherited["fingerprints"] = found
    return _encode_json(inherited)


@contextlib.contextmanager
def tell_child_processes() -> Iterator[None]:
    """Let child processes know of this run until the block ends."""
    before = {name: os.environ.get(name) for name in (VARIABLE, "PYTHONPATH")}
    path = before["PYTHONPATH"]
    if path is None or SITE_FOLDER not in path.split(os.pathsep):
        os.environ["PYTHONPATH"] = SITE_FOLDER if not path else os.pathsep.join((SITE_FOLDER, path))
    os.environ[VARIABLE] = describe_run(None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def join_parent_run() -> None:
    """Do in this process what its parent's ``AQUILA_SESSION`` says. Does nothing without one, or if it is damaged."""
    try:
        inherited = json.loads(os.environ[VARIABLE])
        layers = SettingsLayers.from_plain_data(inherited["around"])
    except (KeyError, ValueError, TypeError):
        return
    runtime.machine_keys().fingerprints = inherited.get("fingerprints", ())
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0] or None
    reference, command = inherited.get("scope"), inherited.get("command", "")
    joining = _ParentScope(reference, command) if reference is not None else None
    run = runtime.Run(layers)
    if inherited.get("misses"):
        run.state_of(child_misses.ChildMisses).folder = inherited["misses"]
    run.__enter__()  # and never left: it lasts as long as this process
    run.hold(run.running_test(test, joining))
    activation.install_guard()


class _ParentScope:
    """Joins the parent's scope when something asks for a scope. ``command`` records again what runs there."""

    def __init__(self, reference: dict[str, Any], command: str) -> None:
        self._reference = reference
        self._command = command
        self._scope: Scope | None = None

    def __call__(self) -> Scope:
        if self._scope is None:
            self._scope = scopes.join_scope(scopes.ScopeReference(**self._reference))
            self._scope.command = self._command
            atexit.register(self._scope.close)
        return self._scope
