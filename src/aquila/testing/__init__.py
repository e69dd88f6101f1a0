"""The types of the fixtures, to annotate tests with. Names are imported when they are first used.

::

    from aquila.testing import PerformJob, UsedCassette

    def test_summary(perform_job: PerformJob, aquila_cassette: UsedCassette) -> None: ...

The types of fixtures for tasks are defined in ``aquila.huey.testing.fixture_types``; importing them does not need Huey.
Nothing imports this package except tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aquila.lazy_imports import lazy_names

if TYPE_CHECKING:
    from aquila.huey.testing.consumer import RunningConsumer as RunningConsumer
    from aquila.huey.testing.draining import Drained as Drained
    from aquila.huey.testing.fixture_types import AllEnqueued as AllEnqueued
    from aquila.huey.testing.fixture_types import AssertEnqueued as AssertEnqueued
    from aquila.huey.testing.fixture_types import BuildTask as BuildTask
    from aquila.huey.testing.fixture_types import DrainQueue as DrainQueue
    from aquila.huey.testing.fixture_types import PerformJob as PerformJob
    from aquila.huey.testing.fixture_types import RefuteEnqueued as RefuteEnqueued
    from aquila.huey.testing.fixture_types import RunConsumer as RunConsumer
    from aquila.huey.testing.fixture_types import RunPeriodic as RunPeriodic
    from aquila.huey.testing.fixture_types import UseTestQueue as UseTestQueue
    from aquila.huey.testing.task_run import ScheduledRetry as ScheduledRetry
    from aquila.huey.testing.task_run import TaskRun as TaskRun
    from aquila.recording.refusals import Refusals as Refusals
    from aquila.recording.used_cassette import UsedCassette as UsedCassette
    from aquila.server.background_server import BackgroundServer as BackgroundServer

_NAMES = {
    "AllEnqueued": "aquila.huey.testing.fixture_types",
    "AssertEnqueued": "aquila.huey.testing.fixture_types",
    "BackgroundServer": "aquila.server.background_server",
    "BuildTask": "aquila.huey.testing.fixture_types",
    "DrainQueue": "aquila.huey.testing.fixture_types",
    "Drained": "aquila.huey.testing.draining",
    "PerformJob": "aquila.huey.testing.fixture_types",
    "Refusals": "aquila.recording.refusals",
    "RefuteEnqueued": "aquila.huey.testing.fixture_types",
    "RunConsumer": "aquila.huey.testing.fixture_types",
    "RunPeriodic": "aquila.huey.testing.fixture_types",
    "RunningConsumer": "aquila.huey.testing.consumer",
    "ScheduledRetry": "aquila.huey.testing.task_run",
    "TaskRun": "aquila.huey.testing.task_run",
    "UseTestQueue": "aquila.huey.testing.fixture_types",
    "UsedCassette": "aquila.recording.used_cassette",
}
"""Every public name and the module that defines it."""

__all__ = list(_NAMES)

__getattr__, __dir__ = lazy_names(__name__, _NAMES)
