"""What tests use is tried with a Huey of Huey's own, too, which is given the class while its queue is under test."""

import pytest
from huey import MemoryHuey

from aquila.huey.testing import use_test_queue


@pytest.fixture
def huey():
    """A plain Huey in memory whose queue is under test."""
    huey = MemoryHuey("app")
    with use_test_queue(huey):
        yield huey
