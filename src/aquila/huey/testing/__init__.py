"""Test Huey tasks: the functions behind the fixtures, for unittest, notebooks and REPLs too.

::

    with use_test_queue(huey):
        run = perform_job(generate_summary, {"id": 123, "body": "Hello"})
        assert run.value["summary"].startswith("Hello")
        assert_enqueued(send_mail, to="me@example.org")
        assert drain_queue() == {"complete": 1}

Begin reading with ``performing`` (one task), ``task_execution`` (executes it as a worker would), ``queue_under_test``
(where tasks go in a test) and ``consumers.consumer_runs`` (real workers). Imported by ``aquila.testing`` and
``pytest_aquila``. Names are imported when they are first used, so that the types of the fixtures can be imported
without Huey.

- Around ``perform_job``: ``task_run`` is what it returns; ``call_arguments`` separates the arguments of a task from
  options; ``wire_comparison`` compares values before and after the wire; ``observation`` notes what
  happens while a task executes; ``attribute_patches`` replaces attributes for a block.
- Queues: ``enqueued_tasks`` and ``task_matching`` for assertions, ``dead_tasks`` for dead letters; ``draining``,
  ``periodic`` and ``skipped_time`` execute due tasks, and ``left_out_waits`` counts the waits before them;
  ``waited_results`` ends a wait for a result that never comes; ``real_queues`` keeps a run away from real queues;
  ``django_commits`` calls functions that are registered for the commit of a transaction.
- ``fixture_types``: the types of fixtures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aquila.lazy_imports import lazy_names

if TYPE_CHECKING:
    from aquila.huey.testing.consumers.consumer_runs import run_consumer as run_consumer
    from aquila.huey.testing.consumers.running_consumer import RunningConsumer as RunningConsumer
    from aquila.huey.testing.dead_tasks import assert_dead_letter as assert_dead_letter
    from aquila.huey.testing.dead_tasks import refute_dead_letter as refute_dead_letter
    from aquila.huey.testing.draining import Drained as Drained
    from aquila.huey.testing.draining import drain_queue as drain_queue
    from aquila.huey.testing.enqueued_tasks import all_enqueued as all_enqueued
    from aquila.huey.testing.enqueued_tasks import assert_enqueued as assert_enqueued
    from aquila.huey.testing.enqueued_tasks import assert_unique as assert_unique
    from aquila.huey.testing.enqueued_tasks import refute_enqueued as refute_enqueued
    from aquila.huey.testing.performing import build_task as build_task
    from aquila.huey.testing.performing import perform_job as perform_job
    from aquila.huey.testing.periodic import run_periodic as run_periodic
    from aquila.huey.testing.queue_under_test import use_test_queue as use_test_queue
    from aquila.huey.testing.task_run import ScheduledRetry as ScheduledRetry
    from aquila.huey.testing.task_run import TaskRun as TaskRun

_NAMES = {
    "Drained": "aquila.huey.testing.draining",
    "RunningConsumer": "aquila.huey.testing.consumers.running_consumer",
    "ScheduledRetry": "aquila.huey.testing.task_run",
    "TaskRun": "aquila.huey.testing.task_run",
    "all_enqueued": "aquila.huey.testing.enqueued_tasks",
    "assert_dead_letter": "aquila.huey.testing.dead_tasks",
    "assert_enqueued": "aquila.huey.testing.enqueued_tasks",
    "assert_unique": "aquila.huey.testing.enqueued_tasks",
    "build_task": "aquila.huey.testing.performing",
    "drain_queue": "aquila.huey.testing.draining",
    "perform_job": "aquila.huey.testing.performing",
    "refute_dead_letter": "aquila.huey.testing.dead_tasks",
    "refute_enqueued": "aquila.huey.testing.enqueued_tasks",
    "run_consumer": "aquila.huey.testing.consumers.consumer_runs",
    "run_periodic": "aquila.huey.testing.periodic",
    "use_test_queue": "aquila.huey.testing.queue_under_test",
}
"""Every public name and the module that defines it."""

__all__ = list(_NAMES)

if not TYPE_CHECKING:  # else type checkers would take any name for one of this package
    __getattr__, __dir__ = lazy_names(__name__, _NAMES, extra="huey")
