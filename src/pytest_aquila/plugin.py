"""The hooks of the plugin.

Nothing here imports an HTTP client, a codec or Huey: a run that uses no cassette pays for none. A test gets a scope
only when something in it asks for one.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aquila.config import SettingsLayers
from aquila.lazy_imports import lazy_modules
from aquila.recording import runtime
from aquila.recording.runtime import Run
from pytest_aquila import fixture_cassettes, options, test_scopes
from pytest_aquila.fixtures import *  # noqa: F403
from pytest_aquila.root_folder import find_root_folder
from pytest_aquila.task_fixtures import *  # noqa: F403

if TYPE_CHECKING:
    from typing import Literal

    from aquila.config import Settings
    from aquila.errors import UnansweredRequest
    from aquila.recording.reports import ScopeReport
    from pytest_aquila.reporting import Totals

    Outcome = Literal["passed", "skipped", "xfailed", "failed"]
    from aquila import errors
    from aquila.cassettes.storage import cassette_files, names
    from aquila.intercept import activation, dummy_keys
    from aquila.recording import recorder
    from pytest_aquila import (
        drift_report,
        environment_check,
        key_advice,
        miss_report,
        outcomes,
        report_redaction,
        reporting,
        unanswered,
        vcr_compat,
    )
else:
    lazy_modules(
        globals(),
        activation="aquila.intercept.activation",
        cassette_files="aquila.cassettes.storage.cassette_files",
        drift_report="pytest_aquila.drift_report",
        dummy_keys="aquila.intercept.dummy_keys",
        environment_check="pytest_aquila.environment_check",
        errors="aquila.errors",
        key_advice="pytest_aquila.key_advice",
        miss_report="pytest_aquila.miss_report",
        names="aquila.cassettes.storage.names",
        outcomes="pytest_aquila.outcomes",
        recorder="aquila.recording.recorder",
        report_redaction="pytest_aquila.report_redaction",
        reporting="pytest_aquila.reporting",
        unanswered="pytest_aquila.unanswered",
        vcr_compat="pytest_aquila.vcr_compat",
    )

_totals: pytest.StashKey[Totals] = pytest.StashKey()
_outcome: pytest.StashKey[Outcome] = pytest.StashKey()
"""What came of a test before its teardown. There is none while nothing but passing is known."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare options and ini keys."""
    options.add_options(parser)


def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser) -> None:
    """Turn on what stands in for pytest-recording, if the ini file wants it: its options must be known in time."""
    if early_config.getini(options.COMPAT):
        vcr_compat.turn_on(early_config, parser)


def pytest_configure(config: pytest.Config) -> None:
    """Put the settings of the run in force; a recording run first takes over what an interrupted one left."""
    config.addinivalue_line(
        "markers",
        f"{options.MARKER}(cassette=None, **settings): the cassette of this test, and settings for it "
        "(transport, match_on, ignore, repeat, replay_timing, ...)",
    )
    config.addinivalue_line("markers", f"{options.LIVE}: this test is meant to reach the provider, without a cassette")
    _warn_of_unknown_variables(config)
    ini = options.ini_settings(config)
    layers = SettingsLayers(
        find_root_folder(config, ini.get("cassette_dir", "cassettes")),
        defaults={"transport": "replay"},
        ini=ini,
        command_line=options.command_line_settings(config),
        under_pytest=True,
        copies=functools.cache(lambda: _copies_folder(config)),  # once a run: pytest makes the folder at each call
    )
    run = config.stash[test_scopes.RUN] = Run(layers, make_outcome=_make_outcome, tell=functools.partial(_tell, config))
    run.__enter__()
    try:
        # Fail closed: for the whole run, what nothing asked for is refused, in this process and in its children.
        run.hold(dummy_keys.remember_environment())
        if not _starts_workers(config):  # they inherit its environment, and may need the real keys
            run.hold(activation.show_dummy_keys())
        run.hold(activation.guard_run())
        now = layers.resolve()
        if now.transport == "record" and not _is_worker(config):
            found = recorder.recover_journals(now.cassette_root())
            totals = _totals_of(config)
            totals.recovered += [(str(path), count) for path, count in found.cassettes]
            totals.unrecovered += found.failures
    except Exception as error:
        if isinstance(error, errors.AquilaError):
            raise pytest.UsageError(str(error)) from error
        raise


def _make_outcome(error: UnansweredRequest) -> UnansweredRequest:
    return outcomes.make_outcome(error)


