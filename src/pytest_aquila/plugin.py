"""The hooks of pytest that every run needs. Those that only some runs need are with what needs them.

This module imports no HTTP client, no codec and not Huey, so that a run without cassettes does not pay for them. A test
gets a scope only when something in it needs one.
"""

from __future__ import annotations

import functools
import itertools
import os
import sys
from collections.abc import Generator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from aquila.config import find_cassette_root
from aquila.intercept import child_processes
from aquila.lazy_imports import lazy_modules
from aquila.recording.environment import find_variables_named
from pytest_aquila import fixture_names, options, run_life, test_scopes
from pytest_aquila.fixture_names import (  # noqa: F401 - hooks
    pytest_collectstart,
    pytest_plugin_registered,
    pytest_pycollect_makeitem,
    pytest_sessionstart,
)
from pytest_aquila.test_scopes import pytest_make_parametrize_id  # noqa: F401 - a hook

if TYPE_CHECKING:
    from aquila import errors
    from aquila.errors import UnansweredRequest
    from aquila.recording.reporting import child_misses
    from aquila.recording.secrets import outgoing
    from aquila.recording.storing import interrupted_runs
    from pytest_aquila import (
        advice,
        environment_check,
        fixture_cassettes,
        option_values,
        outcomes,
        play_requirements,
        report_redaction,
        scope_ends,
        sealed_run,
        skipped_cassette_folders,
        unanswered,
        vcr_compat,
        verify_run,
    )
    from pytest_aquila.faulted_tests import fault_check, fault_runs
    from pytest_aquila.recording_runs import recording_plan, recording_progress, second_attempts
    from pytest_aquila.report_writing import wanted_reports
    from pytest_aquila.scope_ends import Outcome
    from pytest_aquila.summary import (
        drift_report,
        end_of_run,
        noted_uses,
        orphans_report,
        redacted_terminal,
        run_totals,
    )
    from pytest_aquila.summary.run_totals import RunTotals
else:
    lazy_modules(
        globals(),
        advice="pytest_aquila.advice",
        skipped_cassette_folders="pytest_aquila.skipped_cassette_folders",
        child_misses="aquila.recording.reporting.child_misses",
        play_requirements="pytest_aquila.play_requirements",
        drift_report="pytest_aquila.summary.drift_report",
        end_of_run="pytest_aquila.summary.end_of_run",
        environment_check="pytest_aquila.environment_check",
        errors="aquila.errors",
        fault_check="pytest_aquila.faulted_tests.fault_check",
        fault_runs="pytest_aquila.faulted_tests.fault_runs",
        fixture_cassettes="pytest_aquila.fixture_cassettes",
        noted_uses="pytest_aquila.summary.noted_uses",
        option_values="pytest_aquila.option_values",
        outcomes="pytest_aquila.outcomes",
        outgoing="aquila.recording.secrets.outgoing",
        interrupted_runs="aquila.recording.storing.interrupted_runs",
        recording_plan="pytest_aquila.recording_runs.recording_plan",
        recording_progress="pytest_aquila.recording_runs.recording_progress",
        report_redaction="pytest_aquila.report_redaction",
        redacted_terminal="pytest_aquila.summary.redacted_terminal",
        run_totals="pytest_aquila.summary.run_totals",
        scope_ends="pytest_aquila.scope_ends",
        second_attempts="pytest_aquila.recording_runs.second_attempts",
        sealed_run="pytest_aquila.sealed_run",
        unanswered="pytest_aquila.unanswered",
        orphans_report="pytest_aquila.summary.orphans_report",
        vcr_compat="pytest_aquila.vcr_compat",
        verify_run="pytest_aquila.verify_run",
        wanted_reports="pytest_aquila.report_writing.wanted_reports",
    )

_totals: pytest.StashKey[RunTotals] = pytest.StashKey()
_outcome: pytest.StashKey[Outcome] = pytest.StashKey()
"""The outcome of a test before its teardown. Set by each setup, so that a test that runs again begins as passed."""


def __dir__() -> list[str]:
    """Return the hooks that pytest is to find in this module: only these, because it inspects each name for long."""
    return [hook.__name__ for hook in (pytest_addoption, pytest_load_initial_conftests, pytest_configure)]


