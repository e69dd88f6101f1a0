"""The hooks of the plugin.

Nothing here imports an HTTP client, a codec or Huey: a run that uses no cassette pays for none. A test gets a scope
only when something in it asks for one.
"""

from __future__ import annotations

import functools
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aquila.config import SettingsLayers
from aquila.recording import runtime
from aquila.recording.runtime import Run
from pytest_aquila import options, test_scopes
from pytest_aquila.fixtures import *  # noqa: F403
from pytest_aquila.task_fixtures import *  # noqa: F403

if TYPE_CHECKING:
    from aquila.recording.reports import ScopeReport
    from pytest_aquila.reporting import Totals

_totals: pytest.StashKey[Totals] = pytest.StashKey()
_failed: pytest.StashKey[bool] = pytest.StashKey()
_skipped: pytest.StashKey[bool] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare options and ini keys."""
    options.add_options(parser)


def pytest_load_initial_conftests(early_config: pytest.Config, parser: pytest.Parser) -> None:
    """Turn on what stands in for pytest-recording, if the ini file wants it: its options must be known in time."""
    if early_config.getini(options.COMPAT):
        from pytest_aquila import vcr_compat  # noqa: PLC0415 - a run without cassettes loads none of it

        vcr_compat.turn_on(early_config, parser)


def pytest_configure(config: pytest.Config) -> None:
    """Put the settings of the run in force; a recording run first takes over what an interrupted one left."""
    config.addinivalue_line(
        "markers",
        f"{options.MARKER}(cassette=None, **settings): the cassette of this test, and settings for it "
        "(transport, match_on, ignore, repeat, replay_timing, ...)",
    )
    config.addinivalue_line("markers", f"{options.LIVE}: this test is meant to reach the provider, without a cassette")
    layers = SettingsLayers(
        config.rootpath,
        defaults={"transport": "replay"},
        ini=options.ini_settings(config),
        command_line=options.command_line_settings(config),
        under_pytest=True,
        copies=functools.cache(lambda: _copies_folder(config)),  # once a run: pytest makes the folder at each call
    )
    from aquila.intercept import activation, dummy_keys  # noqa: PLC0415 - a run without cassettes loads none of it

    run = config.stash[test_scopes.RUN] = Run(layers)
    run.__enter__()
    try:
        # Fail closed: for the whole run, what nothing asked for is refused, in this process and in its children.
        run.hold(dummy_keys.remember_environment())
        run.hold(activation.guard_run())
        now = layers.resolve()
        if now.transport == "record" and not _is_worker(config):
            from aquila.recording.recorder import recover_journals  # noqa: PLC0415 - on use

            found = recover_journals(now.cassette_root())
            totals = _totals_of(config)
            totals.recovered += [(str(path), count) for path, count in found.cassettes]
            totals.unrecovered += found.failures
    except Exception as error:
        from aquila.errors import AquilaError  # noqa: PLC0415 - a run without cassettes loads none of it

        if isinstance(error, AquilaError):
            raise pytest.UsageError(str(error)) from error
        raise


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take back the settings of the run."""
    run = config.stash.get(test_scopes.RUN, None)
    if run is not None:
        run.__exit__(None, None, None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Say which test runs."""
    with test_scopes.running_test(item):
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Open the scope of a marked test at once: its child processes need to know of it."""
    if item.get_closest_marker(options.MARKER) is not None or item.get_closest_marker(options.LIVE) is not None:
        test_scopes.scope_of(item)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Keep the requests of a fixture that tests share out of the cassette of the test that happens to come first."""
    item = test_scopes.running_item(request.config)
    if fixturedef.scope == "function" or item is None:
        return (yield)
    reports: list[ScopeReport] = []
    try:
        with test_scopes.shared_fixture_scope(item, fixturedef, request) as reports:
            return (yield)
    except BaseException as error:
        test_scopes.cache_setup_failure(fixturedef, request, error)
        raise
    finally:
        if reports:
            _totals_of(item.config).add_report(reports[0], runtime.current_settings())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test whose code swallowed a miss."""
    try:
        result = yield
    except BaseException as error:
        scope = test_scopes.opened_scope(item)
        if scope is not None:
            for text in dict.fromkeys(map(str, scope.misses)):
                if text not in str(error):
                    item.add_report_section("call", "aquila", text)
        raise
    scope = test_scopes.opened_scope(item)
    if scope is not None:
        if scope.misses:
            pytest.fail(str(scope.misses[0]), pytrace=False)
        if scope.settings.unplayed == "fail":
            _fail_for_unplayed(item)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether everything before the teardown passed; show what explains itself without the way to it."""
    if call.excinfo is not None and not item.config.getoption("fulltrace"):
        test_scopes.shorten_traceback(call)
    report = yield
    # The report of a teardown that passes repeats what the test has written.
    redactors = test_scopes.redactors_of(item) if report.failed else test_scopes.remembered_redactors(item)
    if redactors:
        from pytest_aquila import report_redaction  # noqa: PLC0415 - a run without cassettes loads none of it

        report_redaction.redact_report(report, redactors)
    if not report.passed:
        item.stash[_failed] = True
        scope = test_scopes.opened_scope(item)
        if scope is not None:
            scope.note_failure()
    if report.skipped and not hasattr(report, "wasxfail"):
        item.stash[_skipped] = True
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Close the scope of the test after its fixtures: store what a passing test recorded."""
    passed = not item.stash.get(_failed, False)
    was_reported = not passed and not item.stash.get(
        _skipped, False
    )  # a skip says nothing of the misses that led to it
    item.stash[_failed] = item.stash[_skipped] = False  # for a plugin that runs the test again
    try:
        result = yield
    except BaseException:
        _close_test_scope(item, passed=False)
        raise
    scope = test_scopes.opened_scope(item)
    _close_test_scope(item, passed=passed)
    if scope is not None and scope.misses and not was_reported:
        pytest.fail(str(scope.misses[-1]), pytrace=False)
    return result


def _close_test_scope(item: pytest.Item, *, passed: bool) -> None:
    scope = test_scopes.opened_scope(item)
    if scope is None:
        return
    settings = scope.settings
    if scope.misses or not passed:
        test_scopes.redactors_of(item)  # its reports are still to come
    report = test_scopes.close_scope(item, passed=passed and not scope.misses)
    if report is not None:
        _totals_of(item.config).add_report(report, settings)


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write what was replayed, recorded and missed."""
    totals = config.stash.get(_totals, None)
    orphans = _orphans(config) if config.getoption("aquila_orphans") else None
    if totals is None and not orphans and not options.wants_drift(config):
        return
    from pytest_aquila import reporting  # noqa: PLC0415 - a run without cassettes loads none of it

    if totals is not None or orphans:
        reporting.write_summary(terminalreporter, totals or reporting.Totals(), orphans)
    if options.wants_drift(config):
        from pytest_aquila import drift_report  # noqa: PLC0415 - only runs that look for drift

        drift_report.write_report(terminalreporter, totals or reporting.Totals(), config.getoption("aquila_drift"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """An xdist worker sends its sums to the controller."""
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
        from pytest_aquila.reporting import Totals  # noqa: PLC0415 - a run without cassettes loads none of it

        config.stash[_totals] = Totals()
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


def _orphans(config: pytest.Config) -> list[str]:
    from aquila.cassettes.storage.cassette_files import find_cassette_files  # noqa: PLC0415 - on use
    from aquila.cassettes.storage.names import cassette_path  # noqa: PLC0415 - a run without cassettes loads none of it

    root = runtime.current_settings().cassette_root()
    totals = config.stash.get(_totals, None)
    used = {cassette_path(root, name) for name in (totals.cassettes if totals is not None else ())}
    return (
        [str(path.relative_to(root)) for path in find_cassette_files(root) if path not in used] if root.is_dir() else []
    )
