"""The hooks of pytest that every run needs. Hooks that only some runs need are in the modules that need them.

This module imports no HTTP client, no codec and not Huey, so that a run without cassettes does not pay for them. A test
gets a scope only when something in it needs one.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import nullcontext
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE
from typing import TYPE_CHECKING, Any

import pytest

from aquila.config import find_cassette_root
from aquila.intercept import activation
from aquila.intercept.processes import child_processes
from aquila.lazy_imports import lazy_modules
from aquila.recording.environment import find_own_variables
from pytest_aquila import fixture_names, options, run_life, test_scopes
from pytest_aquila.fixture_names import pytest_plugin_registered, pytest_pycollect_makeitem  # noqa: F401 - hooks

if TYPE_CHECKING:
    from aquila.errors import UnansweredRequest
    from aquila.recording.secrets import outgoing
    from pytest_aquila import (
        environment_check,
        fixture_cassettes,
        grouped_misses,
        option_values,
        outcomes,
        report_redaction,
        run_kinds,
        scope_ends,
        scope_starts,
        sealed_run,
        skipped_cassette_folders,
        test_reports,
        unanswered,
        vcr_compat,
    )
    from pytest_aquila.recording_runs import rerun_status, second_attempts
    from pytest_aquila.scope_ends import Outcome
    from pytest_aquila.summary import end_of_run, final_totals, redacted_terminal
else:
    lazy_modules(
        globals(),
        "aquila.recording.secrets: outgoing",
        "pytest_aquila: environment_check, fixture_cassettes, grouped_misses, option_values, outcomes, run_kinds",
        "pytest_aquila: scope_ends, scope_starts, sealed_run, skipped_cassette_folders, test_reports, unanswered",
        "pytest_aquila: report_redaction, vcr_compat",
        "pytest_aquila.recording_runs: rerun_status, second_attempts",
        "pytest_aquila.summary: end_of_run, redacted_terminal, final_totals",
    )


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
    """Register ``_OtherHooks`` once the run has begun: until then `-p no:aquila` may still remove this module."""
    config.pluginmanager.register(_OtherHooks(), f"{__name__} (other hooks)")


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
    """Begin the tests of the run, and whatever else its options and settings choose."""
    config.addinivalue_line(
        "markers",
        f"{options.MARKER}(cassette=None, **settings): the cassette of this test, and settings for it "
        "(transport, match_on, ignore, repeat, replay_timing, ...)",
    )
    config.addinivalue_line("markers", f"{options.LIVE}: this test is meant to reach the provider, without a cassette")
    is_worker = hasattr(config, "workerinput")
    if not is_worker and not {*find_own_variables()} <= {"AQUILA_RUN", "AQUILA_QUEUES"}:
        environment_check.warn_of_unknown_variables(config)
    # The controller of pytest-xdist. To list tests it starts no workers, and imports them itself.
    starts_workers = not (is_worker or config.option.collectonly) and config.getoption("dist", "no") != "no"
    run = run_life.begin_tests(config, shows_keys=starts_workers)
    run.make_outcome = lambda error: outcomes.make_outcome(error)  # noqa: PLW0108 - it is imported late
    run.tell = lambda sentence: redacted_terminal.show_sentence(config, sentence)
    if starts_workers:
        config.pluginmanager.register(final_totals.Workers())
        rerun_status.show_reruns(config)
    with run_life.raising_usage_errors():
        now = run.layers.at_start()
        if os.path.isdir(root := find_cassette_root(now.root, now.cassette_dir)):
            config.pluginmanager.register(skipped_cassette_folders.SkippedCassetteFolders(root))
        chosen = config.option
        if (
            now.transport == "record"
            or now.guard == "sealed"
            or chosen.aquila_orphans is not None
            or chosen.aquila_drift is not None
            or chosen.aquila_report
            or "GITHUB_STEP_SUMMARY" in os.environ
            or options.wants_verification(config)
            or options.wants_faults(config)
        ):
            run_kinds.begin_chosen_kinds(config, run)


# Shorter parameters are never taken for secrets, which saves most tests the search.
_SHORTEST_SECRET = 8


def pytest_make_parametrize_id(val: object) -> str | None:
    """Return an id without the known secret that a parameter contains; None for a parameter without one.

    Ids are shown, and files are named after them. A value that only looks like a secret stays in the id, because users
    run tests by their ids.
    """
    text = val.decode("ascii", "backslashreplace") if isinstance(val, bytes) else val
    if not isinstance(text, str) or len(text) < _SHORTEST_SECRET or (clean := outgoing.redact_known(text)) == text:
        return None
    return clean.encode("unicode_escape").decode()


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End the tests of the run. Other clean-up, and threads that tests have left, stay guarded."""
    run = config.stash.get(test_scopes.RUN, None)
    if run is not None:
        run_life.end_tests(run)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Note which test runs. A test in which a conversation drifted while it was recorded runs a second time."""
    following: pytest.Item | None = None
    with test_scopes.running_test(item):
        try:
            result = yield
            following = nextitem if not (item.session.shouldstop or item.session.shouldfail) else None
        except BaseException:  # the run ends here, such as by Ctrl-C or in the debugger
            item.config.stash[test_scopes.RUN].scopes.interrupt()
            if (scope := test_scopes.opened_scope(item)) is not None:
                scope_ends.note_interruption(item, scope)
            raise
        finally:
            interception = activation.interception()
            if interception.kept_for is not None and (following is None or not test_scopes.wants_cassette(following)):
                interception.restore_environment()
    return second_attempts.run_again(item, nextitem) if test_scopes.runs_again(item) else result


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Open the scope of a test that names a cassette: child processes and clients that it starts need it at once."""
    child_processes.tell_if_forgotten()
    test_scopes.begin_test(item)
    # The outcome until the body has run, which it never does with `--setup-only` and `--setup-plan`. It is set in each
    # setup, because a plugin may run the test again.
    item.stash[test_scopes.OUTCOME] = "skipped"
    if test_scopes.wants_cassette(item):
        scope_starts.scope_of(item)
    else:
        activation.interception().restore_environment()


