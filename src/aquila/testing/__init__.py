"""The types of the fixtures, to annotate tests with. Names are imported when they are first used.

::

    from aquila.testing import PerformJob, UsedCassette

    def test_summary(perform_job: PerformJob, aquila_cassette: UsedCassette) -> None: ...

The types of fixtures for tasks are defined in ``aquila.huey.testing.fixture_types``; importing them does not need Huey.
``CassetteOptions`` and ``MarkerOptions`` are the types of settings.

``use_script`` opens a script for a block. ``use_faults`` has the object of the fixture ``aquila_faults``.
``strategies`` lets hypothesis look for a fault, a stream or an answer that breaks a program.

Begin with ``use_script``. Imported by tests and ``pytest_aquila``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aquila.lazy_imports import lazy_names

if TYPE_CHECKING:
    from aquila.faults.fault import Fault as Fault
    from aquila.faults.plan import FaultPlan as FaultPlan
    from aquila.huey.testing.consumers.running_consumer import RunningConsumer as RunningConsumer
    from aquila.huey.testing.draining import Drained as Drained
    from aquila.huey.testing.fixture_types import AllEnqueued as AllEnqueued
    from aquila.huey.testing.fixture_types import AssertDeadLetter as AssertDeadLetter
    from aquila.huey.testing.fixture_types import AssertEnqueued as AssertEnqueued
    from aquila.huey.testing.fixture_types import AssertUnique as AssertUnique
    from aquila.huey.testing.fixture_types import BuildTask as BuildTask
    from aquila.huey.testing.fixture_types import DrainQueue as DrainQueue
    from aquila.huey.testing.fixture_types import PerformJob as PerformJob
    from aquila.huey.testing.fixture_types import RefuteDeadLetter as RefuteDeadLetter
    from aquila.huey.testing.fixture_types import RefuteEnqueued as RefuteEnqueued
    from aquila.huey.testing.fixture_types import RunConsumer as RunConsumer
    from aquila.huey.testing.fixture_types import RunPeriodic as RunPeriodic
    from aquila.huey.testing.fixture_types import UseTestQueue as UseTestQueue
    from aquila.huey.testing.task_run import ScheduledRetry as ScheduledRetry
    from aquila.huey.testing.task_run import TaskRun as TaskRun
    from aquila.recording.network.refusals import Refusals as Refusals
    from aquila.recording.used_cassette import UsedCassette as UsedCassette
    from aquila.scripting.script import Rule as Rule
    from aquila.scripting.script import Script as Script
    from aquila.server.background_server import BackgroundServer as BackgroundServer
    from aquila.setting_types import CassetteOptions as CassetteOptions
    from aquila.setting_types import MarkerOptions as MarkerOptions
    from aquila.testing.use_faults import Faults as Faults
    from aquila.testing.use_script import use_script as use_script
    from aquila.wire_forms.sent import SentMessage as SentMessage
    from aquila.wire_forms.sent import SentRequest as SentRequest
    from aquila.wire_forms.sent import SentTool as SentTool
    from aquila.wire_forms.sent import SentToolCall as SentToolCall

_NAMES = {
    name: module
    for module, names in (
        ("aquila.setting_types", "CassetteOptions MarkerOptions"),
        ("aquila.faults.fault", "Fault"),
        ("aquila.faults.plan", "FaultPlan"),
        ("aquila.huey.testing.consumers.running_consumer", "RunningConsumer"),
        ("aquila.huey.testing.draining", "Drained"),
        ("aquila.huey.testing.fixture_types", "AllEnqueued AssertDeadLetter AssertEnqueued AssertUnique BuildTask"),
        ("aquila.huey.testing.fixture_types", "DrainQueue PerformJob RefuteDeadLetter RefuteEnqueued RunConsumer"),
        ("aquila.huey.testing.fixture_types", "RunPeriodic UseTestQueue"),
        ("aquila.huey.testing.task_run", "ScheduledRetry TaskRun"),
        ("aquila.recording.network.refusals", "Refusals"),
        ("aquila.recording.used_cassette", "UsedCassette"),
        ("aquila.scripting.script", "Rule Script"),
        ("aquila.server.background_server", "BackgroundServer"),
        ("aquila.testing.use_faults", "Faults"),
        ("aquila.testing.use_script", "use_script"),
        ("aquila.wire_forms.sent", "SentMessage SentRequest SentTool SentToolCall"),
    )
    for name in names.split()
}
"""Every public name and the module that defines it."""

__all__ = list(_NAMES)

if not TYPE_CHECKING:  # else type checkers would take any name for one of this package
    __getattr__, __dir__ = lazy_names(__name__, _NAMES)
