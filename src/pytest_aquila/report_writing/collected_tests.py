"""Collects the tests of this process: each attempt, its outcome, and what its scopes have noted."""

from __future__ import annotations

import contextlib
import hashlib
import html
import time
from collections.abc import Generator
from typing import Any

import pytest

from aquila.recording.reporting import played_answers
from aquila.recording.reporting.exchange_watch import ExchangeWatch
from aquila.recording.runtime import Run
from aquila.recording.secrets import outgoing
from aquila.run_report.collecting import ExchangeCollector, TestFacts
from aquila.run_report.partial_files import PartialFile
from aquila.run_report.schema import Outcome, Test
from aquila.run_report.totals import sum_up
from pytest_aquila import node_ids, suggested_commands
from pytest_aquila.report_writing.report_guard import ReportGuard
from pytest_aquila.summary import junit_facts

PLUGIN = "aquila-collected-tests"
_WORST: tuple[Outcome, ...] = ("interrupted", "passed", "skipped", "xfailed", "xpassed", "failed", "error", "rerun")
"""Outcomes of the phases of a test. Of two outcomes the later one in this list is that of the test."""


class CollectedTests:
    """A plugin of a process that runs tests.

    ``file`` receives a line for each test. ``worker`` is the name of a pytest-xdist worker, else "". ``each`` says that
    every worker runs all tests (``--dist=each``).
    """

    def __init__(self, run: Run, collector: ExchangeCollector, file: PartialFile, worker: str, *, each: bool) -> None:
        self._each = each
        self._run = run
        self._collector = collector
        self._file = file
        self._worker = worker
        self._test: Test | None = None
        self._identity = ""
        self._failures: list[str] = []
        self.guard = ReportGuard()
        attempt = self.guard.attempt
        self._watch = run.exchange_watch = ExchangeWatch(
            lambda noted, scope, report: attempt(collector.take_in, noted, scope, report),
            lambda told: attempt(collector.take_job, told),
        )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """End the last attempt of a test. A plugin may run several attempts within one protocol."""
        try:
            return (yield)
        finally:
            self.end_test()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Begin an attempt."""
        self.guard.attempt(self._begin_test, item)

    def _begin_test(self, item: pytest.Item) -> None:
        self.end_test()
        self._collector.begin_test(time.perf_counter())
        self._failures = []
        file, line, _ = item.location
        typed = node_ids.id_to_type(item)
        name = outgoing.redact_label(typed)
        self._test = {
            "id": name,
            "file": outgoing.redact_label(file),
            "outcome": "interrupted",
            "attempt": 1,
            "took": 0,
            "states": [],
            "exchanges": [],
            "cassettes": [],
            "command": suggested_commands.record_command(item, typed),
        }
        if line is not None:
            self._test["line"] = line + 1
        if self._worker:
            self._test["worker"] = self._worker
        self._identity = _identify(node_ids.id_of(item), name)
        if self._each:
            self._identity += f" {self._worker}"
        if self._identity != name:
            self._test["identity"] = self._identity
        self._file.write("begins", {"test": self._test, "at": time.time(), "identity": self._identity})

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add facts about the test for JUnit and pytest-html, between the end of its scopes and its last report."""
        shows = item.config.getoption("htmlpath", None) is not None
        if call.when != "teardown" or not (shows or junit_facts.is_wanted(item.config)):
            return (yield)
        told = self.guard.attempt(self._add_facts, item)
        report = yield
        if shows and told:
            content = f"<p>aquila: {html.escape(told)}</p>"
            extra = {"name": "aquila", "format_type": "html", "content": content, "mime_type": None, "extension": None}
            report.extras = [*getattr(report, "extras", ()), extra]  # type: ignore[attr-defined]
        return report

    def _add_facts(self, item: pytest.Item) -> str:
        played_answers.note_block_plays(self._run, self._watch)
        self._watch.end_test()
        facts = _describe_facts(self._collector.facts)
        junit_facts.add_facts(item, facts)
        return ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in facts.items() if value)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in the report of one phase of the attempt."""
        self.guard.attempt(self._take_report, report)

    def _take_report(self, report: pytest.TestReport) -> None:
        test = self._test
        if test is None:
            return
        is_part = hasattr(report, "context")  # a subtest, within the time of its test
        test["took"] += 0 if is_part else round(report.duration * 1000)
        outcome = _outcome_of(report)
        if outcome is not None:
            if not (is_part and outcome == "skipped"):
                test["outcome"] = max(test["outcome"], outcome, key=_WORST.index)
        elif report.when == "teardown" and test["outcome"] == "interrupted":
            test["outcome"] = "passed"
        if report.longrepr is not None and (report.failed or outcome == "rerun"):
            self._failures.append(report.longreprtext)

    def end_test(self) -> None:
        """Write the attempt that is open, if there is one."""
        test, self._test = self._test, None
        if test is not None:
            self.guard.attempt(self._write_test, test)

    def _write_test(self, test: Test) -> None:
        played_answers.note_block_plays(self._run, self._watch)
        self._watch.end_test(cuts=test["outcome"] == "interrupted")
        facts = self._collector.end_test()
        bodies = self._collector.bodies
        if test["outcome"] == "interrupted" and not self._failures:
            self._failures.append("the run ended within this test")
        test["states"] = facts.states()
        test["exchanges"] = facts.exchanges
        test["cassettes"] = list(facts.cassettes)
        if facts.jobs:
            test["jobs"] = list(facts.jobs.values())
        if facts.unplayed:
            test["unplayed"] = facts.unplayed
        if self._failures:
            test["failure"] = bodies.add_text(outgoing.redact_outgoing("\n".join(self._failures)))
        self._file.write("test", {"test": test, "identity": self._identity}, bodies.take_new())
        self._collector.begin_test(time.perf_counter())

    def close(self) -> None:
        """End the open attempt, and close the file."""
        self.end_test()
        self._run.exchange_watch = None
        self.guard.attempt(self._write_prices)
        with contextlib.suppress(OSError):  # the disk is full, which `guard` has reported
            self._file.close()

    def _write_prices(self) -> None:
        costs = self._collector.costs
        if costs.used:
            self._file.write("prices", costs.used)
        for model in costs.unpriced:
            self._file.write("note", f"{outgoing.redact_label(model)} has no price in the table of prices")


def _identify(node: str, shown: str) -> str:
    """Return an identity of a test, because ids of several tests may be equal after redaction."""
    if shown.endswith(node):
        return shown
    return f"{shown} #{hashlib.sha256(node.encode('utf-8', 'replace')).hexdigest()[:16]}"


def _describe_facts(facts: TestFacts) -> dict[str, Any]:
    """Return the facts about a test for the XML of JUnit."""
    test: Any = {"id": "", "outcome": "", "exchanges": facts.exchanges}
    sums = sum_up([test], pending=0, orphans=0)
    return {
        **{name: sums[name] for name in ("requests", "refused", "live")},
        "models": ", ".join(sorted({each["model"] for each in sums["hosts"]} - {""})),
        **{name: sums[name] for name in ("input_tokens", "output_tokens")},
        "cassettes": ", ".join(sorted(facts.cassettes)),
    }


def _outcome_of(report: pytest.TestReport) -> Outcome | None:
    """Return the outcome in a report, or None for a phase that passed."""
    reported: Any = report.outcome
    if reported == "rerun":
        return "rerun"
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed" if report.when == "call" else None
    if report.failed:
        return "failed" if report.when == "call" else "error"
    return "skipped" if report.skipped else None
