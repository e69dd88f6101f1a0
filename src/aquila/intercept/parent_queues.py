"""Testing mode of the run of the parent process, in a child: a job for a real queue is refused here as it is there.

``AQUILA_QUEUES`` says that the parent is in testing mode: it holds the names of the Hueys whose jobs leave the memory
of the parent because a test wants that. It is apart from ``AQUILA_SESSION`` because queues open and close at other
times than scopes. A child has no queue in memory that its parent could see, so every other job is refused.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Collection, Iterable
from fnmatch import fnmatchcase
from types import ModuleType
from typing import TYPE_CHECKING, Any

from aquila.errors import CassetteRequired, SessionClosed
from aquila.intercept.patching import ImportHooks, Patch, PatchSet
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.recording.set_variables import set_own_variables, unset_own_variables

if TYPE_CHECKING:
    from aquila.recording import scope as scopes
    from aquila.recording.network import guard
else:
    lazy_modules(
        globals(),
        guard="aquila.recording.network.guard",
        scopes="aquila.recording.scope",
    )

VARIABLE = "AQUILA_QUEUES"


class QueuesOfParent:
    """The Hueys whose jobs this run lets through, by their names; None for a run that refuses none."""

    names: Collection[str] | None = None


class _Watching:
    """The patches of Huey's classes in this process, which are never undone: the guard lasts as long as the process."""

    def __init__(self) -> None:
        self.patches = PatchSet(ImportHooks(), {"huey.api": _patch_huey, "aquila.huey.instances": _patch_aquila_huey})


def tell_child_processes(names: Iterable[str]) -> None:
    """Let child processes enqueue for the Hueys of these names only."""
    set_own_variables({VARIABLE: json.dumps(sorted(set(names)))})


def told_by_environment() -> str | None:
    """What child processes are told now, for ``tell_again``."""
    return os.environ.get(VARIABLE)


def tell_again(told: str | None) -> None:
    """Put back what child processes were told; None lets them enqueue for all."""
    if told is None:
        unset_own_variables((VARIABLE,))
    else:
        set_own_variables({VARIABLE: told})


def join_testing_mode() -> None:
    """Refuse jobs in the current run, for as long as this process lasts, if the parent is in testing mode."""
    told = told_by_environment()
    if told is None:
        return
    try:
        names = json.loads(told)
    except ValueError:
        names = None
    # Where it is damaged, nothing is known to be allowed.
    runtime.current_run().state_of(QueuesOfParent).names = names if isinstance(names, list) else ()
    watching = runtime.process_run().state_of(_Watching)
    watching.patches.put_in_force(watching)


def _patch_huey(module: ModuleType) -> list[Patch]:
    return [Patch(module.Huey, "enqueue", _check_before)]


def _patch_aquila_huey(module: ModuleType) -> list[Patch]:
    return [Patch(module.AquilaHuey, "enqueue", _check_before)]  # it writes to the storage before Huey's method does


def _check_before(enqueue: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    @functools.wraps(enqueue)
    def check_and_enqueue(self: Any, task: Any) -> Any:
        # A run of tests within this process has its own rules, and no names here.
        names = runtime.current_run().state_of(QueuesOfParent).names
        if names is not None and self.name not in names and _is_real(self) and not _is_ignored(self.name):
            raise _make_refusal(self, task)
        return enqueue(self, task)

    return check_and_enqueue


def _is_real(huey: Any) -> bool:
    # Immediate mode executes tasks where they are enqueued, and a memory storage ends with the process.
    return not huey.immediate and not isinstance(huey.storage, sys.modules["huey.storage"].MemoryStorage)


def _is_ignored(name: str) -> bool:
    try:
        settings = scopes.find_surroundings().settings
    except (SessionClosed, CassetteRequired):  # No scope is in force here, so the settings of the run count.
        settings = runtime.current_settings()
    return any(fnmatchcase(name, pattern) for pattern in settings.ignore_hueys)


def _make_refusal(huey: Any, task: Any) -> BaseException:
    what = f"a job for the queue of the {type(huey).__name__} {huey.name!r}"
    return guard.make_refusal(
        what,
        f"{what} was refused: it is real, and the run of tests that started this process is in testing mode\n"
        "\n"
        f"  job        {getattr(task, 'name', type(task).__name__)}\n"
        f"  test       {runtime.current_run().test_name or 'none is running'}\n"
        "\n"
        "Another process cannot see a queue in memory. To give a Huey under test its own storage, which is emptied\n"
        "before each test: aquila_huey_storage = own in the ini file, or use_test_queue(huey, storage='own').\n"
        f"To let jobs into its real queue: aquila_ignore_hueys = {huey.name} in the ini file, or "
        f"@pytest.mark.aquila(ignore_hueys={huey.name!r}) on the test.",
    )
