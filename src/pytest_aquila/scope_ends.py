"""What becomes of the scope of a test at its end, and of what a scope reports. Most runs never load it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aquila.lazy_imports import lazy_modules
from pytest_aquila import test_scopes

if TYPE_CHECKING:
    from typing import Literal

    from aquila.config import Settings
    from aquila.recording.reporting.reports import ScopeReport
    from aquila.recording.scope import Scope
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
    """Close the scope of a test: store what it recorded if all went well, and add to the sums of the run."""
    settings, misses = scope.settings, tuple(scope.misses)  # once: children tell of theirs through files
    if misses:
        second_attempts.plan(item, misses)
    if misses or outcome != "passed":
        test_scopes.redactors_of(item)  # its reports are still to come
    else:
        test_scopes.remember_redactors(item, scope)
    report = test_scopes.close_scope(
        item,
        passed=outcome == "passed" and not misses,
        # It ended where it meant to: a replay needs what led there. It may have asked less than another run would.
        # One that fails for want of a fault has recorded the good answer of which it is made.
        adds_only=(outcome in ("skipped", "xfailed") or (outcome == "failed" and settings.faults is not None))
        and not misses,
    )
    if report is not None:
        add_report(item, report, settings, is_whole=outcome == "passed" and not misses)


def add_report(item: pytest.Item, report: ScopeReport, settings: Settings, *, is_whole: bool = False) -> None:
    """Add to the sums of the run what a scope did: that of a test, or of a fixture that the test set up.

    ``is_whole`` says that it was a test, which ran to its end.
    """
    totals = plugin.totals_of(item.config)
    if test_scopes.runs_again(item):  # the next attempt counts
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
