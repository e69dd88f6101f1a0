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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquila.config import SettingsLayers
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.cassettes.redaction import fingerprints
    from aquila.intercept import activation
    from aquila.recording import scope as scopes
    from aquila.recording.scope import Scope
else:
    lazy_modules(
        globals(),
        activation="aquila.intercept.activation",
        fingerprints="aquila.cassettes.redaction.fingerprints",
        scopes="aquila.recording.scope",
    )

VARIABLE = "AQUILA_SESSION"
SITE_FOLDER = str(Path(__file__).parent.parent / "_site")
"""The folder with the ``sitecustomize`` for children."""


def describe_run(scope: Scope | None) -> str:
    """The value of the variable while ``scope`` is the one that children join, or while there is none."""
    inherited: dict[str, Any] = {"around": runtime.current_run().layers.as_plain_data()}
    keys = runtime.machine_keys()
    known = list(keys.fingerprints)
    if keys.hidden:
        known += _fingerprints_of_hidden(tuple(keys.hidden.values()))
    if known:
        inherited["fingerprints"] = known
    if scope is not None:
        joined = scope.make_reference(recording=False)
        inherited["scope"] = {name: getattr(joined, name) for name in joined.__slots__}
    return json.dumps(inherited, default=str)


@functools.lru_cache(maxsize=4)
def _fingerprints_of_hidden(values: tuple[str, ...]) -> Sequence[str]:
    # Every test asks, and the same keys are hidden in most of them. They are in memory already.
    return fingerprints.fingerprints_of(values)


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
    joining = _ParentScope(inherited["scope"]) if inherited.get("scope") is not None else None
    run = runtime.Run(layers)
    run.__enter__()  # and never left: it lasts as long as this process
    run.hold(run.running_test(test, joining))
    activation.install_guard()


class _ParentScope:
    """Joins the parent's scope when something asks for a scope."""

    def __init__(self, reference: dict[str, Any]) -> None:
        self._reference = reference
        self._scope: Scope | None = None

    def __call__(self) -> Scope:
        if self._scope is None:
            self._scope = scopes.join_scope(scopes.ScopeReference(**self._reference))
            atexit.register(self._scope.close)
        return self._scope
