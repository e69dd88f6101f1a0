"""Completes the reports of tests and modules: removes secrets, adds advice, and notes what the run needs of them.

Most runs never load this module: the report of a test that passes and writes nothing stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aquila.lazy_imports import lazy_modules
from aquila.recording.secrets import outgoing
from pytest_aquila import advice, options, report_redaction, test_scopes

if TYPE_CHECKING:
    from pytest_aquila import unanswered
    from pytest_aquila.recording_runs import second_attempts
    from pytest_aquila.summary import drift_report, run_totals
else:
    lazy_modules(
        globals(),
        "pytest_aquila: unanswered",
        "pytest_aquila.recording_runs: second_attempts",
        "pytest_aquila.summary: drift_report, run_totals",
    )


def complete_report(report: pytest.TestReport, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Redact the report of a phase of a test, add advice to it, and note what becomes of the test."""
    if report.skipped and hasattr(report, "wasxfail"):
        unanswered.fail_though_expected(report, item, call)
    # Also that of a passing test: its output is in the XML of JUnit too, and each report repeats the output before it.
    report_redaction.redact_report(report, report_redaction.redactors_of(item))
    scope = test_scopes.opened_scope(item)
    if report.failed:
        advice.add_advice(report, call.excinfo, item.config, item)
        item.stash[test_scopes.OUTCOME] = "failed"
        test_scopes.tell_blocks(item, "failed")  # also of a subtest, after which the body may pass
        if scope is not None:
            scope.note_failure()
    elif report.skipped:
        item.stash[test_scopes.OUTCOME] = "xfailed" if hasattr(report, "wasxfail") else "skipped"
    if not report.passed:
        if options.wants_drift(item.config):
            error, totals = call.excinfo and call.excinfo.value, run_totals.totals_of(item.config)
            drift_report.note_test_without_cassette(item, error, totals)
        if scope is not None and (misses := scope.misses.hear()):
            second_attempts.plan_second_attempt(item, misses)
        if test_scopes.runs_again(item):
            report.outcome = test_scopes.RERUN  # type: ignore[assignment]
            if hasattr(report, "wasxfail"):
                del report.wasxfail
    if report.when == "teardown" and test_scopes.runs_again(item):  # else the test gets two entries in JUnit's file
        report.when = test_scopes.RERUN  # type: ignore[assignment]


def complete_collect_report(report: pytest.CollectReport, config: pytest.Config) -> None:
    """Redact the report of a module that cannot be collected, and add advice: its import may need a key."""
    report_redaction.redact_report(report, [outgoing.run_redactor()])
    call: pytest.CallInfo[Any] | None = getattr(report, "call", None)
    advice.add_advice(report, call.excinfo if call is not None else None, config)
