"""Differences of Windows that can be imitated on Linux. No test runs on Windows itself in CI."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

import pytest_aquila
from aquila.cassettes.storage import file_replacement, regular_files, work_folder
from aquila.errors import ConfigError
from aquila.huey import MemoryHuey
from aquila.huey.testing import run_consumer, use_test_queue
from aquila.server import background_server
from tests.support.server import Answer, serving

LARGE = b"\n\x1a\r\n" * 100_000
PROJECT = """
import os
import socket
import httpx2
import pytest

def ask(text):
    with httpx2.Client() as client:
        body = {"model": "m", "messages": [{"role": "user", "content": text}]}
        return client.post(os.environ["URL"] + "/chat/completions", json=body).content

def test_small(aquila_cassette):
    assert ask("small") == b"a\\nb\\r\\nc\\x1ad\\n" * 3

def test_large(aquila_cassette):
    assert ask("large") == b"\\n\\x1a\\r\\n" * 100_000

def test_killed(aquila_cassette):
    ask("killed")
    if "KILL" in os.environ:
        os._exit(1)
"""

TRANSLATING = """
import builtins, io, os, stat

os.O_BINARY = 1 << 28
plain_open, plain_write, plain_read, plain_close, open_file = os.open, os.write, os.read, os.close, io.open
in_text_mode = set()

def open_descriptor(path, flags, mode=0o777, **more):
    descriptor = plain_open(path, flags & ~os.O_BINARY, mode, **more)
    is_text = not flags & os.O_BINARY and stat.S_ISREG(os.fstat(descriptor).st_mode)
    (in_text_mode.add if is_text else in_text_mode.discard)(descriptor)
    return descriptor

def write(descriptor, data):
    if descriptor not in in_text_mode:
        return plain_write(descriptor, data)
    plain_write(descriptor, bytes(data).replace(b"\\n", b"\\r\\n"))
    return len(data)

def read(descriptor, count):
    data = plain_read(descriptor, count)
    return data.replace(b"\\r\\n", b"\\n").partition(b"\\x1a")[0] if descriptor in in_text_mode else data

def close(descriptor):
    in_text_mode.discard(descriptor)
    plain_close(descriptor)

def open_like_windows(
    file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None
):
    if isinstance(file, int):
        in_text_mode.discard(file)  # a file object sets the mode of its descriptor
    if "b" not in mode and "r" not in mode and newline is None:
        newline = "\\r\\n"
    return open_file(file, mode, buffering, encoding, errors, newline, closefd, opener)

os.open, os.write, os.read, os.close = open_descriptor, write, read, close
builtins.open = io.open = open_like_windows
"""
"""A plugin under which files are as those of the C library of Windows: without a word about it, each line end that is
written becomes two characters, and a Ctrl-Z ends what is read."""


def run_pytest(folder: Path, url: str, *arguments: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "translating", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**os.environ, "URL": url, "PYTHONPATH": str(folder), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def answer(seen: object) -> Answer:
    content = seen.json["messages"][0]["content"]  # type: ignore[attr-defined]
    body = LARGE if content == "large" else b"a\nb\r\nc\x1ad\n" * 3
    return Answer([body], content_type="text/plain")


@pytest.mark.slow
def test_line_ends_of_files_are_not_translated(tmp_path: Path) -> None:
    """A killed run, one that takes over what it left, and one that replays: of journals, cassettes, bodies, and git."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naquila_providers = 127.0.0.1\n")
    (tmp_path / "translating.py").write_text(TRANSLATING)
    (tmp_path / "test_it.py").write_text(PROJECT)
    cassettes = tmp_path / "cassettes"
    with serving(by=answer) as server:
        run_pytest(tmp_path, server.url, "--aquila-record", KILL="1")
        assert list((cassettes / ".journal").glob("*.journal"))
        assert b"\r" not in (cassettes / ".journal" / ".gitignore").read_bytes()  # it is read to the byte
        told = run_pytest(tmp_path, server.url, "--aquila-record")
        assert "3 replayed, 0 recorded" in told, told
        assert "3 replayed, 0 recorded" in run_pytest(tmp_path, "http://127.0.0.1:9/v1")
    assert not (cassettes / ".journal").exists()
    (body,) = cassettes.rglob("sha256-*")
    assert body.read_bytes() == LARGE
    others = [path for path in cassettes.rglob("*") if path.is_file() and path != body]
    assert {path.name for path in others} >= {".gitattributes", "test_small.yaml", "test_killed.yaml"}
    assert [path.name for path in others if b"\r" in path.read_bytes()] == []


def test_replacing_a_file_is_repeated_while_another_process_has_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, refused, replace = tmp_path / "a.yaml", [1, 1, 1], os.replace

    def replace_like_windows(source: str, target: str) -> None:
        if refused:
            refused.pop()
            raise PermissionError(13, "The process cannot access the file because it is being used by another process")
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_like_windows)
    with pytest.raises(PermissionError):  # on other systems it is not tried again
        file_replacement.replace_file(path, b"old")
    monkeypatch.setattr(file_replacement, "sys", SimpleNamespace(platform="win32"))
    file_replacement.replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    refused[:] = [1] * 1_000_000
    monkeypatch.setattr(file_replacement, "_OPEN_FOR", 0.0)
    with pytest.raises(PermissionError):
        file_replacement.replace_file(path, b"newer")
    assert path.read_bytes() == b"new"
    assert [file.name for file in tmp_path.iterdir()] == ["a.yaml"]


