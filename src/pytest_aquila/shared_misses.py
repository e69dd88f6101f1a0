"""What processes of fixtures that several tests share have missed: it fails the test that was running then.

The cassette of such a fixture is open until its teardown. Without this a miss would fail the last test that uses the
fixture, and the command that records would name the first one.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from aquila.errors import CassetteMiss
from aquila.recording.reporting import reports
from aquila.recording.reporting.described_misses import describe_miss, miss_from
from pytest_aquila import node_ids, scope_ends, suggested_commands, test_scopes


def pass_on(item: pytest.Item) -> Sequence[CassetteMiss]:
    """Return the misses of shared fixtures that belong to a running test so far, and add new ones to its report."""
    known = item.stash.setdefault(test_scopes.SHARED_MISSES, [])
    for scope in item.config.stash[test_scopes.RUN].scopes.unclosed():
        if scope.kind != "fixture" or not scope.is_shared or not scope.misses.hear().untaken:
            continue
        misses = scope.misses.known.take()
        command = suggested_commands.record_command(item, node_ids.id_to_type(item))
        known += [_with_command(miss, scope.command, command) for miss in misses]
        scope_ends.add_report(item, reports.summarize_misses(scope, misses), scope.settings)
    return known


def _with_command(miss: CassetteMiss, old: str, new: str) -> CassetteMiss:
    """Return a miss that advises another command. The process that wrote its text knew only that of its fixture."""
    kind, text, *facts = describe_miss(miss)
    return miss_from([kind, text.replace(old, new), *facts])
