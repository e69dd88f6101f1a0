"""A plain Huey for tests of the testing functions. ``use_test_queue`` changes its class while it is in use."""

import pytest
from huey import MemoryHuey

from aquila.huey.testing import use_test_queue


@pytest.fixture
def huey():
    """A plain Huey in memory whose queue is under test."""
    huey = MemoryHuey("app")
    with use_test_queue(huey):
        yield huey
