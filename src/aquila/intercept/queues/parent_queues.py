"""Applies the testing mode of the parent process in a child: jobs for real queues are refused in both.

``AQUILA_QUEUES`` says that the parent is in testing mode. It holds the places of the queues outside of the parent's
memory that a test has asked for. Places and not names, because two Hueys of the same name may use different places. It
is separate from ``AQUILA_RUN``, because queues open and close at other times than scopes. The parent cannot see a
queue in the memory of a child, so the child refuses every other job.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from typing import Any

from aquila import setting_lines
from aquila.intercept.queues import queue_places, watched_queues
from aquila.recording import runtime
from aquila.recording.environment import put_variables_back, set_own_variables

VARIABLE = "AQUILA_QUEUES"

_ADVICE = (
    "Another process cannot see a queue in memory. To give a Huey under test its own storage, which is emptied\n"
    "before each test: {setting} in {place}, or use_test_queue(huey, storage='own')."
)


class QueuesOfParent:
    """The places of queues into which this process lets jobs through. None if it refuses no job."""

    places: Collection[str] | None = None


class _ParentQueuePatches:
    """The patches of Huey's classes in this process, which are never undone: the guard lasts as long as the process."""

    def __init__(self) -> None:
        self.patches = watched_queues.make_patches(_check_queue, _check_storage)


def tell_child_processes(places: Iterable[str]) -> None:
    """Let child processes put jobs into the queues at these places only; see ``queue_places``."""
    set_own_variables({VARIABLE: json.dumps(sorted(set(places)))})


def read_queue_variable() -> str | None:
    """Return the value of the variable, for ``tell_again``."""
    return os.environ.get(VARIABLE)


def tell_again(told: str | None) -> None:
    """Set the variable to an earlier value. None removes it: child processes may enqueue any job."""
    put_variables_back({VARIABLE: told})


def join_testing_mode() -> None:
    """Refuse jobs from now on if the parent is in testing mode."""
    told = read_queue_variable()
    if told is None:
        return
    try:
        places = json.loads(told)
    except ValueError:
        places = None
    # Where it is damaged, nothing is known to be allowed.
    runtime.process_run().state_of(QueuesOfParent).places = places if isinstance(places, list) else ()
    watching = runtime.process_run().state_of(_ParentQueuePatches)
    watching.patches.put_in_force(watching)


def leave_testing_mode() -> None:
    """Stop refusing jobs, because this process joins another scope, whose parent may not be in testing mode."""
    runtime.process_run().state_of(QueuesOfParent).places = None


def _check_queue(huey: Any, task: Any) -> None:
    __tracebackhide__ = True
    if not huey.immediate:  # Immediate mode executes tasks where they are enqueued.
        _check(huey, huey.storage, getattr(task, "name", type(task).__name__))


def _check_storage(storage: Any, data: Any) -> None:
    __tracebackhide__ = True
    _check(storage, storage, f"a message of {len(data)} bytes")


def _check(owner: Any, storage: Any, job: str) -> None:
    """Raise ``LiveCallRefused`` for a job of ``owner``, a Huey or a storage, that the parent does not let through."""
    __tracebackhide__ = True
    places = runtime.process_run().state_of(QueuesOfParent).places
    # A run of tests within this process has its own rules if it is in testing mode.
    if places is None or not queue_places.is_real(storage) or watched_queues.is_in_testing_mode():
        return
    place = queue_places.name_place(storage)
    if place not in places and not watched_queues.lets_jobs_through(owner.name):
        file = runtime.current_run().layers.settings_file
        setting = setting_lines.setting_line("huey_storage", "own", file)
        advice = _ADVICE.format(setting=setting, place=setting_lines.place_of_settings(file))
        if places:
            allowed = "\n  ".join(places)
            advice += f"\nThis queue is {place}. The queues under test that are outside of memory are:\n  {allowed}"
        raise watched_queues.make_refusal(owner, job, "the run of tests that started this process", advice)
