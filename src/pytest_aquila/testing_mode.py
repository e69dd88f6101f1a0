"""The whole run in testing mode: where the ini key ``aquila_huey`` names Hueys, no test reaches their real queues.

This module is registered as a plugin where the key is set.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from aquila.lazy_imports import lazy_modules
from pytest_aquila import task_fixtures

if TYPE_CHECKING:
    from aquila.huey import testing
else:
    lazy_modules(globals(), testing="aquila.huey.testing")


@pytest.fixture(autouse=True)
def aquila_testing_mode(pytestconfig: pytest.Config) -> Iterator[None]:
    """Give each Huey under test a queue in memory for this test, whether it uses a fixture for tasks or not.

    A Huey in immediate mode has no queue, and one in memory has no real one: these stay as they are.
    """
    with contextlib.ExitStack() as queues:
        # The first is the one that fixtures and functions look at: the innermost.
        for huey in reversed(task_fixtures.load_hueys(pytestconfig)):
            if not huey.immediate and type(huey.storage).__name__ != "MemoryStorage":
                queues.enter_context(testing.use_test_queue(huey))
        yield
