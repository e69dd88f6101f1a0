"""Temporary folders: private to the user, and removed with the process that made them, or by the next process."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aquila import temporary_folders
from aquila.temporary_folders import TemporaryFolder, path_of, remove_left_folders, remove_own_folders

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals, forks and locks of folders")

PATIENCE = 60
"""Seconds after which a process that should have ended fails its test."""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, of this process and of those that it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@contextlib.contextmanager
def running(program: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that makes a folder with a file and waits, until it is released or the block ends."""
    lines = (
        "import os, select, signal, sys, threading",
        "from aquila.temporary_folders import TemporaryFolder",
        program,
        "open(os.path.join(folder.path, 'file'), 'w').close()",
        "print(flush=True)",
        # A signal that comes just before a read begins is noticed only when the read ends.
        "while not select.select([sys.stdin], [], [], 0.1)[0]: pass",
    )
    command = [sys.executable, "-c", "\n".join(lines)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
            yield process
        finally:
            process.kill()


def left_by(program: str, how: int | None) -> int:
    """Let a program make a folder and end it, with a signal if one is given. Return its exit code."""
    with running(program) as process:
        if how is not None:
            process.send_signal(how)
            return process.wait(PATIENCE)
        process.communicate(timeout=PATIENCE)
        return process.returncode


def in_fork(work: Callable[[], object]) -> int:
    """Do something in a fork that ends as a program does, with its exit handlers. Return how it ended."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


MAKES = "folder = TemporaryFolder('test')"
IN_THREAD = "thread = threading.Thread(target=lambda: globals().update(folder=TemporaryFolder('test')))\n"
IN_THREAD += "thread.start()\nthread.join()"


@pytest.mark.parametrize("mark", [None, "0123456789abcdef01234567"])
def test_only_this_user_can_open_it_whatever_the_umask(place: Path, mark: str | None) -> None:
    umask = os.umask(0)
    try:
        with TemporaryFolder("test", mark) as path:
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
            assert mark is None or path == path_of("test", mark)
            assert [str(one) for one in place.iterdir()] == [path]
    finally:
        os.umask(umask)
    assert not list(place.iterdir())


def test_it_is_removed_with_its_object(place: Path) -> None:
    folder = TemporaryFolder("test")
    Path(folder.path, "file").touch()
    del folder
    gc.collect()
    assert not list(place.iterdir())


@pytest.mark.parametrize("program", [MAKES, IN_THREAD], ids=["main thread", "thread"])
@pytest.mark.parametrize(
    ("how", "code"),
    [(None, 0), (signal.SIGINT, -signal.SIGINT)],
)
def test_it_is_removed_when_its_process_ends(place: Path, program: str, how: int | None, code: int) -> None:
    assert left_by(program, how) == code
    assert not list(place.iterdir())


@pytest.mark.parametrize("ending", ["SIGTERM", "SIGKILL", "os._exit"])
def test_the_folder_of_a_killed_process_is_removed_when_the_next_one_is_made(place: Path, ending: str) -> None:
    if ending != "os._exit":
        assert left_by(MAKES, signal.Signals[ending]) == -signal.Signals[ending]
    else:
        assert left_by(f"{MAKES}\nthreading._shutdown = lambda: os._exit(3)", None) == 3
    assert [path.name.startswith("aquila-test-") for path in place.iterdir()] == [True]
    with TemporaryFolder("other") as path:
        assert [str(one) for one in place.iterdir()] == [path]


def test_folders_in_use_and_files_of_others_stay(place: Path) -> None:
    elsewhere = place.parent / "elsewhere"
    (elsewhere / "kept").mkdir(parents=True)
    (place / "aquila-test-12345678.tmp").symlink_to(elsewhere)
    (place / "aquila-notes.tmp").mkdir()
    (place / "aquila-test-1234567a").mkdir()
    (place / "aquila-test-1234567b.tmp").touch()
    if os.geteuid() == 0:
        (place / "aquila-test-1234567c.tmp").mkdir()
        os.chown(place / "aquila-test-1234567c.tmp", 65534, -1)
    before = set(place.iterdir())
    with running(MAKES), TemporaryFolder("test"):
        mine = set(place.iterdir()) - before
        assert len(mine) == 2
        remove_left_folders()
        assert set(place.iterdir()) == before | mine
    assert set(place.iterdir()) <= before | mine
    remove_left_folders()
    assert set(place.iterdir()) == before
    assert (elsewhere / "kept").is_dir()


def test_a_folder_stays_while_a_fork_of_its_process_lives(place: Path) -> None:
    forks = """
folder = TemporaryFolder('test')
if os.fork():
    os.kill(os.getpid(), signal.SIGKILL)
"""
    with running(forks) as process:
        assert process.wait(PATIENCE) == -signal.SIGKILL
        remove_left_folders()
        (path,) = place.iterdir()
        assert list(path.iterdir())
        process.communicate(timeout=PATIENCE)  # the fork ends when its input does
    remove_left_folders()
    assert not list(place.iterdir())


def test_a_fork_removes_its_own_folders_and_not_those_of_its_parent(place: Path) -> None:
    with TemporaryFolder("parent") as path:

        def work() -> None:
            folder = TemporaryFolder("child")
            assert len(list(place.iterdir())) == 2
            remove_own_folders()
            folder.close()
            os._exit(7)

        assert in_fork(work) == 7
        assert [str(one) for one in place.iterdir()] == [path]


WORKER = """
import multiprocessing
def work():
    TemporaryFolder.kept = TemporaryFolder('child')
worker = multiprocessing.get_context('fork').Process(target=work)
worker.start()
worker.join()
folder = TemporaryFolder('test')
assert len(os.listdir(os.environ['TMPDIR'])) == 1
"""


def test_a_worker_of_multiprocessing_removes_its_folders_at_its_end(place: Path) -> None:
    assert left_by(WORKER, None) == 0
    assert not list(place.iterdir())


def test_signal_handlers_of_the_program_are_not_changed(place: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
    with TemporaryFolder("test"):
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)) == before


WITHIN = """
WORK = '''
from aquila.temporary_folders import TemporaryFolder
with TemporaryFolder("within") as path:
    open(path + ".txt", "w").close()
'''
try:
    import _interpreters as interpreters
    interpreters.run_string(interpreters.create("legacy"), WORK)
except ImportError:
    import _xxsubinterpreters as interpreters
    interpreters.run_string(interpreters.create(isolated=False), WORK)
folder = TemporaryFolder("test")
"""


def test_a_subinterpreter_can_make_it(place: Path) -> None:
    """As where a server runs several applications in one process."""
    assert left_by(WITHIN, None) == 0
    assert [entry.suffix for entry in place.iterdir()] == [".txt"]


def test_a_folder_that_another_process_cleared_before_it_was_locked_is_made_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, cleared = tempfile.mkdtemp, []

    def make_and_lose(**options: Any) -> str:
        path = make(**options)
        if not cleared:
            cleared.append(path)
            remove_left_folders()
        return path

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_lose)
    with TemporaryFolder("test") as path:
        assert not os.path.exists(cleared[0])
        assert [str(one) for one in place.iterdir()] == [path]


@pytest.mark.parametrize("mark", [None, "a1b2c3d4"])
def test_a_folder_that_another_process_is_about_to_clear_is_made_again(
    place: Path, monkeypatch: pytest.MonkeyPatch, mark: str | None
) -> None:
    fcntl = temporary_folders.fcntl
    make, lock = os.mkdir, fcntl.flock
    found: list[tuple[str, int]] = []
    locking = threading.Event()

    def clear() -> None:
        locking.wait(PATIENCE)
        path, descriptor = found[0]
        os.rmdir(path)
        os.close(descriptor)

    def make_and_be_found(path: str, mode: int) -> None:
        make(path, mode)
        if not found:
            found.append((path, os.open(path, os.O_RDONLY)))
            lock(found[0][1], fcntl.LOCK_EX)

    def lock_while_it_is_cleared(descriptor: int, how: int) -> None:
        if not how & fcntl.LOCK_NB:
            locking.set()
        lock(descriptor, how)

    monkeypatch.setattr(os, "mkdir", make_and_be_found)
    monkeypatch.setattr(fcntl, "flock", lock_while_it_is_cleared)
    clearing = threading.Thread(target=clear)
    clearing.start()
    try:
        with TemporaryFolder("test", mark) as path:
            assert [str(one) for one in place.iterdir()] == [path]
    finally:
        locking.set()
        clearing.join()


def test_it_is_made_while_a_test_replaces_os_stat(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = os.stat(__file__)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda *_, **__: told)
        folder = TemporaryFolder("test")
    assert [str(one) for one in place.iterdir()] == [folder.path]


def test_a_child_forked_while_a_folder_is_removed_does_not_keep_its_lock(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = place / "aquila-test-a1b2c3d4.tmp"
    left.mkdir()
    waiting = os.open(left, os.O_RDONLY)
    may_end, end = os.pipe()
    children: list[int] = []

    def fork_and_remove(path: str) -> None:
        children.append(os.fork())
        if not children[0]:  # another thread's child: it has all descriptors that are open now
            os.close(end)
            os.read(may_end, 1)
            os._exit(0)
        os.rmdir(path)

    monkeypatch.setattr(temporary_folders, "_remove_tree", fork_and_remove)
    try:
        remove_left_folders()
        assert not left.exists()
        temporary_folders.fcntl.flock(waiting, temporary_folders.fcntl.LOCK_EX | temporary_folders.fcntl.LOCK_NB)
    finally:
        for descriptor in (end, may_end, waiting):
            os.close(descriptor)
        os.waitpid(children[0], 0)


def test_descriptors_that_the_program_closed_are_not_closed_again(place: Path) -> None:
    folder = TemporaryFolder("test")
    (record,) = [each for each in temporary_folders._own if each.path == folder.path]
    assert record._lock is not None
    with open(os.devnull, "rb") as other:
        os.dup2(other.fileno(), record._lock)
    try:
        folder.close()
        os.fstat(record._lock)
    finally:
        os.close(record._lock)


def test_it_works_on_a_file_system_without_locks(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(temporary_folders.fcntl, "flock", refuse)
    with TemporaryFolder("test") as path:
        remove_left_folders()
        assert [str(one) for one in place.iterdir()] == [path]
    assert not list(place.iterdir())


def test_the_error_says_what_to_do(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(place / "gone"))
    with pytest.raises(
        FileNotFoundError, match=r"cannot make a temporary folder: No such file.*Set TMPDIR to a folder"
    ):
        TemporaryFolder("test")


IMPORTED_UNDER_ANOTHER_NAME = """
import multiprocessing.connection, os, shutil, sys
platform, sys.platform = sys.platform, "win32"
from aquila import temporary_folders
from aquila.scripting import unguarded_connections
own = temporary_folders.TemporaryFolder("own")
temporary_folders.remove_left_folders()
sys.platform = platform
temporary_folders.remove_left_folders()
with temporary_folders.TemporaryFolder("other") as other:
    assert os.path.isdir(own.path)
    unguarded_connections.listen(other + "/socket", b"key").close()
"""


def test_modules_work_although_they_were_imported_under_another_platform_name() -> None:
    """The first child that it starts has these modules imported, and later tests use them."""
    subprocess.run([sys.executable, "-c", IMPORTED_UNDER_ANOTHER_NAME], check=True)
