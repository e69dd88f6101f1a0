"""What workers have counted together of their requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aquila.huey.limits.counting import Counts
from aquila.huey.limits.rules import LimitRule


def describe_counts(counts: Counts, rules: Sequence[LimitRule]) -> Mapping[str, int]:
    """Return how many requests hold a slot, or how much is counted in the last period, by the text of each rule."""
    return {
        rule.text: len(counts.leases.get(rule.id, {}))
        if rule.unit == "at once"
        else sum(counts.amounts.get(rule.id, {}).values())
        for rule in rules
    }
