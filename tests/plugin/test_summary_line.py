"""The last line of a run."""

from __future__ import annotations

import pytest

from pytest_aquila.summary.run_totals import RunTotals
from pytest_aquila.summary.summary_line import summary_line


@pytest.mark.parametrize(
    ("tokens", "end"),
    [(1234, "0 missed; saved 1.5 s and 1,234 tokens"), (0, "0 missed; saved 1.5 s")],
)
def test_no_tokens_are_told_where_answers_tell_none(tokens: int, end: str) -> None:
    totals = RunTotals()
    totals.replayed, totals.seconds, totals.tokens = 2, 1.5, tokens
    assert summary_line(totals) == f"aquila: 2 replayed, 0 recorded, {end}"