class _OtherHooks:
    """The other hooks of this module, as an object that has nothing else.

    pluggy finds a hook of an object in a small part of the time in which it finds one of a module.
    """

    def __init__(self) -> None:
        vars(self).update({name: value for name, value in globals().items() if name.startswith("pytest_")})
        for name in __dir__():
            delattr(self, name)

    def __dir__(self) -> list[str]:
        return list(vars(self))


def _register_other_hooks(config: pytest.Config) -> None:
    """Register them once the run has begun: until then `-p no:aquila` may still take this module away."""
    name = f"{__name__} (other hooks)"
    if not config.pluginmanager.has_plugin(name):
        config.pluginmanager.register(_OtherHooks(), name)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare options and ini keys. A run that is to be sealed starts again from here, before it has done anything."""
    options.add_options(parser)
    config = pluginmanager.get_plugin("pytestconfig")
    if config is not None and options.is_to_be_sealed(config):
        sealed_run.enter_sealed_run(config)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, object, object]:
    """Begin the run before any conftest is imported, and turn on the layer for another recorder if it is wanted."""
    if not options.IMPLIED_VALUES.keys().isdisjoint(args):
        option_values.write_implied_values(args, early_config, parser)
    # `known_args_namespace` is the command line as parsed so far. Options of conftests are not known yet.
    run_life.begin_run(early_config, early_config.known_args_namespace)
    _register_other_hooks(early_config)
    fixture_names.begin_testing_mode_of_ini(early_config)  # a conftest may import code that puts jobs into queues
    if options.replaces_recorder(early_config):  # before pytest parses the whole command line with its options
        vcr_compat.turn_on(early_config, parser)
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Begin the tests of the run. A recording run first stores the answers that an interrupted run left in journals."""
    config.addinivalue_line(
        "markers",
        f"{options.MARKER}(cassette=None, **settings): the cassette of this test, and settings for it "
        "(transport, match_on, ignore, repeat, replay_timing, ...)",
    )
    config.addinivalue_line("markers", f"{options.LIVE}: this test is meant to reach the provider, without a cassette")
    _warn_of_unknown_variables(config)
    run = run_life.begin_tests(config, shows_keys=_starts_workers(config))
    _register_other_hooks(config)
    run.make_outcome, run.tell = lambda error: outcomes.make_outcome(error), functools.partial(_tell, config)  # noqa: PLW0108 - it is imported late
    if config.getoption("aquila_orphans") is not None:
        config.pluginmanager.register(orphans_report.UnusedReport(config, functools.partial(_used_cassettes, config)))
    try:
        now = run.layers.at_start()
        if config.option.aquila_report or "GITHUB_STEP_SUMMARY" in os.environ:
            wanted_reports.begin_reports(config, lambda: config.stash.get(_totals, None))
        if os.path.isdir(root := find_cassette_root(now.root, now.cassette_dir)):
            config.pluginmanager.register(skipped_cassette_folders.SkippedCassetteFolders(root))
        if now.guard == "sealed":
            sealed_run.check_sealed_run(run.layers.resolve(), verifies=options.wants_verification(config))
            config.pluginmanager.register(sealed_run.SealedHeader())
        if options.wants_verification(config):
            verify_run.read_sample(config)  # before any test, if it is wrong
        if options.wants_faults(config):
            config.pluginmanager.register(fault_runs.FaultRuns(config), fault_runs.FaultRuns.__name__)
        if now.transport == "record":
            recording_plan.watch_recording(config, run, run.layers.resolve())
            config.pluginmanager.register(recording_progress.RecordingProgress(config))
        if now.transport == "record" and not _is_worker(config):
            found = interrupted_runs.recover_journals(root)
            totals = totals_of(config)
            totals.recovered += [(str(path), count) for path, count in found.cassettes]
            totals.unrecovered += found.failures
    except Exception as error:
        if isinstance(error, errors.AquilaError):
            raise pytest.UsageError(str(error)) from error
        raise


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse unknown faults, and faults that no answer of a test can have."""
    if any("faults" in marker.kwargs for item in items for marker in item.iter_markers(options.MARKER)):
        fault_check.check_faults(items)


def _tell(config: pytest.Config, sentence: str) -> None:
    """Show a sentence at once, although pytest captures output. Those of a worker are shown in the summary."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not _is_worker(config):
        terminal.ensure_newline()
        redacted_terminal.RedactedTerminal(terminal).write_line(f"aquila: {sentence}", yellow=True)
    else:
        totals_of(config).sentences.append(sentence)


