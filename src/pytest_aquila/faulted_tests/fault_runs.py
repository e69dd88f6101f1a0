"""``--aquila-faults``: after each test that passes, run it once more under each fault, in a forked child each time.

This module is loaded only by a run with the option. A fork has the state with which the test began, session fixtures
included. It can be killed, and its changes in memory end with it.
"""

from __future__ import annotations

import functools
import importlib
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

import pytest

from aquila.errors import ConfigError
from aquila.fault_verdicts.forked_process import ChildEnded, run_in_fork
from aquila.fault_verdicts.judging import Allowance, FaultedRun, judge_run
from aquila.fault_verdicts.own_code import make_own_code_check
from aquila.fault_verdicts.report import FaultReport, describe_report
from aquila.faults.fault import Fault
from aquila.faults.parsing import read_faults
from aquila.faults.table import FAULTS
from aquila.recording.reporting.child_messages import ChildMessages
from aquila.recording.reporting.wire_watch import Attempt
from aquila.recording.scope import Scope
from pytest_aquila import node_ids, test_scopes
from pytest_aquila.faulted_tests.faulted_attempt import ForkedAttempt
from pytest_aquila.options import read_key
from pytest_aquila.recording_runs import second_attempts
from pytest_aquila.report_writing.targets import write_json
from pytest_aquila.summary import run_totals
from pytest_aquila.summary.redacted_terminal import RedactedTerminal
from pytest_aquila.summary.run_extent import watch_extent

USUAL = (
    "connection_reset",
    "timeout",
    "bad_request",
    "unauthorized",
    "rate_limit(retry_after=2.0)",
    "overloaded(times=None)",
    "server_error",
    "html_page",
    "cut_stream",
    "end_early",
    "abnormal_close",
    "stall",
    "one_byte",
    "garbage",
    "truncated_json",
    "finish_length",
    "content_filter",
    "refusal",
    "empty_answer",
    "error_event",
    "broken_arguments",
    "unknown_tool",
)
"""The faults of ``--aquila-faults`` without a value: some of each group, which every program must expect."""

_EACH_USES = (
    "aquila.transports.watched_answers",
    "aquila.transports.silence",
    "pytest_aquila.advice",
    "pytest_aquila.key_advice",
    "pytest_aquila.unanswered",
)
"""Modules that every forked child would import for itself if the parent had not imported them."""

_SENT = "aquila_faults"

_WHOLE = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
"""The exit statuses of a session that was not interrupted."""


def read_chosen(text: str) -> tuple[Fault, ...]:
    """Return the faults that the value ``text`` of the option names. Raises ``UsageError`` for unknown ones."""
    if text == "usual":
        return tuple(fault for each in USUAL for fault in read_faults(each))
    if text == "all":
        return tuple(map(Fault, FAULTS.values()))
    try:
        return read_faults(text)
    except ConfigError as error:
        raise pytest.UsageError(f"--aquila-faults={text}: {error}") from error


_ASKED_A_THREAD = "a thread of the test run makes its requests, such as a server of a fixture that tests share"


