"""Begins what options and settings add to a run: recording, verification, faults, reports, the list of orphans.

Most runs never load this module.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.lazy_imports import lazy_modules
from pytest_aquila import options

if TYPE_CHECKING:
    import pytest

    from aquila.recording.runtime import Run
    from aquila.recording.storing import interrupted_runs
    from pytest_aquila import sealed_run, verify_run
    from pytest_aquila.faulted_tests import fault_runs
    from pytest_aquila.recording_runs import recording_plan, recording_progress
    from pytest_aquila.report_writing import targets, wanted_reports
    from pytest_aquila.summary import run_extent, run_totals, unused_report
else:
    lazy_modules(
        globals(),
        "aquila.recording.storing: interrupted_runs",
        "pytest_aquila: sealed_run, verify_run",
        "pytest_aquila.faulted_tests: fault_runs",
        "pytest_aquila.recording_runs: recording_plan, recording_progress",
        "pytest_aquila.report_writing: targets, wanted_reports",
        "pytest_aquila.summary: run_extent, run_totals, unused_report",
    )


def begin_chosen_kinds(config: pytest.Config, run: Run) -> None:
    """Register the plugins for everything that the options and settings of a run choose.

    A recording run first stores the answers that an interrupted run left in journals. Raises ``UsageError`` or an
    ``AquilaError`` for an option or setting that cannot be followed.
    """
    plugins, now = config.pluginmanager, run.layers.at_start()
    if not hasattr(config, "workerinput"):
        _check_files(config)
    if config.getoption("aquila_orphans") is not None:
        plugins.register(unused_report.UnusedReport(config))
    if config.option.aquila_report or wanted_reports.STEP_SUMMARY in os.environ:
        wanted_reports.begin_reports(config)
    if now.guard == "sealed":
        sealed_run.check_sealed_run(run.layers.resolve(), verifies=options.wants_verification(config))
        plugins.register(sealed_run.SealedHeader())
    if options.wants_verification(config):
        verify_run.read_sample(config)  # so that a wrong one raises before any test
        run_extent.watch_extent(config)
    if options.wants_faults(config):
        plugins.register(fault_runs.FaultRuns(config), fault_runs.FaultRuns.__name__)
    if now.transport == "record":
        recording_plan.watch_recording(config, run, run.layers.resolve())
        plugins.register(recording_progress.RecordingProgress(config))
        if not hasattr(config, "workerinput"):
            _recover_journals(config, run)


def _check_files(config: pytest.Config) -> None:
    """Raise ``UsageError`` if a file that this run is to write at its end cannot be written."""
    for option in ("--aquila-orphans", "--aquila-drift", "--aquila-verify-json", "--aquila-faults-json"):
        name = config.getoption(option)
        if name not in (None, options.IMPLIED_VALUES.get(option)):
            targets.prepare_target(Path(config.invocation_params.dir, name), option, in_place=True)


def _recover_journals(config: pytest.Config, run: Run) -> None:
    found = interrupted_runs.recover_journals(run.layers.resolve().cassette_root())
    totals = run_totals.totals_of(config)
    totals.recovered += [(str(run.layers.shown_path(path)), count) for path, count in found.cassettes]
    totals.unrecovered += found.failures
