"""The count of what a run has recorded, in a file that several processes share."""

from __future__ import annotations

from pathlib import Path

import pytest

from aquila.recording.storing.record_budget import RecordBudget, Spent


def test_a_process_that_is_killed_while_it_writes_the_count_leaves_the_count_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = RecordBudget()
    budget.path = str(tmp_path / "budget.json")
    assert budget.take_request((3, None)) is None

    def empty_and_die(path: Path, text: str) -> None:
        path.write_bytes(b"")
        raise KeyboardInterrupt

    with monkeypatch.context() as patches:
        patches.setattr(Path, "write_text", empty_and_die)
        with pytest.raises(KeyboardInterrupt):
            budget.add_tokens(7)
    budget.add_tokens(5)
    assert budget.spent() == Spent(requests=1, tokens=5)
