"""Completes the totals when the tests are over: adds what belongs to no test, and sends or stores the result.

Most runs never load this module.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from aquila.lazy_imports import lazy_modules
from pytest_aquila import node_ids, options, test_scopes
from pytest_aquila.summary.run_totals import totals_of

if TYPE_CHECKING:
    from aquila.recording.reporting.child_messages import ChildMessages
    from pytest_aquila import verify_run
    from pytest_aquila.summary import drift_report, noted_uses
    from pytest_aquila.summary.run_totals import RunTotals
else:
    lazy_modules(globals(), "pytest_aquila: verify_run", "pytest_aquila.summary: drift_report, noted_uses")


def sum_up(session: pytest.Session) -> None:
    """Complete the totals. A worker of pytest-xdist sends them; others store which test used what."""
    config = session.config
    run, is_worker = config.stash[test_scopes.RUN], hasattr(config, "workerinput")
    if not run.is_here:  # `sys.exit` in the forked child of a test: pytest goes on there as if it were the run
        return
    for name in ("unstored", "unasked", "unguarded", "notes"):
        if found := getattr(run, name):
            getattr(totals_of(config), name).extend(found)
    if refused := run.take_refused():
        totals_of(config).refused += refused
    if run.told_by_children is not None:
        _hear_children(totals_of(config), run.told_by_children)
    totals = config.stash.get(test_scopes.TOTALS, None)
    if totals is not None and is_worker:
        tests = map(node_ids.id_to_type, session.items)
        config.workeroutput["aquila"] = totals.as_plain_data(tests)  # type: ignore[attr-defined]
    elif totals is not None and totals.uses:
        totals.unstored += noted_uses.store_uses(itertools.starmap(noted_uses.NotedUse, totals.uses))
    if totals is not None and totals.unheard and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if options.wants_drift(config) and not is_worker:
        drift_report.write_file(config, totals)
    if options.wants_verification(config):
        if is_worker:
            verify_run.send_plays(config)
        else:
            verify_run.verify_session(session)


def _hear_children(totals: RunTotals, told: ChildMessages) -> None:
    """Add what child processes have told since the last test to the totals."""
    totals.cassettes += sorted(told.take_used())
    totals.unheard += told.take_unheard()
    totals.take_blocks(told)
    for sentence, command, is_unguarded in told.take_notes():
        if is_unguarded:
            totals.unguarded.append(sentence)
        else:
            totals.notes.append((sentence, command))


class Workers:
    """The workers of pytest-xdist, as their controller sees them."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add the totals of a worker to those of the controller."""
        output = getattr(node, "workeroutput", {})
        if sent := output.get("aquila"):
            totals_of(node.config).merge_worker(sent)
        if options.wants_verification(node.config):
            verify_run.take_plays(node.config, output)