class FaultRuns:
    """A plugin that runs tests under faults and reports. The controller of pytest-xdist joins its workers' results."""

    def __init__(self, config: pytest.Config) -> None:
        """Read the options. Raises ``UsageError`` for wrong ones."""
        self._config = config
        self._faults = read_chosen(config.option.aquila_faults)
        self._seconds = _read_seconds(config)
        self._allowed = _read_allowed(config)
        self._is_own = make_own_code_check()
        for name in _EACH_USES:
            importlib.import_module(name)
        self._report = FaultReport()
        self._extent = watch_extent(config)
        # From a test's teardown to the end of its protocol: the test and its scope, if it is to run under faults.
        self._candidates: dict[pytest.Item, Scope] = {}
        # The tests that failed or were skipped. A plugin may run such a test again: its next setup removes it.
        self._failed: set[pytest.Item] = set()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        """Run a test under each fault after it has passed, before its shared fixtures are torn down."""
        result = yield
        scope = self._candidates.pop(item, None)
        if scope is not None:
            try:
                if item not in self._failed:
                    self._run_under_faults(item, scope)
            finally:
                _tear_down_shared(item, nextitem)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Keep the shared fixtures of a test that is to run under faults."""
        __tracebackhide__ = True
        scope = _scope_with_answers(item) if item not in self._failed else None
        if scope is not None:
            self._candidates[item] = scope
        with second_attempts.keeping_shared_fixtures(item) if scope is not None else nullcontext():
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Remember which tests did not simply pass."""
        report = yield
        if not report.passed or hasattr(report, "wasxfail"):
            self._failed.add(item)
        elif report.when == "setup":
            self._failed.discard(item)
        return report

    def _run_under_faults(self, item: pytest.Item, scope: Scope) -> None:
        test = node_ids.id_to_type(item)
        plain = self._attempt(item)
        if plain["ending"] != "passed":
            why = plain["detail"] or plain["ending"]
            self._report.not_run.append((test, f"without a fault it does not pass in a forked process ({why})"))
            return
        if not plain["attempts"]:
            if _has_answered(scope):
                self._report.not_run.append((test, "its requests come from other processes, which are not watched"))
            return
        good = Counter(row["key"] for row in plain["attempts"] if 0 < row["status"] < 400)
        for fault in self._faults:
            if str(fault) not in plain["applies"]:
                self._report.does_not_apply += 1
                continue
            seen = self._attempt(item, fault=fault, baseline=plain)
            if seen["ending"] == "killed":
                self._report.not_run.append((test, f"under {fault}: {seen['detail']}"))
                continue
            run = _as_run(seen, good, Counter(plain["not_whole"]))
            if run.has_met:
                self._report.judgements.append(judge_run(test, str(fault), run))
            else:
                self._report.does_not_apply += 1

    def _attempt(self, item: pytest.Item, **options: Any) -> dict[str, Any]:
        attempt = ForkedAttempt(item, self._faults, self._seconds, self._is_own, **options)
        outcome: dict[str, Any] = {
            "attempts": [asdict(Attempt("", fault="?"))],
            "has_noticed": False,
            "fakes_waits": False,
            "leaks": [],
        }
        run = self._config.stash[test_scopes.RUN]
        told, refused = run.state_of(ChildMessages), set(run.refused)
        run_totals.totals_of(self._config).take_blocks(told)
        try:
            outcome = run_in_fork(attempt.run, self._seconds)
        except TimeoutError:
            outcome |= {"ending": "hung", "detail": f"no end after {self._seconds:g} s"}
        except ChildEnded as ended:
            outcome |= {"ending": "killed" if ended.was_killed else "raised", "detail": str(ended)}
        # The attempt has heard what was refused to its own child processes. It fails no other test. Nor do their blocks
        # count as part of the run.
        told.take_unheard()
        list(told.take_blocks())
        # Nor is it news of the run what the fork has made a thread of this process ask, for which no test runs now.
        for sentence in run.refused.keys() - refused:
            del run.refused[sentence]
            outcome["detail"] = _ASKED_A_THREAD
        return outcome

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Send the verdicts to the controller, or fail the run if they are bad."""
        if hasattr(self._config, "workerinput"):
            self._config.workeroutput[_SENT] = self._report.as_plain_data()  # type: ignore[attr-defined]
            return
        is_cut_short = session.shouldfail or self._extent.was_interrupted  # by -x, say
        is_whole = session.exitstatus in _WHOLE and not is_cut_short
        report = {**self._report.as_plain_data(self._allowed), "is_whole": is_whole}
        target = self._config.option.aquila_faults_json
        is_written = target is None or write_json(self._config, target, report)
        if session.exitstatus == pytest.ExitCode.OK:
            if self._report.has_failed(self._allowed):
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
            elif not is_written:
                session.exitstatus = pytest.ExitCode.USAGE_ERROR

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take in the verdicts of a worker. A worker that crashed sends none."""
        sent = getattr(node, "workeroutput", {}).get(_SENT)
        if sent is not None:
            self._report.add_plain_data(sent)
        elif error:
            self._report.not_run.append((f"worker {node.gateway.id}", "it crashed, and what it had judged is lost"))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write the table of verdicts."""
        terminalreporter.section("aquila: faults")
        terminal = RedactedTerminal(terminalreporter)
        for text, colour in describe_report(self._report, self._allowed):
            terminal.write_line(text, colour)


def _as_run(seen: dict[str, Any], good: Counter[str], not_whole: Counter[str]) -> FaultedRun:
    return FaultedRun(
        ending=seen["ending"],
        detail=seen["detail"],
        attempts=[Attempt(**row) for row in seen["attempts"]],
        has_noticed=seen["has_noticed"],
        fakes_waits=seen["fakes_waits"],
        leaks=seen["leaks"],
        good=good,
        not_whole=not_whole,
    )


def _scope_with_answers(item: pytest.Item) -> Scope | None:
    """Return the scope of a test that replays or has a script, or None if the test itself is about faults."""
    scope = test_scopes.opened_scope(item)
    if scope is None or scope.gives("faults") or scope.faults.may_be_met:  # by a marker, also with None, or by a block
        return None
    is_about_faults = "aquila_faults" in getattr(item, "fixturenames", ())
    return scope if scope.settings.transport in ("replay", "script") and not is_about_faults else None


def _has_answered(scope: Scope) -> bool:
    """Whether a scope has answered any request, of this process or of another."""
    played = (
        session.plays.was_played(number)
        for session in scope.sessions.opened()
        for number in range(len(session.cassette.interactions))
    )
    return any(played) or scope.scripts.answered_count > 0


def _tear_down_shared(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Tear down the kept fixtures that no other test needs, and report failures of their teardown."""
    # Private to pytest: there is no public way to tear down fixtures up to the next test.
    state: Any = getattr(item.session, "_setupstate", None)
    if state is None:
        return
    end = functools.partial(state.teardown_exact, nextitem)
    call = pytest.CallInfo.from_call(end, when="teardown", reraise=(KeyboardInterrupt, pytest.exit.Exception))
    if call.excinfo is not None:
        report = item.ihook.pytest_runtest_makereport(item=item, call=call)
        item.ihook.pytest_runtest_logreport(report=report)


def _read_seconds(config: pytest.Config) -> float:
    text = read_key(config, "aquila_faults_timeout") or "30"
    try:
        seconds = float(text)
        if not 0 < seconds < float("inf"):
            raise ValueError
    except ValueError:
        raise pytest.UsageError(f"aquila_faults_timeout = {text}: must be a number of seconds above 0") from None
    return seconds


def _read_allowed(config: pytest.Config) -> Sequence[Allowance]:
    allowed = []
    for line in filter(None, map(str.strip, read_key(config, "aquila_faults_allowed").splitlines())):
        try:
            allowance = Allowance.parse(line)
            if "*" not in allowance.fault:
                read_faults(allowance.fault)
            allowed.append(allowance)
        except ValueError as error:
            raise pytest.UsageError(f"aquila_faults_allowed: {line}: {error}") from None
    return allowed
