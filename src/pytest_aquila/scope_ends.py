"""The end of a test's scope: what is demanded of it, and its report. Most runs never load this module."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from aquila import errors
from aquila.lazy_imports import lazy_modules
from aquila.recording.reporting import reports
from pytest_aquila import node_ids, outcomes, report_redaction, test_scopes
from pytest_aquila.summary import run_totals

if TYPE_CHECKING:
    from typing import Literal

    from aquila.recording.reporting.reports import ScopeReport
    from aquila.recording.scope import Scope
    from aquila.settings import Settings
    from pytest_aquila import play_requirements
    from pytest_aquila.recording_runs import recording_progress, second_attempts
    from pytest_aquila.summary import junit_facts, noted_uses

    Outcome = Literal["passed", "skipped", "xfailed", "failed"]
else:
    lazy_modules(
        globals(),
        "pytest_aquila: play_requirements",
        "pytest_aquila.recording_runs: recording_progress, second_attempts",
        "pytest_aquila.summary: junit_facts, noted_uses",
    )


def check_plays(scope: Scope) -> None:
    """Fail, or warn, for unplayed or old recordings, unmet faults and unused answers, as the settings demand."""
    settings = scope.settings
    if settings.transport == "record" or settings.unplayed != "ignore":  # mostly neither, and each call takes time
        _open_own_session(scope, settings)
    if settings.faults is not None:
        play_requirements.demand_faults_are_met(scope)
    if scope.scripts.is_written or scope.scripts.from_files:
        play_requirements.demand_scripts_are_used(scope)
    if settings.unplayed == "fail":
        play_requirements.fail_for_unplayed(scope)
    if settings.outdated == "fail" and settings.max_age is not None:
        play_requirements.fail_for_outdated(scope, settings.max_age)


def _open_own_session(scope: Scope, settings: Settings) -> None:
    """Open the session of a test's own cassette even without a request: such a test keeps no recordings.

    The test still runs, so it fails if its cassette cannot be read.
    """
    cassette, transport = scope.default_cassette, settings.transport
    if cassette is None or not scope.owns_cassette or transport not in ("record", "replay"):
        return
    try:
        scope.sessions.session_for(cassette, settings.record if transport == "record" else "replay")
    except errors.CassetteCorrupt:
        raise outcomes.make_outcome(scope.sessions.unusable[-1], with_traceback=False) from None


def close_test_scope(item: pytest.Item, scope: Scope, outcome: Outcome) -> None:
    """Close the scope of a test: store its recordings if it passed, and add its report to the totals of the run."""
    try:
        settings = scope.settings
    except errors.ConfigError:  # the test has left a wrong one; its scope must not answer the requests of the next test
        _close_scope(item, scope, passed=False)
        raise
    missed = scope.misses.hear()  # asked once, because misses of children are read from files
    misses = tuple(missed) if missed else ()
    if misses:
        second_attempts.plan_second_attempt(item, misses)
    if misses or outcome != "passed":
        report_redaction.redactors_of(item)  # made while the scope is open, for reports that come later
    else:
        report_redaction.remember_redactors(item, scope)
    report = _close_scope(
        item,
        scope,
        passed=outcome == "passed" and not misses,
        # A skipped or expectedly failing test ended where it was meant to, so a replay needs its recordings. Another
        # run may send more requests, so nothing is removed. A test that fails because its fault was not met has
        # recorded the good answer from which the fault is made.
        adds_only=(outcome in ("skipped", "xfailed") or (outcome == "failed" and settings.faults is not None))
        and not misses,
    )
    add_report(item, report, settings, is_of_test=True, is_whole=outcome == "passed" and not misses)


def ends_run(item: pytest.Item, error: BaseException) -> bool:
    """Whether the run ends with ``error``: Ctrl-C, or ``pytest.exit``. With ``--pdb``, Ctrl-C only fails the test."""
    if isinstance(error, KeyboardInterrupt):
        return not item.config.getoption("usepdb", False)
    return isinstance(error, pytest.exit.Exception)


def note_interruption(item: pytest.Item, scope: Scope) -> None:
    """Add what was missed in a scope to the totals of the run, which ends without closing the scope.

    What the scope has recorded stays in its journal: nothing has failed, and the next recording run stores it.
    """
    if scope.misses.hear():
        with contextlib.suppress(errors.ConfigError):  # the test has left a wrong setting; the run must still end well
            settings = scope.settings
            add_report(item, reports.summarize_scope(scope, reports.StoredRecordings(), settings), settings)


def end_failed_test(item: pytest.Item, error: BaseException, outcome: Outcome) -> None:
    """Close the scope of a test, if it has one. Its teardown failed with ``error``; before that it had ``outcome``.

    If the run ends with ``error``, the scope of a test that had not failed stays open, as when its body is interrupted.
    """
    if outcome != "failed" and ends_run(item, error):
        return
    try:
        scope = test_scopes.end_test(item)
        if scope is not None:
            # Who fails or skips a test here on purpose says nothing against the code whose answers were recorded.
            is_outcome = isinstance(error, (pytest.fail.Exception, pytest.skip.Exception))
            on_purpose = is_outcome and not isinstance(error, errors.UnansweredRequest)
            close_test_scope(item, scope, outcome if on_purpose else "failed")
    finally:
        test_scopes.take_teardown_misses(item.config)


def add_report(
    item: pytest.Item, report: ScopeReport, settings: Settings, *, is_of_test: bool = False, is_whole: bool = False
) -> None:
    """Add the report of a scope to the totals of the run.

    ``is_of_test`` says that it is the scope of a test, and not of a fixture, and ``is_whole`` that the test ran to its
    end.
    """
    totals = run_totals.totals_of(item.config)
    if test_scopes.runs_again(item):  # only the second attempt counts
        row = (node_ids.id_to_type(item), item.stash[test_scopes.REASON])
        if row not in totals.anew:
            totals.anew.append(row)
        return
    test = node_ids.id_to_type(item)
    totals.add_report(report, settings, test, is_whole=is_whole)
    if is_of_test and report.cassettes:  # a fixture's scope has a cassette even if it asked only a server of the test
        totals.used = True
    if getattr(item.config.option, "xmlpath", None) is not None:
        junit_facts.add_report(item, report)
    if settings.transport == "record":
        recording_progress.note_recording(item, test, report)
        totals.uses += noted_uses.uses_in(item, report, is_whole=is_whole)


def _close_scope(item: pytest.Item, scope: Scope, *, passed: bool, adds_only: bool = False) -> ScopeReport:
    """Close the scope of a test as ``Scope.close`` does. Raises what that raises."""
    try:
        return scope.close(passed=passed, adds_only=adds_only)
    finally:
        scope.run.scopes.remove(scope)
        with scope.run.lock:  # a thread that outlives the test may be asking for the scope
            del item.stash[test_scopes.SCOPE]  # a test that runs again gets a new scope
