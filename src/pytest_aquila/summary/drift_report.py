"""``--aquila-drift``: the list of requests without a recording, grouped by the change from the nearest recording."""

from __future__ import annotations

from typing import Any

import pytest

from aquila.errors import CassetteRequired, LiveCallRefused
from aquila.recording.network import guard
from aquila.recording.reporting import drift_groups, drift_watch
from pytest_aquila import node_ids, options, suggested_commands, test_scopes
from pytest_aquila.report_writing import targets
from pytest_aquila.summary import redacted_terminal
from pytest_aquila.summary.run_totals import RunTotals


def note_test_without_cassette(item: pytest.Item, error: BaseException | None, totals: RunTotals) -> None:
    """Note a test that sent a request to a model and has no cassette. ``error`` is the exception of the test."""
    scope = test_scopes.opened_scope(item)
    if scope is not None and scope.default_cassette is not None:
        return
    running = item.config.stash[test_scopes.RUN].test
    refused = [*running.refusals] if running is not None else []
    refused += [error] if isinstance(error, LiveCallRefused) else []
    text = next((text for text in map(str, refused) if guard.NOTHING_ASKS in text), None)
    if text is None and isinstance(error, CassetteRequired):
        text = str(error)
    if text is None:  # it needs another remedy, as where a cassette is damaged
        return
    row = drift_watch.DriftedRequest("", "", "", "without_cassette", text).as_plain_data()
    totals.drifted.append({"test": node_ids.id_to_type(item), **row})


def write_file(config: pytest.Config, totals: RunTotals | None) -> None:
    """Write the drifted requests to the file that the option names, if it names one."""
    target = config.option.aquila_drift
    if target != options.IMPLIED_VALUES["--aquila-drift"]:
        targets.write_json(config, target, _make_report(config, totals))


def _make_report(config: pytest.Config, totals: RunTotals | None) -> dict[str, Any]:
    drifted = totals.drifted if totals is not None else []
    start = suggested_commands.start_for_tests(config, [row["test"] for row in drifted])
    return drift_groups.make_report(drifted, start)


def write_report(reporter: pytest.TerminalReporter, totals: RunTotals | None) -> None:
    """List the drifted requests."""
    report = _make_report(reporter.config, totals)
    terminal = redacted_terminal.RedactedTerminal(reporter)
    prefix = "aquila: "
    for line in drift_groups.describe_report(report, terminal.width - len(prefix)):
        terminal.write_line(prefix + line, "yellow" if report["groups"] else "")
        prefix = ""
