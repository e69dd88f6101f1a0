"""The file that says which tests used which cassettes."""

from __future__ import annotations

from pathlib import Path

import pytest

from aquila.cassettes.storage.recorded_uses import USES_FILE, read_uses, update_uses


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
