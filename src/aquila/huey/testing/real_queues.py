"""Keeps a run of tests away from real queues: before a job is enqueued outside of a test queue, the run is asked.

The methods by which a job enters a queue are replaced in the classes of Huey as soon as somebody imports Huey. So every
queue is watched, whoever makes it. This module is loaded before that and must not import Huey itself: a run of tests
without jobs would pay for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from aquila.intercept.queues import parent_queues, queue_places, watched_queues
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime

if TYPE_CHECKING:
    from aquila.huey.testing import queue_under_test, task_run
else:
    lazy_modules(globals(), "aquila.huey.testing: queue_under_test, task_run")


class RealQueues:
    """What a run does about jobs for real queues. The run owns this object, and drops it when it ends.

    ``prepare`` is called before a job is enqueued outside of a test queue, and may open a test queue. It returns advice
    for the message of the refusal. A ``prepare`` of None lets all jobs through.
    """

    def __init__(self) -> None:
        self.prepare: Callable[[], str] | None = None
        self.told: Collection[str] = []  # the places that child processes were told


class _RealQueuePatches:
    """The patches of Huey's classes. The outermost run of the process owns it, because classes belong to the process.

    They are in force while at least one holder has called ``guard_real_queues`` and not ``withdraw_queue_patches``.
    """

    def __init__(self) -> None:
        self.patches = watched_queues.make_patches(_check_queue, _check_storage)
        self.told_before: dict[object, str | None] = {}
        """By holder, what child processes were told before."""


def guard_real_queues(holder: object, prepare: Callable[[], str]) -> None:
    """Refuse jobs for real queues in the current run, and in runs within it that are not in testing mode themselves.

    ``prepare`` is that of ``RealQueues``. ``withdraw_queue_patches`` with the same ``holder`` withdraws the patches.
    """
    run = runtime.current_run()
    run.state_of(RealQueues).prepare = prepare
    run.state_of(watched_queues.TestingMode).is_on = True
    watching = runtime.process_run().state_of(_RealQueuePatches)
    watching.patches.put_in_force(holder)
    watching.told_before[holder] = parent_queues.read_queue_variable()
    parent_queues.tell_child_processes(())


def restore_child_processes(holder: object) -> None:
    """Tell child processes what they were told before the call of ``guard_real_queues`` with the same ``holder``."""
    watching = runtime.process_run().state_of(_RealQueuePatches)
    if holder in watching.told_before:
        parent_queues.tell_again(watching.told_before.pop(holder))


def withdraw_queue_patches(holder: object) -> None:
    """Withdraw the patches of ``guard_real_queues`` with the same ``holder``, and call ``restore_child_processes``.

    The run itself stays in testing mode.
    """
    runtime.process_run().state_of(_RealQueuePatches).patches.withdraw(holder)
    restore_child_processes(holder)


def let_child_processes_enqueue(places: Collection[str]) -> None:
    """Let child processes put jobs into the queues at these places only, if the current run is in testing mode."""
    state = runtime.current_run().state_of(RealQueues)
    if state.prepare is not None and places != state.told:
        state.told = places
        parent_queues.tell_child_processes(places)


def _check_queue(huey: Any, task: Any) -> None:
    """Raise ``LiveCallRefused`` for a job that would go into a real queue that nothing allows."""
    __tracebackhide__ = True
    # Immediate mode executes tasks where they are enqueued, and a memory storage ends with the process.
    if huey.immediate or (prepare := _find_prepare()) is None or not queue_places.is_real(huey.storage):
        return
    advice = prepare()
    if queue_places.is_real(huey.storage) and not _is_let_through(huey, huey.storage):
        job = task_run.call_text(task) if hasattr(task, "args") else type(task).__name__
        raise watched_queues.make_refusal(huey, job, "this run", advice)


def _check_storage(storage: Any, data: Any) -> None:
    """Raise ``LiveCallRefused`` for a message that was given to a storage directly, and not to its Huey."""
    __tracebackhide__ = True
    if (prepare := _find_prepare()) is None or _is_let_through(storage, storage):
        return
    advice = prepare()
    if queue_under_test.is_put_aside(storage):
        advice = (
            "The program has kept this storage since before the test queue was opened: ask the Huey for its storage\n"
            "each time, as in huey.storage.enqueue(...)."
        )
    raise watched_queues.make_refusal(storage, f"a message of {len(data)} bytes", "this run", advice)


def _find_prepare() -> Callable[[], str] | None:
    """Return what the innermost run in testing mode does about jobs for real queues, or None if none is."""
    return next(filter(None, (run.state_of(RealQueues).prepare for run in runtime.runs_in_force())), None)


def _is_let_through(owner: Any, storage: Any) -> bool:
    """Whether a job may go into a storage: into that of a test queue, or because the setting names its ``owner``.

    ``owner`` is the Huey, or the storage itself.
    """
    if watched_queues.lets_jobs_through(owner.name):
        return True
    used = queue_under_test.storages_in_use()
    return any(queue_places.hands_on_to(each, storage) for each in used) or any(
        queue_places.is_real(each) and queue_places.name_place(each) == queue_places.name_place(storage)
        for each in used
    )
