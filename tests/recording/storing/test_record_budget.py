"""The count of what a run has recorded, in a file that several processes share."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from aquila.errors import CassetteWriteError
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


@pytest.mark.parametrize("shared", [False, True])
def test_a_budget_lets_through_as_many_requests_as_it_names_and_counts_tokens_until_they_are_enough(
    shared: bool, tmp_path: Path
) -> None:
    requests, tokens = RecordBudget(), RecordBudget()
    if shared:
        requests.path, tokens.path = str(tmp_path / "requests.json"), str(tmp_path / "tokens.json")
    assert [requests.take_request((2, None)) for _ in range(4)] == [None, None, Spent(2, 0), Spent(2, 0)]
    assert requests.is_exhausted

    tokens.add_tokens(99)
    assert tokens.take_request((None, 100)) is None
    tokens.add_tokens(1)
    assert tokens.take_request((None, 100)) == Spent(requests=1, tokens=100)


def test_tokens_that_come_in_while_a_request_is_counted_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = RecordBudget()
    exhausts = Spent.exhausts

    def end_an_answer(spent: Spent, limits: tuple[int | None, int | None]) -> bool:
        budget.add_tokens(7)  # as the garbage collector may, in the thread that counts
        return exhausts(spent, limits)

    with monkeypatch.context() as patches:
        patches.setattr(Spent, "exhausts", end_an_answer)
        assert budget.take_request((None, 100)) is None
    assert budget.spent() == Spent(requests=1, tokens=7)


def test_on_a_full_disk_no_request_is_counted_and_no_token_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = RecordBudget()
    budget.path = str(tmp_path / "budget.json")
    assert budget.take_request((3, None)) is None

    def run_out_of_space(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patches:
        patches.setattr(Path, "write_text", run_out_of_space)
        budget.add_tokens(7)
        with pytest.raises(CassetteWriteError, match=r"budget\.json .*: No space left on device\. Free the disk"):
            budget.take_request((3, None))
        assert budget.spent() == Spent(requests=1, tokens=7)
    budget.add_tokens(5)
    assert budget.spent() == Spent(requests=1, tokens=12)


def test_a_count_that_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    budget = RecordBudget()
    budget.path = str(tmp_path / "budget.json")
    (tmp_path / "budget.json.lock").mkdir()
    budget.add_tokens(7)
    assert budget.spent() is None
    (tmp_path / "budget.json.lock").rmdir()
    assert budget.spent() == Spent(requests=0, tokens=7)
