"""The whole run in testing mode: where the ini key ``aquila_huey`` names Hueys, no test reaches their real queues.

Each Huey has a queue in memory from the setup of the first test to the end of the run, for what tests share: fixtures
of a class, a module or the session. Within it each test has one of its own. This module is registered as a plugin where
the key is set.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from aquila.lazy_imports import lazy_modules
from pytest_aquila import task_fixtures

if TYPE_CHECKING:
    from aquila.huey.testing import attribute_patches, queue_under_test
else:
    lazy_modules(
        globals(),
        attribute_patches="aquila.huey.testing.attribute_patches",
        queue_under_test="aquila.huey.testing.queue_under_test",
    )

_hueys: pytest.StashKey[list[Any]] = pytest.StashKey()
"""The Hueys in testing mode. Which they are is settled once, for all of them have a memory storage from then on."""


@pytest.hookimpl  # Neither first nor last: a test that is skipped loads no Huey, and fixtures come after this.
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Open the queues that tests share, unless an earlier test has. They stay open for fixtures that end last."""
    if _hueys in item.config.stash:
        return
    hueys = [huey for huey in task_fixtures.load_hueys(item.config) if queue_under_test.has_real_storage(huey)]
    item.config.add_cleanup(_open_queues(hueys).close)
    item.config.stash[_hueys] = hueys


@pytest.fixture(autouse=True)
def aquila_testing_mode(pytestconfig: pytest.Config) -> Iterator[None]:
    """Give each Huey under test a queue in memory for this test, whether it uses a fixture for tasks or not."""
    with _open_queues(pytestconfig.stash[_hueys]):
        yield


def _open_queues(hueys: list[Any]) -> contextlib.ExitStack:
    with contextlib.ExitStack() as queues:
        # The first is the one that fixtures and functions look at: the innermost.
        for huey in reversed(hueys):
            is_immediate = huey.immediate
            queues.enter_context(queue_under_test.use_test_queue(huey))
            # A test queue turns immediate mode off, which is for a test to ask for.
            queues.enter_context(attribute_patches.replace_attributes(huey, _immediate=is_immediate))
        return queues.pop_all()
