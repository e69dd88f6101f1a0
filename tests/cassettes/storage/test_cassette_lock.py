"""The lock of a cassette is let go, whatever happens around it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest

from aquila.cassettes.storage import cassette_lock
from aquila.cassettes.storage.cassette_files import update_cassette
from aquila.cassettes.storage.cassette_lock import hold_cassette_lock, hold_cassette_locks
from aquila.errors import CassetteCorrupt, CassetteWriteError


def test_a_lock_is_let_go_whose_holder_cannot_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cassette_lock, "write_new_file", fail)
    # The traceback in ``kept`` keeps what it refers to.
    with (
        pytest.raises(CassetteWriteError, match="No space left") as kept,
        hold_cassette_lock(tmp_path / "x.yaml", tmp_path),
    ):
        pytest.fail("the lock is held without a name")
    (lock,) = (tmp_path / ".journal").glob("*.lock")
    with filelock.FileLock(lock).acquire(timeout=0):
        assert kept.value


def test_the_lock_of_a_cassette_goes_with_its_holder(tmp_path: Path) -> None:
    with hold_cassette_lock(tmp_path / "x.yaml", tmp_path):
        (lock,) = (tmp_path / ".journal").glob("*.lock")
        assert lock.with_suffix(".owner").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_cassette_that_is_a_link_to_itself_is_refused_under_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.symlink_to(path)
    with hold_cassette_locks([path], tmp_path):
        pass
    with pytest.raises((CassetteWriteError, CassetteCorrupt), match=r"x\.yaml"):  # the latter since Python 3.13
        update_cassette(path, lambda cassette: cassette, root=tmp_path)


def test_several_locks_are_taken_in_one_order_and_each_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []

    @contextlib.contextmanager
    def note(path: Path, root: Path) -> Iterator[None]:
        taken.append(path.name)
        yield

    monkeypatch.setattr(cassette_lock, "hold_cassette_lock", note)
    paths = [tmp_path / name for name in ("c.yaml", "a.yaml", "b.yaml")]
    for given in (paths, paths[::-1], [*paths, tmp_path / "x" / ".." / "a.yaml"]):
        taken.clear()
        with hold_cassette_locks(given, tmp_path):
            assert taken == ["a.yaml", "b.yaml", "c.yaml"], "else two processes could wait for each other"


def test_a_lock_stays_where_those_who_wait_cannot_tell_that_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename_as_nfs_does(path: Path, missing_ok: bool = False) -> None:
        assert path.suffix == ".owner", "only a file that nobody waits for may try it"
        path.rename(path.with_name(f".nfs.{path.name}"))

    with monkeypatch.context() as patch, hold_cassette_lock(tmp_path / "x.yaml", tmp_path):
        patch.setattr(Path, "unlink", rename_as_nfs_does)
        (lock,) = (tmp_path / ".journal").glob("*.lock")
    assert lock.exists()


_COUNT = """
import sys
from pathlib import Path
from aquila.cassettes.storage.cassette_files import update_cassette
from aquila.cassettes.storage.cassette_lock import hold_cassette_lock
root = Path(sys.argv[1])
count = root / "count"
for _ in range(int(sys.argv[2])):
    with hold_cassette_lock(root / "x.yaml", root):
        before = int(count.read_text())
        count.write_text("")
        count.write_text(str(before + 1))
"""


@pytest.mark.slow
def test_processes_that_remove_the_lock_never_hold_it_together(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    command = [sys.executable, "-c", _COUNT, str(tmp_path), "150"]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[1] for process in running] == [""] * 4
    assert (tmp_path / "count").read_text() == "600"
    assert [path.name for path in tmp_path.iterdir()] == ["count"]
