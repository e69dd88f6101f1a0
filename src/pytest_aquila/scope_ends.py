"""The end of a test's scope, and its report. Most runs never load this module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aquila.lazy_imports import lazy_modules
from pytest_aquila import test_scopes

if TYPE_CHECKING:
    from typing import Literal

    from aquila.recording.reporting.reports import ScopeReport
    from aquila.recording.scope import Scope
    from aquila.settings import Settings
    from pytest_aquila import plugin
    from pytest_aquila.recording_runs import recording_progress, second_attempts
    from pytest_aquila.summary import junit_facts, noted_uses

    Outcome = Literal["passed", "skipped", "xfailed", "failed"]
else:
    lazy_modules(
        globals(),
        junit_facts="pytest_aquila.summary.junit_facts",
        noted_uses="pytest_aquila.summary.noted_uses",
        plugin="pytest_aquila.plugin",
        recording_progress="pytest_aquila.recording_runs.recording_progress",
        second_attempts="pytest_aquila.recording_runs.second_attempts",
    )


def close_test_scope(item: pytest.Item, scope: Scope, outcome: Outcome) -> None:
    """Close the scope of a test: store its recordings if it passed, and add its report to the totals of the run."""
    settings, misses = scope.settings, tuple(scope.misses)  # read once, because misses of children are read from files
    if misses:
        second_attempts.plan(item, misses)
    if misses or outcome != "passed":
        test_scopes.redactors_of(item)  # made while the scope is open, for reports that come later
    else:
        test_scopes.remember_redactors(item, scope)
    report = test_scopes.close_scope(
        item,
        scope,
        settings,
        passed=outcome == "passed" and not misses,
        # A skipped or expectedly failing test ended where it was meant to, so a replay needs its recordings. Another
        # run may send more requests, so nothing is removed. A test that fails because its fault was not met has
        # recorded the good answer from which the fault is made.
        adds_only=(outcome in ("skipped", "xfailed") or (outcome == "failed" and settings.faults is not None))
        and not misses,
    )
    add_report(item, report, settings, is_whole=outcome == "passed" and not misses)


def add_report(item: pytest.Item, report: ScopeReport, settings: Settings, *, is_whole: bool = False) -> None:
    """Add the report of a scope to the totals of the run. It is the scope of a test, or of a fixture.

    ``is_whole`` says that it is the scope of a test that ran to its end.
    """
    totals = plugin.totals_of(item.config)
    if test_scopes.runs_again(item):  # only the second attempt counts
        row = (test_scopes.id_to_type(item), second_attempts.reason_of(item))
        if row not in totals.anew:
            totals.anew.append(row)
        return
    test = test_scopes.id_to_type(item)
    totals.add_report(report, settings, test)
    if getattr(item.config.option, "xmlpath", None) is not None:
        junit_facts.add_report(item, report)
    if settings.transport == "record":
        recording_progress.note_recording(item, test, report)
        totals.uses += noted_uses.uses_in(item, report, is_whole=is_whole)