def _tell(config: pytest.Config, sentence: str) -> None:
    """Show a sentence at once, although pytest captures what is written. A worker's are told in the summary."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not _is_worker(config):
        terminal.ensure_newline()
        terminal.write_line(f"aquila: {sentence}", yellow=True)
    else:
        _totals_of(config).told.append(sentence)


def _warn_of_unknown_variables(config: pytest.Config) -> None:
    if _is_worker(config) or not any(name.startswith("AQUILA_") for name in os.environ):
        return
    for sentence in environment_check.find_unknown_variables():
        try:
            config.issue_config_time_warning(pytest.PytestConfigWarning(sentence), stacklevel=2)
        except pytest.PytestConfigWarning as warning:  # where warnings are errors
            raise pytest.UsageError(str(warning)) from None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take back the settings of the run."""
    run = config.stash.get(test_scopes.RUN, None)
    if run is not None:
        if runtime.is_outermost(run):  # what tests and libraries have left may ask until the process ends
            if _ends_with_pytest(config):
                activation.guard_from_now_on(run.layers)
            else:
                # A program has called pytest, and is free until it ends. What is registered last is called first.
                atexit.register(activation.guard_from_now_on, run.layers)
        run.__exit__(None, None, None)


def _ends_with_pytest(config: pytest.Config) -> bool:
    """Whether pytest is all that this process does."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    program = spec.name.partition(".")[0] if spec is not None else Path(getattr(main, "__file__", None) or "").stem
    return _is_worker(config) or program in ("pytest", "py")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Say which test runs."""
    with test_scopes.running_test(item):
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Open the scope of a test that wants one at once: child processes and clients that it starts need it."""
    test_scopes.begin_test(item)
    if test_scopes.wants_cassette(item):
        test_scopes.scope_of(item)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Answer what a fixture asks from a cassette of its own, if it is not the test's alone, at its teardown too."""
    item = test_scopes.running_item(request.config)
    if item is None or not fixture_cassettes.has_own_cassette(fixturedef, item):
        return (yield)
    cassette = fixture_cassettes.FixtureCassette(fixturedef, request, item, functools.partial(_add_report, item))
    request.addfinalizer(cassette.end_teardown)  # the last to run is the first that was added
    try:
        with cassette.answer_setup():
            result = yield
    except BaseException as error:
        test_scopes.cache_setup_failure(fixturedef, request, error)
        raise
    request.addfinalizer(cassette.begin_teardown)
    return result


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
    if scope is not None and scope.settings.unplayed == "fail":
        _fail_for_unplayed(item)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether everything before the teardown passed; show what explains itself without the way to it."""
    simplifies = call.excinfo is not None and not item.config.getoption("fulltrace")
    if simplifies:
        unanswered.simplify_failure(item, call)
    report = yield
    if simplifies:
        unanswered.shorten_crash_line(report, call)
    # The report of a teardown that passes repeats what the test has written.
    redactors = test_scopes.redactors_of(item) if report.failed else test_scopes.remembered_redactors(item)
    if redactors:
        report_redaction.redact_report(report, redactors)
    if report.failed:
        _add_key_advice(report, call.excinfo, item.config)
        item.stash[_outcome] = "failed"
        scope = test_scopes.opened_scope(item)
        if scope is not None:
            scope.note_failure()
    elif report.skipped:
        item.stash[_outcome] = "xfailed" if hasattr(report, "wasxfail") else "skipped"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Advise where a client that a module makes when it is imported wants a key."""
    report = yield
    if report.failed:
        call: pytest.CallInfo[Any] | None = getattr(report, "call", None)
        _add_key_advice(report, call.excinfo if call is not None else None, collector.config)
    return report


