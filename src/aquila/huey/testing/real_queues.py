"""Keeps a run of tests away from real queues: before a job is enqueued outside of a test queue, the run is asked.

``enqueue`` of Huey's class is replaced as soon as somebody imports Huey, so every Huey is watched, whoever makes it.
This module is loaded before that and must not import Huey itself: a run of tests without jobs would pay for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from aquila.intercept import parent_queues, watched_queues
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.huey.testing import queue_under_test, task_run
else:
    lazy_modules(
        globals(),
        queue_under_test="aquila.huey.testing.queue_under_test",
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
        self.patches = watched_queues.make_patches(_check_queue)
        self.told_before: dict[object, str | None] = {}
        """By holder, what child processes were told before."""


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


def _check_queue(huey: Any, task: Any) -> None:
    """Raise ``LiveCallRefused`` for a job that would go into a real queue that nothing allows."""
    __tracebackhide__ = True
    prepare = runtime.current_run().state_of(RealQueues).prepare
    if prepare is None or queue_under_test.innermost_test_queue(huey) is not None:
        return
    # Immediate mode executes tasks where they are enqueued, and a memory storage ends with the process.
    if huey.immediate or not queue_under_test.has_real_storage(huey):
        return
    advice = prepare(huey)
    if queue_under_test.innermost_test_queue(huey) is None and not watched_queues.is_ignored(huey.name):
        job = task_run.call_text(task) if hasattr(task, "args") else type(task).__name__
        raise watched_queues.make_refusal(huey, job, "this run", advice)
