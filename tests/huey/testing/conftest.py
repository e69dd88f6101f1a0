"""A plain Huey for tests of the testing functions, and projects of users whose tests are run."""

import pytest
from huey import MemoryHuey

from aquila.huey.testing import use_test_queue

APP = """
from huey import SqliteHuey
huey = SqliteHuey("app", filename="q.db")

@huey.task()
def greet(name):
    return name
"""


@pytest.fixture
def huey():
    """A plain Huey in memory whose queue is under test. ``use_test_queue`` changes its class while it is in use."""
    huey = MemoryHuey("app")
    with use_test_queue(huey):
        yield huey


@pytest.fixture
def run_project(pytester):
    """A function that writes files into a user's project and runs its tests: ``run_project("-n2", test_one=...)``.

    Its attribute ``pytester`` writes other files.
    """

    def run(*arguments, **files):
        if files:
            pytester.makepyfile(**files)
        return pytester.runpytest_subprocess("-W", "error", *arguments)

    run.pytester = pytester
    return run


@pytest.fixture
def project(run_project):
    """A project with the application ``APP``, which its ini file names; returns the function that runs its tests."""
    run_project.pytester.makepyfile(app=APP)
    run_project.pytester.makeini("[pytest]\npythonpath = .\naquila_huey = app:huey\n")
    return run_project
