"""Keeps a run of tests away from real queues: before a job is enqueued outside of a test queue, the run is asked.

``enqueue`` of Huey's class is replaced as soon as somebody imports Huey, so every Huey is watched, whoever makes it.
This module is loaded before that and must not import Huey itself: a run of tests without jobs would pay for it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from fnmatch import fnmatchcase
from types import ModuleType
from typing import TYPE_CHECKING, Any

from aquila.errors import CassetteRequired, SessionClosed
from aquila.intercept import parent_queues
from aquila.intercept.patching import ImportHooks, Patch, PatchSet
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.huey import scope_reference
    from aquila.huey.testing import queue_under_test, task_run
    from aquila.recording.network import guard
else:
    lazy_modules(
        globals(),
        guard="aquila.recording.network.guard",
        queue_under_test="aquila.huey.testing.queue_under_test",
        scope_reference="aquila.huey.scope_reference",
        task_run="aquila.huey.testing.task_run",
    )


class RealQueues:
    """What a run does about jobs for real queues. The run owns this object, and drops it when it ends.

    ``prepare`` is called with the Huey before a job is enqueued outside of a test queue, and may open a test queue. If
    it opens none, it returns advice for the message of the refusal. A ``prepare`` of None lets all jobs through.
    """

    def __init__(self) -> None:
        self.prepare: Callable[[Any], str] | None = None
        self.told: Collection[str] = []  # the names that child processes were told


class _Watching:
    """The patches of Huey's classes. The outermost run of the process owns it, because classes belong to the process.

    They are in force while at least one holder has called ``guard_real_queues`` and not ``let_real_queues_be``.
    """

    def __init__(self) -> None:
        self.patches = PatchSet(ImportHooks(), {"huey.api": _patch_huey, "aquila.huey.instances": _patch_aquila_huey})
        self.told_before: dict[object, str | None] = {}
        """By holder, what child processes were told before."""


def _patch_huey(module: ModuleType) -> list[Patch]:
    return [Patch(module.Huey, "enqueue", _ask_before)]


def _patch_aquila_huey(module: ModuleType) -> list[Patch]:
    # Patched as well as Huey's method, because it writes to the storage before it calls that: the claim of a unique
    # job, and the summary of a published one.
    return [Patch(module.AquilaHuey, "enqueue", _ask_before)]


def _ask_before(enqueue: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    @functools.wraps(enqueue)
    def ask_and_enqueue(self: Any, task: Any) -> Any:
        __tracebackhide__ = True
        prepare = runtime.current_run().state_of(RealQueues).prepare
        if prepare is not None:
            _check_queue(self, task, prepare)
        return enqueue(self, task)

    return ask_and_enqueue


def guard_real_queues(holder: object, prepare: Callable[[Any], str]) -> None:
    """Refuse jobs for real queues in the current run, until ``let_real_queues_be`` is called with the same ``holder``.

    ``prepare`` is that of ``RealQueues``.
    """
    runtime.current_run().state_of(RealQueues).prepare = prepare
    watching = runtime.process_run().state_of(_Watching)
    watching.patches.put_in_force(holder)
    watching.told_before[holder] = parent_queues.told_by_environment()
    parent_queues.tell_child_processes(())


def let_real_queues_be(holder: object) -> None:
    """Undo the call of ``guard_real_queues`` with the same ``holder``."""
    watching = runtime.process_run().state_of(_Watching)
    watching.patches.withdraw(holder)
    parent_queues.tell_again(watching.told_before.pop(holder, None))


def let_child_processes_enqueue(names: Collection[str]) -> None:
    """Let child processes enqueue for the Hueys of these names only, if the current run is in testing mode."""
    state = runtime.current_run().state_of(RealQueues)
    if state.prepare is not None and names != state.told:
        state.told = names
        parent_queues.tell_child_processes(names)


def _check_queue(huey: Any, task: Any, prepare: Callable[[Any], str]) -> None:
    """Raise ``LiveCallRefused`` for a job that would go into a real queue that nothing allows."""
    __tracebackhide__ = True
    if queue_under_test.innermost_test_queue(huey) is not None:
        return
    # Immediate mode executes tasks where they are enqueued, and a memory storage ends with the process.
    if huey.immediate or not queue_under_test.has_real_storage(huey):
        return
    advice = prepare(huey)
    if queue_under_test.innermost_test_queue(huey) is not None or _is_ignored(huey.name):
        return
    kind = f"{type(huey).__name__} {huey.name!r}"
    what = f"a job for the queue of the {kind}"
    test = runtime.current_run().test_name or "none is running"
    raise guard.make_refusal(
        what,
        f"{what} was refused: it is real, and this run is in testing mode\n"
        "\n"
        f"  job        {task_run.call_text(task) if hasattr(task, 'args') else type(task).__name__}\n"
        f"  test       {test}\n"
        "\n"
        f"{advice}\n"
        f"To let jobs into its real queue: aquila_ignore_hueys = {huey.name} in the ini file, or "
        f"@pytest.mark.aquila(ignore_hueys={huey.name!r}) on the test.",
    )


def _is_ignored(name: str) -> bool:
    try:
        scope = scope_reference.find_current_scope()
    except (SessionClosed, CassetteRequired):  # No scope is in force here, so the settings of the run count.
        scope = None
    settings = scope.settings if scope is not None else runtime.current_settings()
    return any(fnmatchcase(name, pattern) for pattern in settings.ignore_hueys)
