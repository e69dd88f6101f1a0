"""The progress of a recording run: a line for each test that has recorded something.

A worker of pytest-xdist sends the content of the line with the report of the test, and the controller writes it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from aquila.plurals import count_of
from pytest_aquila import test_scopes
from pytest_aquila.recording_runs import recording_status
from pytest_aquila.summary import redacted_terminal, run_news, summary_layout

if TYPE_CHECKING:
    from aquila.recording.reporting.played_answers import RecordedAnswer
    from aquila.recording.reporting.reports import ScopeReport

# What a test has recorded since its last report. `note_recording` adds to it, and the next report takes it.
_RECORDED: pytest.StashKey[list[dict[str, Any]]] = pytest.StashKey()
_ATTRIBUTE = "aquila_recorded"
_ROOM_FOR_PERCENT = len(" [100%] ")


class RecordingProgress:
    """A plugin of a run that records."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        recording_status.begin_status(config, config.stash[test_scopes.RUN])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add to a report what was recorded since the test's previous report."""
        report = yield
        rows = item.stash.get(_RECORDED, None)
        if rows:
            setattr(report, _ATTRIBUTE, rows)
            item.stash[_RECORDED] = []
        return report

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write what a test has recorded, in a line of its own."""
        rows = getattr(report, _ATTRIBUTE, None)
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if rows and terminal is not None and self._config.get_verbosity() >= 0:
            clean = redacted_terminal.RedactedTerminal(terminal)
            for row in rows:
                for line in describe_recording(row, clean.width - _ROOM_FOR_PERCENT):
                    clean.write_between(line)


def note_recording(item: pytest.Item, test: str, report: ScopeReport) -> None:
    """Note what was recorded while a test ran, for its next report. ``test`` is its id as users type it."""
    if report.answers:
        row = {
            "test": test,
            "answers": len(report.answers),
            "models": name_models(report.answers),
            "failures": [each.failure for each in report.answers if each.failure],
            "seconds": sum(each.seconds for each in report.answers),
            "tokens": sum(each.tokens for each in report.answers),
            "is_pending": bool(report.pending),
        }
        item.stash.setdefault(_RECORDED, []).append(row)


def name_models(answers: Sequence[RecordedAnswer]) -> list[str]:
    """Return the models that answered, each with its host. A host alone stands for answers that name no model."""
    known = {each.host for each in answers if each.model}
    return list(
        dict.fromkeys(f"{each.host} {each.model}".strip() for each in answers if each.model or each.host not in known)
    )


def describe_recording(row: dict[str, Any], width: int) -> list[str]:
    """Return what a test has recorded as a line, or as two in a terminal of ``width`` characters."""
    test = run_news.clean_text(row["test"])
    models = [run_news.clean_text(" ".join(each.split())) for each in row["models"]]
    parts = [f"{row['answers']} answers"] if row["answers"] > 1 else []
    parts += [
        each if len(each) <= recording_status.LONGEST_NAME else f"{each[: recording_status.LONGEST_NAME]}…"
        for each in models[:1]
    ]
    if len(models) > 1:
        parts.append(f"and {len(models) - 1} more")
    if row["failures"]:
        number = f"{len(row['failures'])} " if row["answers"] > 1 else ""
        parts.append(f"{number}failed ({', '.join(dict.fromkeys(row['failures']))})")
    parts.append(f"{row['seconds']:.1f} s")
    if row["tokens"]:  # an answer may contain no counts
        parts.append(count_of(row["tokens"], "token"))
    if row["is_pending"]:
        parts.append("pending")
    return summary_layout.lay_out_parts(test, parts, width)
