"""The folder of journals and locks is removed when nothing needs it, and no recording is lost by that."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import aquila
from aquila.cassettes.storage import journal
from aquila.cassettes.storage.work_folder import remove_unused_work_folder
from aquila.recording.storing import interrupted_runs
from tests.support import writers
from tests.support.writers import post


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    with writers.recording_project(tmp_path) as cassettes:
        yield cassettes


def use_without_recording() -> None:
    with aquila.use_cassette("x") as cassette, aquila.http_client():
        cassette._scope.recording.open_journal()


def test_a_run_that_records_nothing_leaves_no_folder(root: Path) -> None:
    use_without_recording()
    assert not root.exists()


def test_a_folder_that_was_there_stays(root: Path) -> None:
    root.mkdir()
    use_without_recording()
    assert list(root.iterdir()) == []


def test_a_recording_leaves_its_cassette_alone(root: Path) -> None:
    for name in ("x", "y"):
        with aquila.use_cassette(name), aquila.http_client() as client:
            post(client, "one")
            assert (root / ".journal" / ".gitignore").read_text().startswith("*\n")
    assert sorted(os.listdir(root)) == ["x.yaml", "y.yaml"]
    assert interrupted_runs.recover_journals(root) == ([], [])


def test_the_folder_stays_while_a_journal_waits_in_it(root: Path) -> None:
    left = journal.Journal(root, "0123456789abcdef")
    left.open()
    with aquila.use_cassette("x"), aquila.http_client() as client:
        post(client, "one")
    (kept,) = (root / ".journal").glob("*.journal")
    assert kept == left.path
    left.remove_file()


_OPEN_AND_CLOSE = """
import sys
from pathlib import Path
from aquila.cassettes.storage import journal
from aquila.cassettes.storage.work_folder import remove_unused_work_folder
root = Path(sys.argv[1])
for number in range(300):
    opened = journal.Journal(root, f"{int(sys.argv[2]):016x}")
    opened.open()
    assert list((root / ".journal").glob("*.journal"))
    opened.remove_file()
    remove_unused_work_folder(root)
"""


@pytest.mark.slow
def test_processes_that_make_and_remove_the_folder_do_not_disturb_each_other(root: Path) -> None:
    command = [sys.executable, "-c", _OPEN_AND_CLOSE, str(root)]
    running = [subprocess.Popen([*command, str(number)], stderr=subprocess.PIPE, text=True) for number in range(4)]
    assert [process.communicate()[1] for process in running] == [""] * 4
    assert not root.exists() or list(root.iterdir()) == []
    remove_unused_work_folder(root)
