"""Writes the reports after the tests. The process that the user started joins what all processes have collected."""

from __future__ import annotations

import contextlib
import datetime
import html
import importlib.metadata
import os
import platform
import re
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from aquila.prices import prices_of
from aquila.recording import runtime
from aquila.recording.secrets import outgoing
from aquila.run_report import markdown
from aquila.run_report.collecting import ExchangeCollector
from aquila.run_report.costs import Costs
from aquila.run_report.partial_files import PartialFile, find_parts, is_in_use, join_parts
from aquila.run_report.report_files import write_report
from aquila.run_report.schema import SCHEMA_VERSION, RunReport
from aquila.run_report.totals import sum_up
from aquila.shell_words import join_words, path_from
from pytest_aquila import test_scopes
from pytest_aquila.report_writing import wanted_reports
from pytest_aquila.report_writing.collected_tests import CollectedTests
from pytest_aquila.report_writing.targets import parse_targets, partial_of
from pytest_aquila.run_life import RUN, root_of
from pytest_aquila.summary import pending_report, redacted_terminal, unused_cassettes
from pytest_aquila.summary.run_extent import RunExtent, watch_extent
from pytest_aquila.summary.run_totals import RunTotals

PLUGIN = "aquila-run-report"
_SENT = "aquila_report"
"""The key in the input of workers for the file in which they collect."""

_EACH = "aquila_report_each"
"""The key in the input of workers that says whether each of them runs all tests."""

_PROBLEM = "aquila_report_problem"
"""The key in the output of workers for the reason why a report is incomplete."""