def _add_key_advice(
    report: pytest.TestReport | pytest.CollectReport, failure: pytest.ExceptionInfo[Any] | None, config: pytest.Config
) -> None:
    if failure is not None:
        advice = key_advice.advise_on_missing_key(str(failure.value), config.stash[test_scopes.RUN])
        if advice is not None:
            report.sections.append(("aquila", advice))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Close the scope of the test after its fixtures: store what a passing test recorded."""
    outcome: Outcome = item.stash.get(_outcome, "passed")
    item.stash[_outcome] = "passed"  # for a plugin that runs the test again
    try:
        result = yield
    except pytest.fail.Exception as error:
        # What plugins raise here on purpose, to be noticed, is no failure of the code that was recorded.
        _close_test_scope(item, "failed" if isinstance(error, errors.UnansweredRequest) else outcome)
        raise
    except BaseException:
        _close_test_scope(item, "failed")
        raise
    finally:
        swallowed: list[UnansweredRequest] = [*test_scopes.take_teardown_misses(item.config)]
    if outcome in ("passed", "skipped") and test_scopes.has_unanswered(item):  # a skip says nothing of what led to it
        swallowed += unanswered.unanswered_in(item)
    _close_test_scope(item, outcome)
    if swallowed:
        unanswered.fail_for_swallowed(swallowed[-1])
    return result


def _close_test_scope(item: pytest.Item, outcome: Outcome) -> None:
    scope = test_scopes.end_test(item)
    if scope is None:
        return
    settings = scope.settings
    if scope.misses or outcome != "passed":
        test_scopes.redactors_of(item)  # its reports are still to come
    report = test_scopes.close_scope(
        item,
        passed=outcome == "passed" and not scope.misses,
        # It ended where it meant to: a replay needs what led there. It may have asked less than another run would.
        adds_only=outcome in ("skipped", "xfailed") and not scope.misses,
    )
    if report is not None:
        _add_report(item, report, settings)


def _add_report(item: pytest.Item, report: ScopeReport, settings: Settings) -> None:
    """Add to the sums of the run what a scope did: that of a test, or of a fixture that the test set up."""
    _totals_of(item.config).add_report(report, settings, test_scopes.id_to_type(item))


def _fail_for_unplayed(item: pytest.Item) -> None:
    scope = test_scopes.opened_scope(item)
    if scope is None or scope.default_cassette is None or not scope.owns_cassette:
        return
    if scope.settings.transport == "replay":
        # A test that makes no request any more has played nothing.
        scope.sessions.session_for(scope.default_cassette, "replay")
    for session in scope.sessions.opened_for(scope.default_cassette):
        if session.mode == "replay" and not session.all_played:
            numbers = ", ".join(str(number) for number, _ in session.unplayed_recordings)
            pytest.fail(
                f"cassette {session.name}: recordings {numbers} were not played (aquila_unplayed = fail). "
                f"Record it again: {scope.record_command()}",
                pytrace=False,
            )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
    """Write what was replayed, recorded and missed, and last what waits in journals."""
    totals = config.stash.get(_totals, None)
    _write_summary(terminalreporter, config, totals)
    if exitstatus or (totals is not None and totals.recorded):
        root = runtime.current_settings().cassette_root()
        if (folder := root / cassette_files.WORK_FOLDER).is_dir():
            reporting.write_waiting(terminalreporter, recorder.find_waiting_recordings(root), str(folder))


def _write_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config, totals: Totals | None) -> None:
    orphans = _orphans(config) if config.getoption("aquila_orphans") else None
    if totals is None and not orphans and not options.wants_drift(config):
        return
    if totals is not None or orphans:
        if totals is not None and totals.changed:
            miss_report.write_groups(terminalreporter, totals.changed)
        reporting.write_summary(terminalreporter, totals or reporting.Totals(), orphans)
    if options.wants_drift(config):
        drift_report.write_report(terminalreporter, totals or reporting.Totals(), config.getoption("aquila_drift"))


@pytest.hookimpl(trylast=True)  # pytest tears down here what an interrupted run has left
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Take in what belongs to no test. An xdist worker sends its sums to the controller."""
    run = session.config.stash[test_scopes.RUN]
    if run.unstored:
        _totals_of(session.config).unstored += run.unstored
    if run.unasked:
        _totals_of(session.config).unasked += run.unasked
    totals = session.config.stash.get(_totals, None)
    if totals is not None and _is_worker(session.config):
        session.config.workeroutput["aquila"] = totals.as_plain_data()  # type: ignore[attr-defined]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """The controller takes in a worker's sums."""
    sent = getattr(node, "workeroutput", {}).get("aquila")
    if sent:
        _totals_of(node.config).merge_worker(sent)


def _totals_of(config: pytest.Config) -> Totals:
    if _totals not in config.stash:
        config.stash[_totals] = reporting.Totals()
    return config.stash[_totals]


def _copies_folder(config: pytest.Config) -> Path | None:
    """Where compiled copies of cassettes are kept: pytest's cache, if there is one."""
    cache: pytest.Cache | None = getattr(config, "cache", None)
    try:
        return cache.mkdir("aquila") if cache is not None else None
    except OSError:
        return None


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _starts_workers(config: pytest.Config) -> bool:
    """Whether this process leaves the tests to workers of pytest-xdist."""
    return not _is_worker(config) and config.getoption("dist", "no") != "no"


def _orphans(config: pytest.Config) -> list[str]:
    root = runtime.current_settings().cassette_root()
    totals = config.stash.get(_totals, None)
    used = {names.cassette_path(root, name) for name in (totals.cassettes if totals is not None else ())}
    return (
        [str(path.relative_to(root)) for path in cassette_files.find_cassette_files(root) if path not in used]
        if root.is_dir()
        else []
    )
