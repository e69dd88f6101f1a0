"""The reports that a run writes: those of ``--aquila-report``, and the summary of a job on GitHub."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aquila.lazy_imports import lazy_modules
from aquila.recording.secrets import outgoing
from pytest_aquila import test_scopes
from pytest_aquila.summary import pending_report

if TYPE_CHECKING:
    from aquila.config import SettingsLayers
    from aquila.run_report import markdown
    from pytest_aquila.report_writing import written_reports
    from pytest_aquila.summary import miss_report
    from pytest_aquila.summary.run_totals import RunTotals
else:
    lazy_modules(
        globals(),
        "aquila.run_report: markdown",
        "pytest_aquila.report_writing: written_reports",
        "pytest_aquila.summary: miss_report",
    )

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable with the path of the Markdown file that GitHub Actions shows below a job."""


def begin_reports(config: pytest.Config) -> None:
    """Register the plugins for the reports of a run.

    Raises ``UsageError`` for a report that cannot be written, and ``ConfigError`` for a wrong table of prices.
    """
    if config.option.aquila_report:
        config.pluginmanager.register(written_reports.RunReports(config), written_reports.PLUGIN)
    elif not hasattr(config, "workerinput"):
        config.pluginmanager.register(_ShortSummary())


def append_to_step_summary(text: str) -> None:
    """Append Markdown to the summary of the job, if there is one. A summary that cannot be written fails no run."""
    path = os.environ.get(STEP_SUMMARY)
    if not path:
        return
    with contextlib.suppress(OSError), Path(path).open("a", encoding="utf-8", errors="replace") as file:
        file.write(text)


class _ShortSummary:
    """A plugin of a run without a report. It writes into the job's summary only what needs action."""

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, config: pytest.Config) -> None:
        """Write the summary."""
        with contextlib.suppress(Exception):  # an error of the job's summary must not fail the run
            self._write(config.stash.get(test_scopes.TOTALS, None), config.stash[test_scopes.RUN].layers)

    def _write(self, totals: RunTotals | None, layers: SettingsLayers) -> None:
        if totals is None:
            return
        waiting = pending_report.find_pending(totals)
        if not (totals.missed or waiting):
            return
        text = markdown.write_short(
            {name: getattr(totals, name) for name in ("replayed", "recorded", "scripted", "missed")},
            miss_report.group_by_change(totals.changed),
            [layers.path_to_type(each.path) for each in waiting],
        )
        append_to_step_summary(outgoing.redact_outgoing(text))