_ASYNC_CODE = CO_COROUTINE | CO_ASYNC_GENERATOR
_UNCHANGED = nullcontext()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Answer the requests of a fixture's setup and teardown from its own cassette, if it has one."""
    __tracebackhide__ = True  # the error of a fixture in a conftest would be shown with the code of this hook
    is_async = getattr(getattr(fixturedef.func, "__code__", None), "co_flags", 0) & _ASYNC_CODE
    before = test_scopes.node_of_fixture.set(request.node)
    try:
        with grouped_misses.in_async_fixture(fixturedef) if is_async else _UNCHANGED:
            item = test_scopes.running_item(request.config)
            if item is None or not test_scopes.has_own_cassette(fixturedef, item):
                return (yield)
            return (yield from fixture_cassettes.set_up(fixturedef, request, item))
    finally:
        test_scopes.node_of_fixture.reset(before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test whose code swallowed a miss or a refusal."""
    __tracebackhide__ = True
    of_anyio = "anyio_backend" in getattr(item, "funcargs", ())  # anyio runs it in a task that runs others, too
    try:
        with grouped_misses.in_async_test(item) if of_anyio else _UNCHANGED:
            result = yield
    except BaseException as error:
        if test_scopes.has_unanswered(item):
            unanswered.add_section(item, "call", error)
        raise
    if test_scopes.has_unanswered(item):
        unanswered.fail_for_swallowed(unanswered.unanswered_in(item)[0], item)
    scope = test_scopes.opened_scope(item)
    if scope is not None:
        if scope.has_failed:  # a subtest has failed, after which the body goes on
            return result
        scope_ends.check_plays(scope)
    item.stash[test_scopes.OUTCOME] = "passed"
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shorten reports whose message needs no traceback, and complete those that tell more than that a phase passed."""
    error = call.excinfo.value if call.when == "setup" and call.excinfo is not None else None
    fails = error is not None and not isinstance(error, pytest.skip.Exception)
    if fails and (test_scopes.has_unanswered(item) or unanswered.misses_behind(item, error)):
        unanswered.add_section(item, "setup", error)  # perhaps a server did not start because of a refusal
    simplifies = call.excinfo is not None and not item.config.getoption("fulltrace", False)
    if simplifies:
        unanswered.simplify_failure(item, call)
    report = yield
    if simplifies:
        unanswered.shorten_crash_line(report, call)
    tells_more = report.sections or report.user_properties or hasattr(report, "wasxfail")
    if call.when == "call" and item.stash.get(test_scopes.OUTCOME, "") != "passed":  # perhaps the report of a subtest
        report_redaction.begin_redacting(item.config, report_redaction.CleanSubtests)
    if not report.passed or tells_more or test_scopes.runs_again(item):
        test_reports.complete_report(report, item, call)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Let the collected tests find Aquila's fixtures. Redact the report of a failed collection, and add advice."""
    fixture_names.look_up_late(collector)
    report = yield
    if report.failed:
        test_reports.complete_collect_report(report, collector.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Close the scope of the test after its fixtures, and store the recordings of a passing test."""
    __tracebackhide__ = True
    outcome: Outcome = item.stash.get(test_scopes.OUTCOME, "skipped")
    if outcome != "passed":
        test_scopes.tell_blocks(item, outcome)
    known = unanswered.texts_in(item) if outcome == "failed" else ()
    kept = second_attempts.keeping_shared_fixtures(item) if test_scopes.runs_again(item) else nullcontext()
    try:
        with kept:
            result = yield
    except BaseException as error:
        lost = test_scopes.take_teardown_misses(item.config)
        if test_scopes.has_unanswered(item) or lost:
            item.stash.setdefault(test_scopes.SHARED_MISSES, []).extend(lost)
            unanswered.add_section(item, "teardown", error, known)
        scope_ends.end_failed_test(item, error, outcome)
        raise
    swallowed: list[UnansweredRequest] = [*test_scopes.take_teardown_misses(item.config)]
    # A miss may have led to the skip, or to the xfail. A failed test hears too, or the next one would fail for it.
    failed = outcome == "failed"
    if test_scopes.has_unanswered(item, is_last=not failed):
        if failed:
            unanswered.add_section(item, "teardown", None, known)
        else:
            swallowed += unanswered.unanswered_in(item)
    scope = test_scopes.end_test(item)
    if scope is not None:
        activation.interception().keep_environment(scope.run)
        scope_ends.close_test_scope(item, scope, outcome)
    if swallowed:
        unanswered.fail_for_swallowed(swallowed[-1], item)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> Generator[None, object, object]:
    """Write the news of the run, with the next commands, after pytest's list of failed tests."""
    result = yield
    totals = config.stash.get(test_scopes.TOTALS, None)
    has_news = run_life.NEWS in config.stash
    if totals or exitstatus or has_news or options.wants_drift(config) or options.wants_verification(config):
        end_of_run.write_end(terminalreporter, config, exitstatus, totals)
    return result


@pytest.hookimpl(trylast=True)  # pytest's own implementation tears down the fixtures of an interrupted run
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Sum up the run if there is something to tell. Most runs have nothing, and load no module for it."""
    config = session.config
    run = config.stash[test_scopes.RUN]
    run_life.remove_wrong_variables(run)
    has_news = (
        run.unstored or run.unasked or run.refused or run.unguarded or run.notes or test_scopes.TOTALS in config.stash
    )
    writes = options.wants_drift(config) or options.wants_verification(config)
    if has_news or run.told_by_children is not None or writes:
        final_totals.sum_up(session)