def _warn_of_unknown_variables(config: pytest.Config) -> None:
    if not _is_worker(config) and not {*find_variables_named("AQUILA_")} <= {"AQUILA_SESSION", "AQUILA_QUEUES"}:
        environment_check.warn_of_unknown_variables(config)


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End the tests of the run. Other clean-up, and threads that tests have left, stay guarded."""
    run = config.stash.get(test_scopes.RUN, None)
    if run is not None:
        run_life.end_tests(run)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Note which test runs. A test in which a conversation drifted while it was recorded runs a second time."""
    with test_scopes.running_test(item):
        result = yield
    return second_attempts.run_again(item, nextitem) if test_scopes.runs_again(item) else result


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Open the scope of a test that names a cassette: child processes and clients that it starts need it at once."""
    child_processes.tell_if_forgotten()
    test_scopes.begin_test(item)
    item.stash[_outcome] = "passed"  # a plugin may run the test again, whose teardown may have failed
    if test_scopes.wants_cassette(item):
        test_scopes.scope_of(item)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Answer the requests of a fixture from its own cassette, unless it belongs to one test. So does its teardown."""
    before = test_scopes.node_of_fixture.set(request.node)
    try:
        item = test_scopes.running_item(request.config)
        if item is None or not fixture_cassettes.has_own_cassette(fixturedef, item):
            return (yield)
        cassette = fixture_cassettes.FixtureCassette(
            fixturedef, request, item, functools.partial(scope_ends.add_report, item)
        )
        request.addfinalizer(cassette.end_teardown)  # finalizers run in reverse order, so this one runs last
        try:
            with cassette.answer_setup():
                result = yield
        except BaseException as error:
            test_scopes.cache_setup_failure(fixturedef, request, error)
            raise
        request.addfinalizer(cassette.begin_teardown)
        return result
    finally:
        test_scopes.node_of_fixture.reset(before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test whose code swallowed a miss or a refusal."""
    try:
        result = yield
    except BaseException as error:
        if test_scopes.has_unanswered(item):
            unanswered.add_section(item, "call", error)
        raise
    if test_scopes.has_unanswered(item):
        unanswered.fail_for_swallowed(unanswered.unanswered_in(item)[0])
    scope = test_scopes.opened_scope(item)
    if scope is not None:
        play_requirements.check_plays(scope)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether everything before the teardown passed, and shorten reports whose message needs no traceback."""
    simplifies = call.excinfo is not None and not item.config.getoption("fulltrace", False)
    if simplifies:
        unanswered.simplify_failure(item, call)
    report = yield
    if simplifies:
        unanswered.shorten_crash_line(report, call)
    # The output of a passing test is in the XML of JUnit too, and each report repeats the output before it. So every
    # report with output is redacted.
    tells_more = report.sections or report.user_properties or hasattr(report, "wasxfail")
    if report.failed or report.skipped or tells_more:
        report_redaction.redact_report(report, test_scopes.redactors_of(item))
    if report.failed:
        advice.add_advice(report, call.excinfo, item.config)
        item.stash[_outcome] = "failed"
        scope = test_scopes.opened_scope(item)
        if scope is not None:
            scope.note_failure()
    elif report.skipped:
        item.stash[_outcome] = "xfailed" if hasattr(report, "wasxfail") else "skipped"
    if not report.passed:
        if options.wants_drift(item.config):
            drift_report.note_test_without_cassette(item, call.excinfo and call.excinfo.value, totals_of(item.config))
        scope = test_scopes.opened_scope(item)
        if scope is not None and scope.misses:
            second_attempts.plan(item, scope.misses)
        if test_scopes.runs_again(item):
            second_attempts.mark_as_rerun(report)
    if report.when == "teardown" and test_scopes.runs_again(item):
        second_attempts.hide_end(report)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str | tuple[str, dict[str, bool]]] | None:
    """Show the first of two attempts in the form that pytest-rerunfailures uses."""
    if report.when == test_scopes.RERUN and report.outcome == "passed":
        return "", "", ""
    if report.outcome == test_scopes.RERUN:
        return test_scopes.RERUN, "R", ("RERUN", {"yellow": True})
    return None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Add advice if a client that a module makes during its import needs a key."""
    report = yield
    if report.failed:
        report_redaction.redact_report(report, [outgoing.run_redactor()])
        call: pytest.CallInfo[Any] | None = getattr(report, "call", None)
        advice.add_advice(report, call.excinfo if call is not None else None, collector.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Close the scope of the test after its fixtures, and store the recordings of a passing test."""
    outcome: Outcome = item.stash.get(_outcome, "passed")
    item.stash[_outcome] = "passed"  # for a plugin that runs the test again
    kept = second_attempts.keeping_shared_fixtures(item) if test_scopes.runs_again(item) else nullcontext()
    try:
        with kept:
            result = yield
    except pytest.fail.Exception as error:
        # A plugin that fails a test here on purpose says nothing against the code whose answers were recorded.
        _close_test_scope(item, "failed" if isinstance(error, errors.UnansweredRequest) else outcome)
        raise
    except BaseException:
        _close_test_scope(item, "failed")
        raise
    finally:
        swallowed: list[UnansweredRequest] = [*test_scopes.take_teardown_misses(item.config)]
    if outcome in ("passed", "skipped") and test_scopes.has_unanswered(item):  # a miss may have led to the skip
        swallowed += unanswered.unanswered_in(item)
    _close_test_scope(item, outcome)
    if swallowed:
        unanswered.fail_for_swallowed(swallowed[-1])
    return result


