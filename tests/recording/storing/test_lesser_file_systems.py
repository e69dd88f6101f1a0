"""File systems that lack something, or fail late: of networks, of FUSE, of FAT. Their answers are imitated.

What is recorded is stored all the same, or the error says why not, and what was recorded waits in its journal.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import httpx2
import pytest

import aquila
from aquila.cassettes.storage import journal, work_folder
from aquila.cassettes.storage.body_writer import BodyWriter, write_body
from aquila.cassettes.storage.cassette_lock import hold_cassette_lock
from aquila.cassettes.storage.file_replacement import replace_file
from aquila.errors import CassetteCorrupt, CassetteWriteError
from aquila.recording.storing import interrupted_runs
from tests.support import writers
from tests.support.runs import name_upstream, separate_run
from tests.support.writers import post

SCOPE = "5c09e00000000000"
without_locks = pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    with writers.recording_project(tmp_path) as cassettes:
        yield cassettes


def failing(number: int) -> Callable[..., Any]:
    """What stands for a call of the system that fails with an error."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@without_locks
def test_if_files_cannot_be_locked_nothing_is_sent_and_the_error_says_what_to_do(
    number: int, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    name_upstream("echo", httpx2.MockTransport(lambda request: asked.append(request) or httpx2.Response(200)))
    monkeypatch.setattr(fcntl, "flock", failing(number))
    with (
        pytest.raises(CassetteWriteError, match=rf"cannot be locked \({os.strerror(number)}\).* aquila_cassette_dir"),
        aquila.use_cassette("x"),
        aquila.http_client() as client,
    ):
        post(client, "one")
    assert not asked
    assert not list(root.rglob("*.journal/*.journal")), "a journal that nobody could ever take over"


@pytest.mark.parametrize(
    ("number", "message"),
    [(errno.ENOLCK, "files there cannot be locked"), (errno.EIO, "Input/output error. The cassette is as it was")],
)
def test_a_journal_that_cannot_be_locked_once_more_keeps_what_was_recorded(
    number: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a worker, which opens its journal for each of its jobs in one test."""
    written = journal.Journal(tmp_path, SCOPE)
    written.open()
    written.close()
    before = [(path, path.read_bytes()) for path in journal.find_journals_of(tmp_path, SCOPE)]
    with monkeypatch.context() as patch, pytest.raises(CassetteWriteError, match=message):
        patch.setattr(fcntl, "flock", failing(number))
        journal.Journal(tmp_path, SCOPE).open()
    assert [(path, path.read_bytes()) for path in journal.find_journals_of(tmp_path, SCOPE)] == before != []


@without_locks
def test_a_cassette_is_changed_only_where_it_can_be_locked(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(number))
    with (
        pytest.raises(CassetteWriteError, match=r"\.lock: files there cannot be locked"),
        hold_cassette_lock(tmp_path / "x.yaml", tmp_path),
    ):
        pytest.fail("two could hold it")


def test_a_recording_replays_where_files_cannot_be_locked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with aquila.use_cassette("x"), aquila.http_client() as client:
        post(client, "one")
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    with (
        separate_run(root.parent, command_line={"transport": "replay"}),
        aquila.use_cassette("x"),
        aquila.http_client() as client,
    ):
        post(client, "one")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_is_replaced_where_nothing_can_be_flushed(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(number))
    replace_file(tmp_path / "x.yaml", b"new")
    assert (tmp_path / "x.yaml").read_bytes() == b"new"


def test_a_file_that_could_not_be_flushed_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.yaml").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        replace_file(tmp_path / "x.yaml", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x.yaml", b"old")]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS])
def test_a_file_is_replaced_where_it_has_no_mode(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.yaml").write_bytes(b"old")
    monkeypatch.setattr(os, "fchmod", failing(number))
    replace_file(tmp_path / "x.yaml", b"new")
    assert (tmp_path / "x.yaml").read_bytes() == b"new"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a file")
def test_a_file_that_root_replaces_still_belongs_to_its_user(tmp_path: Path) -> None:
    """As in a container that runs as root on the files of a user, who could not read them with the mode 0o600."""
    path = tmp_path / "x.yaml"
    path.write_bytes(b"old")
    path.chmod(0o600)
    os.chown(path, 12345, 54321)
    replace_file(path, b"new")
    found = path.stat()
    assert (path.read_bytes(), found.st_uid, found.st_gid, found.st_mode & 0o777) == (b"new", 12345, 54321, 0o600)


def test_a_failed_write_is_told_though_what_was_written_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    monkeypatch.setattr(Path, "unlink", failing(errno.EPERM))
    with pytest.raises(OSError, match="No space left"):
        replace_file(tmp_path / "x.yaml", b"new")
    with pytest.raises(OSError, match="No space left"):
        write_body(tmp_path / "bodies", [b"new"], durable=True)


def test_a_body_is_given_up_on_a_disk_that_says_at_the_end_that_it_is_full(tmp_path: Path) -> None:
    writer = BodyWriter(tmp_path)

    class Full:
        close = staticmethod(failing(errno.ENOSPC))

    writer._file.close()
    writer._file = Full()  # type: ignore[assignment]
    writer.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_body_that_breaks_off_while_it_is_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = write_body(tmp_path, [b"one" * 1000])

    class Broken:
        read = staticmethod(failing(errno.EIO))

    with pytest.raises(CassetteCorrupt, match=rf"{body.name}: the body of a recording cannot be read: Input/output"):
        body.read_exactly(Broken(), 10)  # type: ignore[arg-type]


def test_a_journal_that_cannot_be_removed_is_named_and_what_it_held_is_stored(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = Path.unlink

    def refuse_journals(path: Path, *, missing_ok: bool = False) -> None:
        if path.suffix == ".journal":
            raise PermissionError(errno.EPERM, "Operation not permitted")
        really(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse_journals)
        with (
            pytest.raises(CassetteWriteError, match=r"\.journal cannot be removed: .* stored or discarded: delete it"),
            aquila.use_cassette("x"),
            aquila.http_client() as client,
        ):
            post(client, "one")
        assert "cannot be removed" in interrupted_runs.recover_journals(root).failures[0]
    assert (root / "x.yaml").exists()
    assert interrupted_runs.recover_journals(root).failures == []
    assert os.listdir(root) == ["x.yaml"]


def test_a_disk_that_is_full_is_told_when_a_journal_that_stays_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, writer = os.close, journal.Journal(tmp_path, SCOPE)
    writer.open()
    opened = writer._descriptor

    def close_on_a_full_disk(descriptor: int) -> None:
        really(descriptor)
        if descriptor == opened:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", close_on_a_full_disk)
        with pytest.raises(CassetteWriteError, match=rf"cannot write .*{SCOPE}.*\.journal: No space left"):
            writer.close()
    writer.close()


def test_the_file_that_keeps_git_out_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_on_a_full_disk(path: Path, *_: object, **__: object) -> IO[str]:
        path.touch()
        return open("/dev/full", "w", encoding="utf-8")

    ignore = tmp_path / ".journal" / ".gitignore"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_on_a_full_disk)
        with pytest.raises(CassetteWriteError, match="No space left"):
            work_folder.work_folder(tmp_path)
    assert not ignore.exists()
    work_folder.work_folder(tmp_path)
    assert ignore.read_text() == "*\n"
