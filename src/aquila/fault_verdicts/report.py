"""The report about tests under faults, for people and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from aquila.fault_verdicts.judging import SERIOUS, Allowance, Judgement, is_allowed
from aquila.plurals import count_of


@dataclass
class FaultReport:
    """All judgements. ``not_run``: tests that were left out, each with the reason.

    ``does_not_apply``: how many faults could not be applied to any answer of their test.
    """

    judgements: list[Judgement] = field(default_factory=list)
    not_run: list[tuple[str, str]] = field(default_factory=list)
    does_not_apply: int = 0

    def add_plain_data(self, data: dict[str, Any]) -> None:
        """Add what ``as_plain_data`` of another report returned."""
        for row in data["runs"]:
            findings = tuple((each["name"], each["detail"]) for each in row["findings"])
            self.judgements.append(Judgement(row["test"], row["fault"], row["verdict"], row["detail"], findings))
        self.not_run += [(each["test"], each["reason"]) for each in data["not_run"]]
        self.does_not_apply += data["does_not_apply"]

    def as_plain_data(self, allowed: Sequence[Allowance] = ()) -> dict[str, Any]:
        """Return the report as JSON values, in which each finding says whether it is allowed."""
        rows = [judgement.as_plain_data() for judgement in self.judgements]
        for row, judgement in zip(rows, self.judgements, strict=True):
            for finding in row["findings"]:
                finding["allowed"] = is_allowed(judgement, finding["name"], allowed)
        return {
            "version": 1,
            "runs": rows,
            "not_run": [{"test": test, "reason": reason} for test, reason in self.not_run],
            "does_not_apply": self.does_not_apply,
            "failed": self.has_failed(allowed),
        }

    def has_failed(self, allowed: Sequence[Allowance]) -> bool:
        """Whether anything serious was found that is not allowed."""
        return any(
            not is_allowed(judgement, name, allowed) for judgement in self.judgements for name, _ in judgement.findings
        )


def describe_report(report: FaultReport, allowed: Sequence[Allowance]) -> Iterator[tuple[str, str]]:
    """Yield the lines of a report, each with its colour or "": a table of tests and faults, and a summary."""
    by_test: dict[str, list[Judgement]] = {}
    for judgement in report.judgements:
        by_test.setdefault(judgement.test, []).append(judgement)
    width = max((len(each.fault) for each in report.judgements), default=0)
    for test, judgements in sorted(by_test.items()):
        yield test, ""
        for judgement in judgements:
            yield f"  {judgement.fault:<{width}}  {_describe(judgement, allowed)}", _colour(judgement, allowed)
    for test, reason in report.not_run:
        yield f"{test}: not run under faults: {reason}", "yellow"
    yield _summarize(report, allowed), "red" if report.has_failed(allowed) else ""


def _describe(judgement: Judgement, allowed: Sequence[Allowance]) -> str:
    text = f"{judgement.verdict:<8}"
    parts = [judgement.detail] if judgement.detail else []
    for name, detail in judgement.findings:
        said = SERIOUS[name] + (f" ({detail})" if detail and detail != judgement.detail else "")
        mark = " [allowed]" if is_allowed(judgement, name, allowed) else ""
        if name != judgement.verdict:
            parts.append(f"{said}{mark}")
        elif mark:
            parts.append(mark.strip())
    return f"{text}  {'; '.join(parts)}".rstrip()


def _colour(judgement: Judgement, allowed: Sequence[Allowance]) -> str:
    if any(not is_allowed(judgement, name, allowed) for name, _ in judgement.findings):
        return "red"
    return "yellow" if judgement.findings else ""


def _summarize(report: FaultReport, allowed: Sequence[Allowance]) -> str:
    verdicts: Counter[str] = Counter(judgement.verdict for judgement in report.judgements)
    order = ("held", "clear", "changed", "accepted", "hangs", "leaks")
    counted = ", ".join(f"{verdicts[each]} {each}" for each in order if verdicts[each])
    tests = len({judgement.test for judgement in report.judgements})
    text = f"{count_of(len(report.judgements), 'run')} of {count_of(tests, 'test')}: {counted or 'none'}"
    if report.does_not_apply:
        text += f"; not applicable: {count_of(report.does_not_apply, 'fault')}"
    serious = [(judgement, name) for judgement in report.judgements for name, _ in judgement.findings]
    passed = sum(is_allowed(judgement, name, allowed) for judgement, name in serious)
    if passed:
        text += f"; allowed: {count_of(passed, 'finding')}"
    return text
