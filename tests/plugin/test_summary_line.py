"""The last line of a run."""

from __future__ import annotations

import pytest

from aquila.run_report.totals import sum_up
from pytest_aquila.summary.end_of_run import summary_line
from pytest_aquila.summary.run_totals import RunTotals
from tests.plugin.conftest import Project
from tests.run_report.sample_runs import make_exchange, make_test
from tests.support.slow import slow_but


@pytest.mark.parametrize(
    ("tokens", "end"),
    [(1234, "0 missed; saved 1.5 s and 1,234 tokens"), (0, "0 missed; saved 1.5 s")],
)
def test_no_tokens_are_told_where_answers_tell_none(tokens: int, end: str) -> None:
    totals = RunTotals()
    totals.replayed, totals.seconds, totals.tokens = 2, 1.5, tokens
    assert summary_line(totals) == f"aquila: 2 replayed, 0 recorded, {end}"


ASKS = "subprocess.run([sys.executable, '-c', 'import app; [app.post(1) for _ in range(3)]'], check=True)"


ALONE = "post(1), post(1), post(1)"


@pytest.mark.parametrize("asks", slow_but([ALONE], [ALONE, ASKS, f"post(1); {ASKS.replace('3', '2')}"]))
def test_what_a_repeated_answer_took_is_saved_once(asks: str, project: Project) -> None:
    project.record(tests="def test_it(aquila_cassette): post(1)")
    project.pytester.makeini("[pytest]\naquila_repeat = last\n")
    shown = project.run(tests=f"import subprocess, sys\n\ndef test_it(aquila_cassette): {asks}").stdout
    shown.fnmatch_lines("aquila: 3 replayed, 0 recorded, 0 missed; saved * s and 7 tokens")


PLACES = [(1, 1), (2, 1), (3, 2)]


def test_what_a_repeated_answer_took_is_saved_once_in_a_report() -> None:
    asked = [make_exchange(at) | {"cassette": "cassettes/test_it.yaml", "number": number} for at, number in PLACES]
    totals = sum_up([make_test("test_it", asked), make_test("test_that", asked)], pending=0, orphans=0)
    took = asked[0]["timing"]["ended"]
    assert (totals["replayed"], totals["saved"]) == (6, 4 * took)
    assert totals["cost_saved"] == pytest.approx({"USD": 4 * asked[0]["usage"]["cost"]})
