"""Keeps a run of tests away from real queues: before a job is enqueued outside of a test queue, the run is asked.

The methods of Huey and of its storages by which a job enters a queue are replaced as soon as somebody imports Huey, so
every queue is watched, whoever makes it.
This module is loaded before that and must not import Huey itself: a run of tests without jobs would pay for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from aquila.intercept import parent_queues, queue_places, watched_queues
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

    ``prepare`` is called before a job is enqueued outside of a test queue, and may open a test queue. It returns advice
    for the message of the refusal. A ``prepare`` of None lets all jobs through.
    """

    def __init__(self) -> None:
        self.prepare: Callable[[], str] | None = None
        self.told: Collection[str] = []  # the places that child processes were told


class _Watching:
    """The patches of Huey's classes. The outermost run of the process owns it, because classes belong to the process.

    They are in force while at least one holder has called ``guard_real_queues`` and not ``let_real_queues_be``.
    """

    def __init__(self) -> None:
        self.patches = watched_queues.make_patches(_check_queue, _check_storage)
        self.told_before: dict[object, str | None] = {}
        """By holder, what child processes were told before."""


def guard_real_queues(holder: object, prepare: Callable[[], str]) -> None:
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


def let_child_processes_enqueue(places: Collection[str]) -> None:
    """Let child processes put jobs into the queues at these places only, if the current run is in testing mode."""
    state = runtime.current_run().state_of(RealQueues)
    if state.prepare is not None and places != state.told:
        state.told = places
        parent_queues.tell_child_processes(places)


def _check_queue(huey: Any, task: Any) -> None:
    """Raise ``LiveCallRefused`` for a job that would go into a real queue that nothing allows."""
    __tracebackhide__ = True
    prepare = runtime.current_run().state_of(RealQueues).prepare
    if prepare is None or queue_under_test.innermost_test_queue(huey) is not None:
        return
    # Immediate mode executes tasks where they are enqueued, and a memory storage ends with the process.
    if huey.immediate or not queue_places.is_real(huey.storage):
        return
    advice = prepare()
    if queue_under_test.innermost_test_queue(huey) is None and not _is_let_through(huey, huey.storage):
        job = task_run.call_text(task) if hasattr(task, "args") else type(task).__name__
        raise watched_queues.make_refusal(huey, job, "this run", advice)


def _check_storage(storage: Any, data: Any) -> None:
    """Do the same for a message that comes to a storage without its Huey."""
    __tracebackhide__ = True
    prepare = runtime.current_run().state_of(RealQueues).prepare
    if prepare is None or _is_let_through(storage, storage):
        return
    advice = prepare()
    if queue_under_test.is_put_aside(storage):
        advice = (
            "A test queue is in its place now, and this storage was taken before that: ask the Huey for its storage\n"
            "when it is needed, as in huey.storage.enqueue(...)."
        )
    raise watched_queues.make_refusal(storage, f"a message of {len(data)} bytes", "this run", advice)


def _is_let_through(owner: Any, storage: Any) -> bool:
    """Whether a job of a Huey or a storage, its ``owner``, goes where a test wants it, or is allowed to go anywhere."""
    if watched_queues.is_ignored(owner.name):
        return True
    used = queue_under_test.storages_in_use()
    return any(each is storage for each in used) or any(
        queue_places.is_real(each) and queue_places.name_place(each) == queue_places.name_place(storage)
        for each in used
    )