def _close_test_scope(item: pytest.Item, outcome: Outcome) -> None:
    scope = test_scopes.end_test(item)
    if scope is not None:
        scope_ends.close_test_scope(item, scope, outcome)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> Generator[None, object, object]:
    """Write the news of the run and what to do about it, last, after pytest's list of failed tests."""
    result = yield
    totals = config.stash.get(_totals, None)
    has_news = run_life.NEWS in config.stash
    if totals or exitstatus or has_news or options.wants_drift(config) or options.wants_verification(config):
        end_of_run.write_end(terminalreporter, config, exitstatus, totals)
    return result


@pytest.hookimpl(trylast=True)  # pytest's own implementation tears down the fixtures of an interrupted run
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Add what belongs to no test to the totals. A worker of pytest-xdist sends its totals to the controller."""
    run = session.config.stash[test_scopes.RUN]
    if run.unstored:
        totals_of(session.config).unstored += run.unstored
    if run.unasked:
        totals_of(session.config).unasked += run.unasked
    if refused := run.take_refused():
        totals_of(session.config).refused += refused
    if run.notes:
        totals_of(session.config).notes += run.notes
    # Child processes report through this module. Most runs never load it, and then there is nothing to take.
    if "aquila.recording.reporting.child_misses" in sys.modules:
        totals_of(session.config).cassettes += sorted(run.state_of(child_misses.ChildMisses).take_used())
    totals = session.config.stash.get(_totals, None)
    if totals is not None and _is_worker(session.config):
        tests = map(test_scopes.id_to_type, session.items)
        session.config.workeroutput["aquila"] = totals.as_plain_data(tests)  # type: ignore[attr-defined]
    elif totals is not None and totals.uses:
        totals.unstored += noted_uses.store_uses(itertools.starmap(noted_uses.NotedUse, totals.uses))
    if options.wants_verification(session.config):
        if _is_worker(session.config):
            verify_run.send_plays(session.config)
        else:
            verify_run.verify_session(session)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add the totals of a worker to those of the controller."""
    output = getattr(node, "workeroutput", {})
    if sent := output.get("aquila"):
        totals_of(node.config).merge_worker(sent)
    if options.wants_verification(node.config):
        verify_run.take_plays(node.config, output)


def totals_of(config: pytest.Config) -> RunTotals:
    if _totals not in config.stash:
        config.stash[_totals] = run_totals.RunTotals()
        if not config.pluginmanager.has_plugin(report_redaction.CleanWarnings.__name__):
            config.pluginmanager.register(report_redaction.CleanWarnings(), report_redaction.CleanWarnings.__name__)
    return config.stash[_totals]


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _starts_workers(config: pytest.Config) -> bool:
    """Whether this process is the controller of pytest-xdist, whose workers run the tests."""
    return not _is_worker(config) and config.getoption("dist", "no") != "no"


def _used_cassettes(config: pytest.Config) -> list[tuple[str, str]]:
    return totals.cassettes if (totals := config.stash.get(_totals, None)) is not None else []
