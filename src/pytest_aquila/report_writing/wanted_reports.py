"""The reports that a run writes: those of ``--aquila-report``, and the summary of a job on GitHub."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.recording.secrets import outgoing
from pytest_aquila import test_scopes
from pytest_aquila.summary import pending_report

if TYPE_CHECKING:
    from aquila.run_report import markdown
    from pytest_aquila import suggested_commands
    from pytest_aquila.report_writing import written_reports
    from pytest_aquila.summary import miss_report
    from pytest_aquila.summary.run_totals import RunTotals
else:
    lazy_modules(
        globals(),
        "aquila.run_report: markdown",
        "pytest_aquila: suggested_commands",
        "pytest_aquila.report_writing: written_reports",
        "pytest_aquila.summary: miss_report",
    )

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable with the path of the Markdown file that GitHub Actions shows below a job."""

_WIDTH = 500
"""How many characters of a command are shown there."""


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
            if (totals := config.stash.get(test_scopes.TOTALS, None)) is not None:
                self._write(config, totals)

    def _write(self, config: pytest.Config, totals: RunTotals) -> None:
        waiting = pending_report.find_pending(totals)
        if not (totals.missed or waiting):
            return
        is_recording = runtime.current_settings().transport == "record"
        # Whoever reads this types the command elsewhere, where pytest does not know what failed here.
        news = [
            *miss_report.describe_misses(totals, _WIDTH, just_failed=False, is_recording=is_recording),
            *pending_report.describe_pending(waiting),
        ]
        text = markdown.write_short(
            {name: getattr(totals, name) for name in ("replayed", "recorded", "scripted", "missed")},
            [
                markdown.NeededAction(
                    row.title or row.text,
                    row.details or row.names,
                    row.lead,
                    suggested_commands.complete_command(config, row.command),
                )
                for row in news
            ],
        )
        append_to_step_summary(outgoing.redact_outgoing(text))
