"""Testing mode of the run of the parent process, in a child: a job for a real queue is refused here as it is there.

``AQUILA_QUEUES`` says that the parent is in testing mode: it holds the names of the Hueys whose jobs leave the memory
of the parent because a test wants that. It is apart from ``AQUILA_SESSION`` because queues open and close at other
times than scopes. A child has no queue in memory that its parent could see, so every other job is refused.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterable
from typing import Any

from aquila.intercept import watched_queues
from aquila.recording import runtime
from aquila.recording.set_variables import set_own_variables, unset_own_variables

VARIABLE = "AQUILA_QUEUES"

_ADVICE = (
    "Another process cannot see a queue in memory. To give a Huey under test its own storage, which is emptied\n"
    "before each test: aquila_huey_storage = own in the ini file, or use_test_queue(huey, storage='own')."
)


class QueuesOfParent:
    """The Hueys whose jobs this run lets through, by their names; None for a run that refuses none."""

    names: Collection[str] | None = None


class _Watching:
    """The patches of Huey's classes in this process, which are never undone: the guard lasts as long as the process."""

    def __init__(self) -> None:
        self.patches = watched_queues.make_patches(_check_queue)


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


def _check_queue(huey: Any, task: Any) -> None:
    # A run of tests within this process has its own rules, and no names here.
    names = runtime.current_run().state_of(QueuesOfParent).names
    if names is not None and huey.name not in names and _is_real(huey) and not watched_queues.is_ignored(huey.name):
        raise watched_queues.make_refusal(
            huey, getattr(task, "name", type(task).__name__), "the run of tests that started this process", _ADVICE
        )


def _is_real(huey: Any) -> bool:
    # Immediate mode executes tasks where they are enqueued, and a memory storage ends with the process.
    return not huey.immediate and not isinstance(huey.storage, sys.modules["huey.storage"].MemoryStorage)
