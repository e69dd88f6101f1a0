"""Writing what was decided, while runs record and disks are full."""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aquila.cassettes.model import Cassette, Interaction
from aquila.cassettes.storage import cassette_files
from aquila.cassettes.storage.names import WORK_FOLDER
from aquila.cassettes.storage.work_folder import work_folder
from aquila.errors import CassetteError, CassetteWriteError
from aquila.review import applying
from aquila.review.applying import take_back
from tests.cli.conftest import conversation
from tests.review.test_reviewing import ONE, TWO, apply_and_be_killed, load, open_review, write


@contextlib.contextmanager
def run_before_the_locks(run: Callable[[], object], patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within the block, a test run writes just before a review holds the locks of a cassette."""
    hold = applying.hold_cassette_locks

    def run_and_hold(*arguments: Any) -> contextlib.AbstractContextManager[None]:
        run()
        return hold(*arguments)

    with patch.context() as inside:
        inside.setattr(applying, "hold_cassette_locks", run_and_hold)
        yield


def test_what_a_run_records_while_a_review_begins_to_write_is_not_taken_back_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.yaml"
    review = open_review(write(tmp_path, "a", [ONE], [conversation("one", "x")]))
    review.decide(review.items, "accept")
    with run_before_the_locks(lambda: cassette_files.save_cassette(path, Cassette((ONE, TWO))), monkeypatch):
        assert [each.problem for each in review.apply()] == [""]
    with (
        run_before_the_locks(lambda: cassette_files.save_cassette(path, Cassette((ONE, ONE))), monkeypatch),
        pytest.raises(CassetteError, match="has changed since the last review, so nothing was taken back"),
    ):
        take_back(tmp_path)
    assert load(tmp_path, "a") == (ONE, ONE)
    cassette_files.save_cassette(path, Cassette((conversation("one", "x"), TWO)))
    assert take_back(tmp_path)
    assert load(tmp_path, "a") == (ONE, TWO)


@pytest.mark.parametrize("was", [[ONE], []])
@pytest.mark.parametrize("what", ["the disk is full", "somebody records"])
def test_a_cassette_is_as_it_was_if_what_waits_cannot_be_written(
    was: list[Interaction], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = write(tmp_path, "a", was, [TWO])
    review = open_review(row)
    review.decide(review.items, "accept")
    save = cassette_files.save_cassette

    def save_and_record(path: Path, *arguments: Any, **named: Any) -> None:
        save(path, *arguments, **named)
        save(row[1], Cassette((conversation("two", "newer"),)))

    def fail(path: Path) -> None:
        raise CassetteWriteError("no space left")

    name, broken = ("remove_cassette", fail) if what == "the disk is full" else ("save_cassette", save_and_record)
    with monkeypatch.context() as inside:
        inside.setattr(cassette_files, name, broken)
        (outcome,) = review.apply()
    assert outcome.problem
    assert load(tmp_path, "a") == tuple(was)
    review = open_review(row)
    review.begin()  # nothing is left to be finished
    assert load(tmp_path, "a") == tuple(was)
    assert len(review.items) == 1


def test_a_cassette_whose_large_bodies_are_gone_is_not_taken_back(tmp_path: Path) -> None:
    review = open_review(write(tmp_path, "a", [conversation("one", "x" * 300_000)], [conversation("one", "y")]))
    review.decide(review.items, "accept")
    assert [each.problem for each in review.apply()] == [""]
    for path in tmp_path.rglob("sha256-*"):
        path.unlink()
    with pytest.raises(CassetteError, match=r"a\.yaml cannot be taken back: "):
        take_back(tmp_path)
    assert load(tmp_path, "a") == (conversation("one", "y"),)


@pytest.mark.parametrize("file", ["../outside.yaml", "{outside}/outside.yaml", "link/outside.yaml", "conftest.py"])
@pytest.mark.parametrize("was_there", [False, True])
def test_a_forged_state_file_cannot_name_files_that_are_no_cassettes(
    file: str, was_there: bool, tmp_path: Path
) -> None:
    root = tmp_path / "cassettes"
    work_folder(root)
    (root / "link").symlink_to(tmp_path)
    path = root / file.format(outside=tmp_path)
    path.write_text("mine")
    cassette = cassette_files.encode_cassette(tmp_path / "a.yaml", Cassette((ONE,)))
    before = base64.b64encode(cassette).decode() if was_there else None
    row = {"file": str(path), "before": before, "now": hashlib.sha256(b"mine").hexdigest()}
    (root / WORK_FOLDER / "0.before.json").write_text(json.dumps([row]))
    assert take_back(root) == []
    assert path.read_text() == "mine"


def test_what_a_killed_review_had_begun_to_write_is_taken_back_and_decided_as_before(tmp_path: Path) -> None:
    row = write(tmp_path, "a", [ONE, TWO], [conversation("one", "x"), conversation("two", "y")])
    review = open_review(row)
    review.decide(review.items[:1], "accept")
    review.decide(review.items[1:], "reject")
    with pytest.MonkeyPatch.context() as patch:
        apply_and_be_killed(review, patch)
    assert load(tmp_path, "a") == (conversation("one", "x"), TWO)
    review = open_review(row)
    review.begin()
    assert load(tmp_path, "a") == (ONE, TWO)
    assert [review.choice_of(item) for item in review.items] == ["accept", "reject"]
    assert [each.problem for each in review.apply()] == [""]
    assert load(tmp_path, "a") == (conversation("one", "x"), TWO)
    assert take_back(tmp_path)
    assert load(tmp_path, "a") == (ONE, TWO)


def test_a_killed_review_is_taken_back_once_the_disk_has_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = write(tmp_path, "a", [ONE, TWO], [conversation("one", "x"), conversation("two", "y")])
    review = open_review(row)
    review.decide(review.items, "accept")
    apply_and_be_killed(review, monkeypatch)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as inside:
        inside.setattr(applying.file_replacement, "replace_file", fail)
        open_review(row).begin()
    assert load(tmp_path, "a") == (conversation("one", "x"), conversation("two", "y"))
    open_review(row).begin()
    assert load(tmp_path, "a") == (ONE, TWO)


@pytest.mark.parametrize("content", ["", "[]", "{", '[{"file": "../a.yaml", "before": null, "now": ""}]'])
def test_an_unreadable_note_of_a_review_is_passed_over(content: str, tmp_path: Path) -> None:
    review = open_review(write(tmp_path, "a", [ONE], [TWO]))
    note = work_folder(tmp_path) / "0.unfinished.json"
    note.write_text(content)
    review.begin()
    assert not note.exists()
    assert load(tmp_path, "a") == (ONE,)
