"""An amount of money that is too small for four decimals is shown as that, and not as nothing."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from aquila.huey.limits.budgets import parse_budget
from aquila.huey.live.page.rendering import write_money
from aquila.run_report.markdown import write_markdown
from aquila.run_report.page import join_scripts
from tests.run_report.sample_runs import make_report, make_test


def test_the_summary_of_a_job_says_that_a_run_cost_little() -> None:
    report = make_report([make_test("test_it")])
    report["totals"] |= {"saved": 1000, "cost": {"USD": 0.00002}, "cost_saved": {"USD": 0.00005, "EUR": 0.0}}
    shown = write_markdown(report)
    assert "and 0.0001 USD, 0.0000 EUR; this run cost < 0.0001 USD." in shown


def test_the_page_of_jobs_and_a_budget_say_that_little_was_spent() -> None:
    assert [write_money(cost) for cost in (0.00001, 0.0001, 0.00009, 3.5)] == ["< 0.0001", "0.0001", "0.0001", "3.50"]
    (cap,) = parse_budget("20 USD per day")
    smallest = parse_budget("0.00001 USD per day")[0].amount
    assert cap.show(smallest) == "< 0.0001 USD"


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_the_page_of_a_run_says_that_an_answer_cost_little() -> None:
    shows = "console.log([0.00001, 0.00006, 0, 2].map((amount) => tellMoney({ USD: amount })).join('; '));"
    program = join_scripts("elements.js", more=shows)
    ran = subprocess.run(["node", "-"], input=program, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "< 0.0001 USD; 0.0001 USD; 0.00 USD; 2.00 USD"
