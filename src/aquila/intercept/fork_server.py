"""Processes that ``multiprocessing`` forks from its fork server, as it does by default since Python 3.14.

That server is started once and keeps the environment of that moment, so its children would join the test in which it
was started, whichever test starts them. So each is told, with what ``multiprocessing`` sends it, what the variables of
``child_processes`` say now. A process that is started in another way is told what it knows already.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from types import BuiltinFunctionType, ModuleType
from typing import Any

from aquila import errors
from aquila.intercept import activation, child_processes, parent_run, provider_keys, started_children
from aquila.intercept.patching import Patch, Undoable
from aquila.recording import runtime
from aquila.recording.environment import find_own_variables

_ALSO = ("PYTEST_CURRENT_TEST", "PYTHONPATH")
"""Those, besides the variables of keys, that a child must have from its parent too."""

_JOIN = """
import sys
sys.path[:] = path
try:
    from aquila.intercept.fork_server import join
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("aquila"):
        raise
else:
    join(told)
"""
"""What a child does, which may be without Aquila, or have an older one.

``multiprocessing`` gives it the path of its parent next. It needs that here where a program has put its packages on the
path itself, as shiv and pex do: they are not on the path of the interpreter that is started.
"""


class _Told:
    """The ``variables`` that a child is told, and its ``path``. It takes them over as soon as it has received this."""

    def __init__(self, variables: Mapping[str, str | None], path: list[str]) -> None:
        self._variables = variables
        self._path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        if isinstance(exec, BuiltinFunctionType):
            return exec, (_JOIN, {"told": self._variables, "path": self._path})
        return join, (self._variables,)  # a profiler such as scalene has replaced it, by what cannot be pickled


class _Preparation:
    """Takes the place of the function with which ``multiprocessing`` finds out what a child has to know.

    It calls that before it starts a process in another way than by a fork.
    """

    def __init__(self, original: Callable[[str], dict[str, Any]]) -> None:
        self._original = original

    def __call__(self, name: str) -> dict[str, Any]:
        started_children.prepare_for_children()
        data = self._original(name)
        return {**data, "aquila": _Told(_variables_now(), data["sys_path"])}


class _PreparationPatch(Patch):
    """Stays where a fork server may have been started meanwhile: that will always say what was in force then."""

    def undo(self) -> None:
        if "multiprocessing.forkserver" not in sys.modules:
            super().undo()


def patch_preparation(module: ModuleType) -> Iterable[Undoable]:
    """Patch ``multiprocessing.spawn``, from which its fork server takes what each child is sent."""
    if not isinstance(module.get_preparation_data, _Preparation):
        yield _PreparationPatch(module, "get_preparation_data", _Preparation)


def join(told: Mapping[str, str | None]) -> None:
    """In a child: take over ``told``, the values of variables, and join what they say in place of what it had joined.

    It has no variable of Aquila's but those: one that its server was started with may be of a test that has ended.

    If that fails, the process ends: it must not go on without the guard of its parent.
    """
    gone = dict.fromkeys(find_own_variables())
    for name, value in {**gone, **told}.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    parent_run.join_again()


def _variables_now() -> dict[str, str | None]:
    try:
        extra = runtime.current_run().layers.at_start().dummy_keys
    except errors.AquilaError:  # settings that are wrong; the child says so as well
        extra = ()
    names = (*_ALSO, *provider_keys.dummies_for_answers(extra), *find_own_variables())
    told = {name: os.environ.get(name) for name in names}
    if child_processes.VARIABLE not in told:  # a test has cleared its environment, which must not end the guard
        told[child_processes.VARIABLE] = activation.interception().describe_for_children()
    return told
