"""Test Huey tasks: the functions behind the fixtures, for unittest, notebooks and REPLs too.

::

    with testing_mode(huey):
        run = perform_job(generate_summary, {"id": 123, "body": "Hello"})
    assert run.value["summary"].startswith("Hello")
"""

from aquila.huey.testing._mode import testing_mode
from aquila.huey.testing._perform import build_task, perform_job
from aquila.huey.testing._run import Retry, TaskRun

__all__ = ["Retry", "TaskRun", "build_task", "perform_job", "testing_mode"]
