"""Processes that ``multiprocessing`` forks from its fork server, as it does by default since Python 3.14.

The server is started once and keeps the environment of that moment. So its children would join the test in which the
server was started, whichever test starts them. Therefore the present values of the variables are added to the data
that ``multiprocessing`` sends to each child. A process that ``multiprocessing`` spawns gets them too, and has them
already.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from types import BuiltinFunctionType, ModuleType
from typing import Any

from aquila import errors
from aquila.intercept import activation, provider_keys
from aquila.intercept.patching import Patch, Undoable
from aquila.intercept.processes import child_processes, parent_run, started_children
from aquila.recording import runtime
from aquila.recording.environment import find_own_variables, put_variables_back

_ALSO = ("PYTEST_CURRENT_TEST", "PYTHONPATH")
"""Further variables that a child takes from its parent, besides Aquila's own and those of keys."""

_JOIN = """
import sys
sys.path[:] = path
try:
    from aquila.intercept.processes.fork_server import join
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("aquila"):
        raise
else:
    join(told)
"""
"""The program that a child executes. The child may have no Aquila, or an older one.

It sets ``sys.path`` to that of the parent, as ``multiprocessing`` does later. A program made by shiv or pex puts its
packages on the path itself, so an interpreter that is started has not got them.
"""


class _Told:
    """The ``variables`` for a child, and its ``path``. Unpickling this object in the child applies them."""

    def __init__(self, variables: Mapping[str, str | None], path: list[str]) -> None:
        self._variables = variables
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        if isinstance(exec, BuiltinFunctionType):
            return exec, (_JOIN, {"told": self._variables, "path": self._path})
        return join, (self._variables,)  # a profiler such as scalene has replaced `exec`, and pickle refuses that one


class _Preparation:
    """Replaces ``get_preparation_data``, which ``multiprocessing`` calls before it starts a process without a fork."""

    def __init__(self, original: Callable[[str], dict[str, Any]]) -> None:
        self._original = original

    def __call__(self, name: str) -> dict[str, Any]:
        started_children.prepare_for_children()
        data = self._original(name)
        return {**data, "aquila": _Told(_variables_now(), data["sys_path"])}


class _PreparationPatch(Patch):
    """Stays in place if a fork server may run: its children need the variables for as long as it lives."""

    def undo(self) -> None:
        if "multiprocessing.forkserver" not in sys.modules:
            super().undo()


def patch_preparation(module: ModuleType) -> Iterable[Undoable]:
    """Patch ``multiprocessing.spawn``, which makes the data that the fork server sends to each child."""
    if not isinstance(module.get_preparation_data, _Preparation):
        yield _PreparationPatch(module, "get_preparation_data", _Preparation)


def join(told: Mapping[str, str | None]) -> None:
    """In a child: set the variables ``told``, and join the run that they describe in place of the one joined before.

    All other variables of Aquila are removed: the fork server may have them from a test that has ended.

    If this fails, the process ends: it must not go on without the guard of its parent.
    """
    put_variables_back({**dict.fromkeys(find_own_variables()), **told})
    parent_run.join_again()


def _variables_now() -> dict[str, str | None]:
    try:
        extra = runtime.current_run().layers.at_start().dummy_keys
    except errors.AquilaError:  # the settings are wrong, and the child raises this error too
        extra = ()
    names = (*_ALSO, *provider_keys.dummies_for_answers(extra), *find_own_variables())
    told = {name: os.environ.get(name) for name in names}
    if child_processes.VARIABLE not in told:  # a test has cleared its environment; the guard must still hold
        told[child_processes.VARIABLE] = activation.interception().describe_for_children()
    return told