def test_a_read_only_file_is_left_as_it_is_and_no_temporary_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows neither replaces nor removes a read-only file."""
    path = tmp_path / "a.yaml"
    path.write_bytes(b"old")
    path.chmod(0o444)
    unlink = Path.unlink

    def replace_like_windows(source: str, target: str) -> None:
        raise PermissionError(13, "Access is denied")

    def unlink_like_windows(file: Path, *, missing_ok: bool = False) -> None:
        if not file.stat().st_mode & 0o200:
            raise PermissionError(13, "Access is denied")
        unlink(file, missing_ok=missing_ok)

    monkeypatch.setattr(os, "replace", replace_like_windows)
    monkeypatch.setattr(Path, "unlink", unlink_like_windows)
    monkeypatch.setattr(file_replacement, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(file_replacement, "_OPEN_FOR", 0.0)
    with pytest.raises(PermissionError):
        file_replacement.replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.yaml"]


@pytest.mark.parametrize(
    ("platform", "cause"), [("win32", "close the program that has it open"), ("linux", "free the disk")]
)
def test_the_error_names_the_likely_cause_on_each_system(
    platform: str, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_folder, "sys", SimpleNamespace(platform=platform))
    assert cause in str(
        work_folder.cassette_write_error(Path("a.yaml"), PermissionError(errno.EACCES, "Access denied"))
    )


@pytest.mark.parametrize("outside", [{"worker_type": "process"}, {"subprocess": "app.huey"}], ids=str)
def test_workers_in_processes_are_refused(outside: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    huey = MemoryHuey("jobs")
    with (
        use_test_queue(huey),
        pytest.raises(ConfigError, match="need Linux or macOS: use worker_type='thread'"),
        run_consumer(**outside),  # type: ignore[arg-type]
    ):
        pass


def test_a_run_under_faults_is_refused(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makeconftest("import sys\nsys.platform = 'win32'\n")
    monkeypatch.setattr(sys, "platform", sys.platform)
    result = pytester.runpytest_inprocess("--aquila-faults")
    result.stderr.fnmatch_lines(["ERROR: --aquila-faults forks a process for each fault: it needs Linux or macOS"])


def test_rows_that_two_processes_append_at_once_are_both_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each looks for the end of the file and then writes, as the C library of Windows does it."""
    path = tmp_path / "rows"
    is_first, wrote = threading.Lock(), threading.Event()

    def write(descriptor: int, data: bytes) -> int:
        end = os.lseek(descriptor, 0, os.SEEK_END)
        if is_first.acquire(blocking=False):
            other.start()
            wrote.wait(0.3)  # in vain, where the other one has to wait
        count = os.pwrite(descriptor, data, end)
        wrote.set()
        return count

    def append(row: bytes) -> None:
        descriptor = regular_files.open_to_append(path)
        regular_files.append_whole(descriptor, path, row)
        os.close(descriptor)

    other = threading.Thread(target=append, args=(b"other\n",))
    monkeypatch.setattr(regular_files, "os", SimpleNamespace(**{**vars(os), "O_APPEND": 0, "write": write}))
    monkeypatch.setattr(regular_files, "sys", SimpleNamespace(platform="win32"))
    append(b"one\n")
    other.join()
    assert sorted(path.read_bytes().split()) == [b"one", b"other"]


def test_paths_of_modules_have_the_separator_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Aquila's frames, which no report shows, are known by the beginning of their paths."""
    monkeypatch.setattr(pytest_aquila, "sep", "\\", raising=False)
    monkeypatch.setattr(pytest_aquila, "stat", lambda path: os.stat(path.replace("\\", "/")))
    folder = os.path.dirname(pytest_aquila.__file__)
    for name, names in {"plugin": ["plugin.py"], "summary": ["summary", "__init__.py"]}.items():
        found = pytest_aquila.OrdinaryFinder.find_spec(f"pytest_aquila.{name}", [folder])
        assert found is not None
        assert found.origin == "\\".join([folder, *names])
        assert found.cached is not None
        assert "/" not in found.cached.removeprefix(folder)


@pytest.mark.parametrize("length", [100, 240])
def test_a_path_that_is_too_long_is_named_as_the_cause(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_folder, "sys", SimpleNamespace(platform="win32"))
    missing = OSError(errno.ENOENT, "No such file or directory")
    told = str(work_folder.cassette_write_error(Path("a" * length), missing))
    assert ("its path has 240 characters" in told) == (length == 240)
    assert ("free the disk" in told) == (length == 100)


def test_a_listening_socket_does_not_share_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """With SO_REUSEADDR, which elsewhere is about ports of servers that have ended, Windows gives a port to many."""
    monkeypatch.setattr(background_server, "sys", SimpleNamespace(platform="win32"))
    with background_server.open_listening_socket("127.0.0.1", 0) as bound:
        assert bound.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0