class RunReports:
    """A plugin of every process of a run with reports."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._input = getattr(config, "workerinput", None)
        self._targets = (
            [] if self._input is not None else parse_targets(config.option.aquila_report, _folder_of(config))
        )
        self._prices = prices_of(runtime.current_settings())  # so that a wrong table raises before any test
        self._extent = watch_extent(config)
        self._tests: CollectedTests | None = None
        self._began, self._clock = datetime.datetime.now(datetime.UTC), time.monotonic()
        self._interrupted = ""
        self._mark = ""
        self._notes: list[str] = []
        self._lines: list[str] = []
        """The lines about the reports in the summary."""

    @property
    def _partial(self) -> Path:
        return partial_of(self._targets[0], self._mark)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Begin to collect in a process that runs tests."""
        if self._config.option.collectonly:
            return
        if self._input is None:
            with contextlib.suppress(OSError):  # opening the file below reports the same error
                self._put_old_aside()
        if self._input is not None or self._config.getoption("dist", "no") == "no":
            file, worker = self._open_partial()
            collector = ExchangeCollector(root_of(self._config), Costs(self._prices), f"{worker}-" if worker else "")
            each = self._input is not None and bool(self._input[_EACH])
            self._tests = CollectedTests(self._config.stash[RUN], collector, file, worker, each=each)
            self._config.pluginmanager.register(self._tests)

    def _open_partial(self) -> tuple[PartialFile, str]:
        """Open the file in which this process collects. Returns it, and the name of the worker or an empty text.

        Raises ``UsageError`` if it cannot be written.
        """
        worker = "" if self._input is None else str(self._input["workerid"])
        path = self._partial if self._input is None else Path(f"{self._input[_SENT]}.{worker}")
        try:
            try:
                return PartialFile(path), worker
            except BlockingIOError:  # of another run that began at the same time
                if self._input is not None:
                    return PartialFile(Path(f"{path}x{os.getpid()}")), worker
                self._mark = f"-{os.getpid()}"
                return PartialFile(self._partial), worker
        except OSError as error:
            raise pytest.UsageError(f"--aquila-report: {path} cannot be written: {error.strerror}") from None

    def _put_old_aside(self) -> None:
        """Keep what a killed run has left as one file beside the report, and say so."""
        parts = find_parts(self._partial)
        if not parts:
            return
        if any(map(is_in_use, parts)):  # another run writes the same report; the run that ends last replaces it
            self._mark = f"-{os.getpid()}"
            return
        kept = self._targets[0].with_name(self._targets[0].name + ".killed")
        with contextlib.suppress(OSError):
            kept.write_bytes(b"".join([part.read_bytes() for part in parts]))
            for part in parts:
                part.unlink()
            self._lines.append(
                f"{path_from(_folder_of(self._config), kept)} has what an earlier run had collected when it was "
                "killed: a line of JSON for each of its tests"
            )

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Send the file in which to collect to a worker."""
        node.workerinput[_SENT] = str(self._partial)
        node.workerinput[_EACH] = self._config.getoption("dist", "no") == "each"

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Note that a worker crashed, and what it could not collect. Another worker runs the rest of its tests."""
        if error:
            self._notes.append(f"the worker {node.gateway.id} crashed")
        if problem := getattr(node, "workeroutput", {}).get(_PROBLEM):
            self._note_problem(f"{node.gateway.id}: {problem}")

    @pytest.hookimpl(optionalhook=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note modules that could not be collected."""
        if report.failed:
            lines = [line.strip() for line in report.longreprtext.splitlines() if line.strip()]
            marked = [line[1:].strip() for line in lines if line.startswith("E ")]
            reason = (marked or lines or [""])[-1]
            self._notes.append(f"{report.nodeid or 'the tests'} could not be collected: {reason}")

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Remember why the run ended."""
        said = str(excinfo.value)  # by pytest or a plugin; Ctrl-C says nothing
        if isinstance(excinfo.value, pytest.exit.Exception):
            said = f"pytest.exit: {said}"
        self._interrupted = said or "interrupted by Ctrl-C"

    def pytest_internalerror(self) -> None:
        """Remember why the run ended."""
        self._interrupted = "an internal error of pytest or a plugin"

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Write the reports after everything else has ended and before the summary is written."""
        result = yield
        if not self._config.stash[RUN].is_here:
            return result  # `sys.exit` in the forked child of a test: pytest goes on there as if it were the run
        if self._tests is not None:
            self._tests.close()
            self._note_problem(self._tests.guard.problem)
        if self._input is not None:
            session.config.workeroutput[_PROBLEM] = self._tests.guard.problem if self._tests else ""  # type: ignore[attr-defined]
        elif not self._config.option.collectonly:
            self._interrupted = self._interrupted or str(session.shouldstop or session.shouldfail or "")
            self._write_guarded()
        return result

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where the reports are."""
        terminal = redacted_terminal.RedactedTerminal(terminalreporter)
        for line in self._lines:
            terminal.write_line(f"aquila: {line}", "red" if "not written" in line else "")

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_summary(self, prefix: list[str]) -> None:
        """Link the reports from that of pytest-html."""
        folder = (_folder_of(self._config) / self._config.getoption("htmlpath", "")).parent
        for target in self._targets:
            path = path_from(folder, target)
            link = html.escape(target.as_uri() if os.path.isabs(path) else quote(path))
            prefix.append(f'<p>aquila: <a href="{link}">what the tests asked</a> ({html.escape(target.name)})</p>')

    def _note_problem(self, problem: str) -> None:
        if problem:
            self._notes.append(problem)
            self._lines.append(f"the report is not whole: {problem}")

    def _write_guarded(self) -> None:
        """Write the reports. A report that cannot be written does not change the result of the run."""
        try:
            self._write()
        except Exception as error:  # noqa: BLE001 - see the docstring
            why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            self._lines.append(self._describe_failure(self._targets[0], why))

    def _describe_failure(self, target: Path, why: str) -> str:
        folder = _folder_of(self._config)
        return (
            f"{path_from(folder, target)}: the report was not written: {outgoing.redact_outgoing(why)}; what was "
            f"collected is in {path_from(folder, self._partial)}"
        )

    def _write(self) -> None:
        parts = find_parts(self._partial)
        report = join_parts(parts, self._make_head())
        failed = False
        for target in self._targets:
            try:
                write_report(target, report)
            except OSError as error:
                failed = True
                self._lines.append(self._describe_failure(target, error.strerror or str(error)))
            else:
                self._lines.append(f"report in {path_from(_folder_of(self._config), target)}")
        wanted_reports.append_to_step_summary(markdown.write_markdown(report))
        if not failed:
            for part in parts:
                part.unlink(missing_ok=True)

    def _make_head(self) -> RunReport:
        settings, root = runtime.current_settings(), root_of(self._config)
        totals = self._config.stash.get(test_scopes.TOTALS, None) or RunTotals()
        waiting = pending_report.find_pending(totals)
        mode = f"{settings.transport} {settings.record}" if settings.transport == "record" else settings.transport
        head: RunReport = {
            "schema": SCHEMA_VERSION,
            "aquila": importlib.metadata.version("aquila-llm"),
            "python": platform.python_version(),
            "pytest": pytest.__version__,
            "platform": f"{platform.system()} {platform.machine()}".strip(),
            "root": outgoing.redact_label(root.name),
            "command": describe_command([*map(str, self._config.invocation_params.args)]),
            "started": self._began.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "took": round((time.monotonic() - self._clock) * 1000),
            "mode": mode,
            "totals": sum_up([], pending=0, orphans=0),
            "tests": [],
            "pending": [path_from(root, each.path) for each in waiting],
            "orphans": [] if self._extent.why_partial() else _find_orphans(self._extent, totals, root),
            "notes": list(map(outgoing.redact_outgoing, (*totals.sentences, *self._notes))),
            "bodies": {},
        }
        if self._interrupted:
            head["interrupted"] = outgoing.redact_outgoing(self._interrupted)
        return head


def _folder_of(config: pytest.Config) -> Path:
    return Path(config.invocation_params.dir)


def _find_orphans(extent: RunExtent, totals: RunTotals, root: Path) -> list[str]:
    unused = unused_cassettes.find_unused(extent, totals, root)
    return [outgoing.redact_label(path_from(root, one.path)) for one in unused if not one.kept_because]


_NAME = r"-{0,2}[\w.-]*(?:key|token|secret|password|passwd|credential)[\w.-]*"
_WITH_VALUE = re.compile(rf"({_NAME}=).+", re.IGNORECASE | re.DOTALL)
_OPTION = re.compile(rf"--?(?!-){_NAME}", re.IGNORECASE)
_MASK = "[redacted]"


def describe_command(arguments: Sequence[str]) -> str:
    """Return the command line of pytest without secrets: values of options with names such as ``key`` are masked."""
    return outgoing.redact_outgoing(join_words(["pytest", *_mask(arguments)]))


def _mask(arguments: Sequence[str]) -> Iterator[str]:
    is_value = False
    for argument in arguments:
        if is_value and not argument.startswith("-"):
            yield _MASK
        else:
            yield _WITH_VALUE.sub(rf"\1{_MASK}", argument) if _WITH_VALUE.fullmatch(argument) else argument
        is_value = argument.startswith("-") and _OPTION.fullmatch(argument) is not None
