"""The end of a run in the terminal: the requested reports, then the news of the run in a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from aquila.cassettes.storage import names
from aquila.lazy_imports import lazy_modules
from aquila.plurals import count_of
from aquila.recording import runtime
from pytest_aquila import options, run_life
from pytest_aquila.summary.redacted_terminal import RedactedTerminal
from pytest_aquila.summary.run_totals import RunTotals

if TYPE_CHECKING:
    import pytest

    from aquila.recording.storing import interrupted_runs
    from pytest_aquila import suggested_commands, verify_run
    from pytest_aquila.summary import (
        drift_report,
        pending_report,
        run_news,
        summary_layout,
        totals_news,
        unrecorded_tests_cache,
    )
    from pytest_aquila.summary.run_news import News
else:
    lazy_modules(
        globals(),
        "aquila.recording.storing: interrupted_runs",
        "pytest_aquila: suggested_commands, verify_run",
        "pytest_aquila.summary: drift_report, pending_report, run_news, summary_layout, totals_news",
        "pytest_aquila.summary: unrecorded_tests_cache",
    )

_ANY_WIDTH = 100_000
_ERRORS_ONLY = -2
"""The verbosity of ``-qq``."""


def write_end(
    reporter: pytest.TerminalReporter, config: pytest.Config, exitstatus: int, totals: RunTotals | None
) -> None:
    """Write the reports and the summary of a run. ``totals`` are its totals, or None if no test used Aquila."""
    if totals is not None:
        totals.sort_tests()
        if totals.unrecorded:
            unrecorded_tests_cache.remember_missing_tests(config, totals.unrecorded)
    if options.wants_drift(config):
        drift_report.write_report(reporter, totals)
    elif totals is not None and totals.drifted:
        run_news.add_news(config, totals_news.describe_drifted(totals.drifted))
    if options.wants_verification(config):
        verify_run.write_report(reporter, config)
    news = [*config.stash.get(run_life.NEWS, []), *_find_waiting(exitstatus)]
    config.stash[run_life.NEWS] = []
    _write_summary(reporter, config, totals, news)


def _find_waiting(exitstatus: int) -> Iterator[News]:
    """Yield news about recordings that wait in journals, if this run may have left any."""
    if exitstatus or runtime.current_run().layers.at_start().transport == "record":
        root = runtime.current_settings().cassette_root()
        if (folder := root / names.WORK_FOLDER).is_dir():
            interrupted = [scope.id for scope in runtime.current_run().scopes.unclosed()]
            yield from totals_news.describe_waiting(interrupted_runs.find_waiting_recordings(root, interrupted), folder)


def _write_summary(
    reporter: pytest.TerminalReporter, config: pytest.Config, totals: RunTotals | None, news: list[News]
) -> None:
    if totals is None and not news:
        return
    terminal, verbosity = RedactedTerminal(reporter), config.get_verbosity()
    last = ""
    colour: summary_layout.Colour = ""
    if totals is not None:
        waiting = pending_report.find_pending(totals)
        if waiting or totals.tells_more:
            width = terminal.width if verbosity <= 0 else _ANY_WIDTH
            # News have commands that begin with `pytest`. What is written in its place may be longer.
            width -= len(suggested_commands.start_of_command(config)) - len("pytest")
            knows_failures = config.pluginmanager.has_plugin("lfplugin")
            news += totals_news.describe_totals(totals, waiting, width, just_failed=knows_failures)
        colour = "red" if totals.missed or totals.unstored or totals.unheard else ""
        if totals.used and (colour or verbosity > _ERRORS_ONLY):
            last = summary_line(totals, len(waiting))
    if not news and len(last) <= terminal.width:  # as most runs end: nothing has to be laid out
        if last:
            terminal.write_line(last, colour)
        return
    news = [row._replace(command=suggested_commands.complete_command(config, row.command)) for row in news]
    end = summary_layout.Line(last, colour)
    for line in run_news.lay_out_news(news, verbosity=verbosity, width=terminal.width, last=end):
        terminal.write_line(*line)


def summary_line(totals: RunTotals, pending: int = 0) -> str:
    """Return the last line: requests by state, ``pending`` files that wait, what replays saved, errors of storage."""
    line = f"aquila: {totals.replayed} replayed, {totals.recorded} recorded, {totals.missed} missed"
    if totals.scripted:
        line += f", {totals.scripted} scripted"
    if pending:
        line += f", {pending} pending"
    if totals.replayed:
        # An answer need not tell tokens, as those of embeddings and conversations of speech do not.
        line += f"; saved {totals.seconds:.1f} s" + (f" and {totals.tokens:,} tokens" if totals.tokens else "")
    if totals.unstored:
        line += f"; {count_of(len(totals.unstored), 'error')} of storage"
    return line
