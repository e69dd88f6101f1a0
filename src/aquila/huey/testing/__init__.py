"""Test Huey tasks: the functions behind the fixtures, for unittest, notebooks and REPLs too.

::

    with use_test_queue(huey):
        run = perform_job(generate_summary, {"id": 123, "body": "Hello"})
        assert run.value["summary"].startswith("Hello")
        assert_enqueued(send_mail, to="me@example.org")
        assert drain_queue() == {"complete": 1}
"""

from aquila.huey.testing.consumer import RunningConsumer, run_consumer
from aquila.huey.testing.draining import Drained, drain_queue
from aquila.huey.testing.enqueued_tasks import all_enqueued, assert_enqueued, refute_enqueued
from aquila.huey.testing.performing import build_task, perform_job
from aquila.huey.testing.periodic import run_periodic
from aquila.huey.testing.queue_under_test import use_test_queue
from aquila.huey.testing.task_run import ScheduledRetry, TaskRun

__all__ = [
    "Drained",
    "RunningConsumer",
    "ScheduledRetry",
    "TaskRun",
    "all_enqueued",
    "assert_enqueued",
    "build_task",
    "drain_queue",
    "perform_job",
    "refute_enqueued",
    "run_consumer",
    "run_periodic",
    "use_test_queue",
]
