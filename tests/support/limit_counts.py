"""Shows the counts of request limits that all workers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aquila.huey.limits.counting import Counts
from aquila.huey.limits.rules import LimitRule


def describe_counts(counts: Counts, rules: Sequence[LimitRule]) -> Mapping[str, int]:
    """Return for each rule's text how many requests hold a slot, or the amount that is counted."""
    return {
        rule.text: len(counts.leases.get(rule.id, {}))
        if rule.unit == "at once"
        else sum(counts.amounts.get(rule.id, {}).values())
        for rule in rules
    }
