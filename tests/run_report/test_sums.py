"""The sums of a report: those in its data, and those that its page shows."""

from __future__ import annotations

from typing import Any

from aquila.run_report.page import overview
from aquila.run_report.totals import sum_up
from tests.run_report.sample_runs import make_exchange, make_test


def test_all_sums_of_a_report_count_what_was_asked_and_paid() -> None:
    exchanges = [
        make_exchange(1),
        make_exchange(2, states=["faulted"]),
        make_exchange(3, states=["unplayed"], source="none"),
        make_exchange(4, model=None, answered_by="other"),
    ]
    test = make_test("test_it", exchanges)
    totals = sum_up([test], pending=0, orphans=0)
    assert (totals["replayed"], totals["requests"], totals["input_tokens"], totals["saved"]) == (2, 3, 24, 1280)
    report: Any = {"tests": [test], "bodies": {}}
    seen = overview.make_overview(report)
    assert [(each["model"], each["requests"], each["input_tokens"]) for each in totals["hosts"]] == [
        ("gpt-5-mini", 2, 12),
        ("other", 1, 12),
    ]
    assert (seen["rows"][0]["requests"], seen["rows"][0]["tokens"]) == (3, 32)


def test_tests_with_one_id_are_all_shown() -> None:
    failed = make_test("test_it[****]", outcome="failed", identity="test_it[****] #1")
    passed = make_test("test_it[****]", identity="test_it[****] #2")
    report: Any = {"tests": [failed, passed], "bodies": {}}
    seen = overview.make_overview(report)
    assert len({row["id"] for row in seen["rows"]}) == 2
    assert sum_up([failed, passed], pending=0, orphans=0)["tests"] == 2
