"""The file that says which tests used which cassettes."""

from __future__ import annotations

from pathlib import Path

from aquila.cassettes.storage.recorded_uses import USES_FILE, read_uses


def test_a_file_that_is_a_link_is_read_as_cassettes_are(tmp_path: Path) -> None:
    shared = tmp_path / "shared.jsonl"
    shared.write_text('["named/x", "test_it.py::test_it"]\n')
    (tmp_path / USES_FILE).symlink_to(shared)
    assert read_uses(tmp_path) == {("named/x", "test_it.py::test_it")}
