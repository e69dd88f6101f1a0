"""The file that says which tests used which cassettes."""

from __future__ import annotations

import errno
from pathlib import Path
from unittest.mock import Mock

import pytest

from aquila.cassettes.storage import recorded_uses
from aquila.cassettes.storage.recorded_uses import USES_FILE, read_uses, update_uses
from aquila.errors import CassetteWriteError


def test_a_file_that_is_a_link_is_read_as_cassettes_are(tmp_path: Path) -> None:
    shared = tmp_path / "shared.jsonl"
    shared.write_text('["named/x", "test_it.py::test_it"]\n')
    (tmp_path / USES_FILE).symlink_to(shared)
    assert read_uses(tmp_path) == {("named/x", "test_it.py::test_it")}


def test_the_test_of_a_file_whose_name_is_not_utf_8_is_read_as_it_was_written(tmp_path: Path) -> None:
    test = "test_caf\udce9.py::test_it"
    update_uses(tmp_path, {test: ["naïve"]}, whole=[test])
    assert read_uses(tmp_path) == {("naïve", test)}
    assert "naïve".encode() in (tmp_path / USES_FILE).read_bytes()


@pytest.mark.parametrize("separator", ["\x85", "\u2028", "\u2029"])
def test_a_name_with_a_line_separator_is_read_as_it_was_written(separator: str, tmp_path: Path) -> None:
    use = f"naive{separator}name", f"test{separator}it.py::test_it"
    update_uses(tmp_path, {use[1]: [use[0]]}, whole=[use[1]])
    assert read_uses(tmp_path) == {use}


@pytest.mark.parametrize("why", ["it is not this user's", "it is too large"])
def test_a_file_that_cannot_be_read_is_left_as_it_is(why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update_uses(tmp_path, {"test_a": ["shared"]}, whole=["test_a"])
    before = (tmp_path / USES_FILE).read_bytes()
    if why == "it is too large":
        monkeypatch.setattr(recorded_uses, "_LARGEST", len(before) - 1)
    else:
        monkeypatch.setattr(recorded_uses, "read_regular", Mock(side_effect=PermissionError(errno.EACCES, "denied")))
    assert not read_uses(tmp_path)
    with pytest.raises(CassetteWriteError, match=USES_FILE):
        update_uses(tmp_path, {"test_b": ["shared"]}, whole=["test_b"])
    assert (tmp_path / USES_FILE).read_bytes() == before
