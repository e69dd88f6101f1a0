"""The short names of the fixtures for Huey tasks, only for projects with a Huey under test.

These are projects whose ini key ``aquila_huey`` names a Huey, or that override the fixture ``aquila_huey``. A fixture
of the same name in the project or in any plugin overrides the one here. ``fixture_names`` registers them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aquila.typed_settings import placed_setting
from pytest_aquila import fixture_names
from pytest_aquila.options import settings_file

if TYPE_CHECKING:
    from aquila.testing import (
        AllEnqueued,
        AssertDeadLetter,
        AssertEnqueued,
        AssertUnique,
        BuildTask,
        DrainQueue,
        PerformJob,
        RefuteDeadLetter,
        RefuteEnqueued,
        RunConsumer,
        RunPeriodic,
        UseTestQueue,
    )

NAMES = (
    "all_enqueued",
    "assert_dead_letter",
    "assert_enqueued",
    "assert_unique",
    "build_task",
    "drain_queue",
    "perform_job",
    "refute_dead_letter",
    "refute_enqueued",
    "run_consumer",
    "run_periodic",
    "use_test_queue",
)


def advise_on_short_name(error: object, config: pytest.Config) -> str | None:
    """Return advice for a test that uses a short name that is not available, or None."""
    name = getattr(error, "argname", None)
    if name not in NAMES or fixture_names.has_short_names(config):
        return None
    return (
        f"{name} is the short name of aquila_{name}. To use it, name the Huey under test (module:attribute), as "
        f"{placed_setting('huey', 'myapp.tasks:huey', settings_file(config))}, or override the fixture aquila_huey"
    )


@pytest.fixture
def perform_job(aquila_perform_job: PerformJob) -> PerformJob:
    """The fixture ``aquila_perform_job``."""
    return aquila_perform_job


@pytest.fixture
def build_task(aquila_build_task: BuildTask) -> BuildTask:
    """The fixture ``aquila_build_task``."""
    return aquila_build_task


@pytest.fixture
def all_enqueued(aquila_all_enqueued: AllEnqueued) -> AllEnqueued:
    """The fixture ``aquila_all_enqueued``."""
    return aquila_all_enqueued


@pytest.fixture
def assert_enqueued(aquila_assert_enqueued: AssertEnqueued) -> AssertEnqueued:
    """The fixture ``aquila_assert_enqueued``."""
    return aquila_assert_enqueued


@pytest.fixture
def assert_unique(aquila_assert_unique: AssertUnique) -> AssertUnique:
    """The fixture ``aquila_assert_unique``."""
    return aquila_assert_unique


@pytest.fixture
def refute_enqueued(aquila_refute_enqueued: RefuteEnqueued) -> RefuteEnqueued:
    """The fixture ``aquila_refute_enqueued``."""
    return aquila_refute_enqueued


@pytest.fixture
def assert_dead_letter(aquila_assert_dead_letter: AssertDeadLetter) -> AssertDeadLetter:
    """The fixture ``aquila_assert_dead_letter``."""
    return aquila_assert_dead_letter


@pytest.fixture
def refute_dead_letter(aquila_refute_dead_letter: RefuteDeadLetter) -> RefuteDeadLetter:
    """The fixture ``aquila_refute_dead_letter``."""
    return aquila_refute_dead_letter


@pytest.fixture
def drain_queue(aquila_drain_queue: DrainQueue) -> DrainQueue:
    """The fixture ``aquila_drain_queue``."""
    return aquila_drain_queue


@pytest.fixture
def run_periodic(aquila_run_periodic: RunPeriodic) -> RunPeriodic:
    """The fixture ``aquila_run_periodic``."""
    return aquila_run_periodic


@pytest.fixture
def use_test_queue(aquila_use_test_queue: UseTestQueue) -> UseTestQueue:
    """The fixture ``aquila_use_test_queue``."""
    return aquila_use_test_queue


@pytest.fixture
def run_consumer(aquila_run_consumer: RunConsumer) -> RunConsumer:
    """The fixture ``aquila_run_consumer``."""
    return aquila_run_consumer
