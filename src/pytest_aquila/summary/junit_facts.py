"""Facts about the requests of a test, as properties of its entry in the XML of JUnit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aquila.recording.secrets import outgoing
from pytest_aquila import test_scopes

if TYPE_CHECKING:
    from aquila.recording.reporting.reports import ScopeReport

PREFIX = "aquila."


def is_wanted(config: pytest.Config) -> bool:
    """Whether the run writes such a file."""
    return getattr(config.option, "xmlpath", None) is not None


def forget_facts(item: pytest.Item) -> None:
    """Remove the facts of an earlier attempt of a test."""
    if item.stash.get(test_scopes.FACTS, None) is not None:
        del item.stash[test_scopes.FACTS]
        item.user_properties[:] = [row for row in item.user_properties if not row[0].startswith(PREFIX)]


def add_report(item: pytest.Item, report: ScopeReport) -> None:
    """Add the report of a scope of a test. The properties are sums over the scopes of the test, without zeros."""
    counts = {
        "replayed": report.replayed,
        "recorded": report.recorded,
        "scripted": report.scripted,
        "missed": report.missed,
        "pending": len(report.pending),
        "tokens": report.tokens,
        "seconds_saved": report.seconds,
    }
    facts = item.stash.setdefault(test_scopes.FACTS, {})
    for name, count in counts.items():
        if total := round(facts.get(name, 0) + count, 3):
            facts[name] = total
    _write(item, facts)


def add_facts(item: pytest.Item, more: dict[str, Any]) -> None:
    """Add facts about a test that the report of the run has found."""
    facts = item.stash.setdefault(test_scopes.FACTS, {})
    facts.update({name: value for name, value in more.items() if value})
    _write(item, facts)


def _write(item: pytest.Item, facts: dict[str, Any]) -> None:
    others = [row for row in item.user_properties if not row[0].startswith(PREFIX)]
    own = [(PREFIX + name, outgoing.redact_label(str(value))) for name, value in facts.items()]
    item.user_properties[:] = [*others, *own]
