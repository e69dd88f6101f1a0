"""Cassettes that are missing, damaged or cannot be written: the error names the file, and no recording is lost."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aquila.cassettes.codecs.yaml.codec import YamlCodec
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import CassetteCorrupt
from tests.bad_input.conftest import QUICKLY, Project
from tests.support.slow import slow_but

RECORD_AGAIN = "pytest test_app.py::test_it --aquila-record"


def test_a_test_that_was_never_recorded_names_the_file_and_the_command(project: Project) -> None:
    project.write("answer()")
    output = project.fails()
    assert "CassetteMiss" in output
    assert str(Path("cassettes", "test_app", "test_it.yaml")) in output
    assert "no such file" in output
    assert RECORD_AGAIN in output
    assert not project.asked
    assert not (project.folder / "cassettes").exists()


def test_a_misspelt_cassette_name_names_the_file_that_was_looked_for(project: Project) -> None:
    project.write("answer(cassette='jobs/summary')")
    project.passes("--aquila-record")
    project.write("answer(cassette='jobs/sumary')")
    output = project.fails()
    assert str(Path("cassettes", "jobs", "sumary.yaml")) in output
    assert "no such file" in output
    assert [path.name for path in (project.folder / "cassettes" / "jobs").iterdir()] == ["summary.yaml"]


def test_a_changed_prompt_shows_both_prompts_and_the_command(project: Project) -> None:
    project.write("answer('Say hello.', instructions='You are polite.')")
    project.passes("--aquila-record")
    before = project.cassette.read_bytes()
    project.write("answer('Say hello.', instructions='You are rude.')")
    output = project.fails()
    for part in ("CassetteMiss", "test_it.yaml", "messages[0].content", "polite", "rude", RECORD_AGAIN):
        assert part in output
    assert project.cassette.read_bytes() == before
    assert len(project.asked) == 1
    project.passes("--aquila-record")
    project.passes()
    assert b"polite" not in project.cassette.read_bytes()


def test_a_request_beyond_the_recorded_ones_is_played_out(project: Project) -> None:
    project.write("answer()")
    project.passes("--aquila-record")
    project.write("answer()\nanswer()")
    output = project.fails()
    assert "PlayedOut" in output
    assert RECORD_AGAIN in output


def test_a_miss_that_the_code_swallows_fails_the_test(project: Project) -> None:
    project.write("try:\n    answer()\nexcept Exception:\n    pass")
    assert RECORD_AGAIN in project.fails()


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "is empty"),
    "truncated": (lambda data: data[: len(data) // 2], "line "),
    "newer": (lambda data: data.replace(b"aquila: 1", b"aquila: 2", 1), "newer"),
    "binary": (lambda data: bytes(range(256)), ""),
    "pointer of Git LFS": (
        lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
        "is a pointer of Git LFS, not the cassette. Get it with: git lfs pull",
    ),
    "another file": (lambda data: b"name: CI\non: [push]\n", ""),
    "merge conflict": (lambda data: b"<<<<<<< HEAD\n" + data + b"=======\n" + data + b">>>>>>> main\n", ""),
}


@pytest.mark.parametrize("damage", slow_but(["empty", "merge conflict", "pointer of Git LFS"], DAMAGES))
def test_a_damaged_cassette_is_named_and_neither_replayed_nor_overwritten(damage: str, project: Project) -> None:
    project.write("answer()")
    project.passes("--aquila-record")
    change, message = DAMAGES[damage]
    damaged = change(project.cassette.read_bytes())
    project.cassette.write_bytes(damaged)
    for arguments in ((), ("--aquila-record",), ("--aquila-record=all",)):
        output = project.fails(*arguments)
        assert "CassetteTooNew" in output if damage == "newer" else "CassetteCorrupt" in output
        assert "test_it.yaml" in output
        assert message in output
        assert project.cassette.read_bytes() == damaged
    assert len(project.asked) == 1


@pytest.mark.slow
def test_a_cassette_that_was_cut_off_anywhere_is_never_replayed(project: Project) -> None:
    """Cut off between two lines, YAML still reads: as a shorter answer."""
    project.write("answer()\nanswer('Say it again.')")
    project.passes("--aquila-record")
    data = project.cassette.read_bytes()
    for end in range(len(data) - 1):
        with pytest.raises(CassetteCorrupt, match=r"test_it\.yaml"):
            YamlCodec().loads(data[:end], source="test_it.yaml")


def test_a_folder_in_place_of_a_cassette_is_named(project: Project) -> None:
    project.write("answer()")
    project.cassette.mkdir(parents=True)
    for arguments in ((), ("--aquila-record",)):
        output = project.fails(*arguments)
        assert "test_it.yaml" in output
        assert "Is a directory" in output
    assert not project.asked


posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX users, limits and signals")


@pytest.fixture
def recorded(project: Project) -> Iterator[Path]:
    """A copy of the recorded project, for processes of their own."""
    project.write("assert answer() == 'Hello there.'")
    project.passes("--aquila-record")
    folder = Path(tempfile.mkdtemp()) / "project"
    shutil.copytree(project.folder, folder)
    yield folder
    subprocess.run(["chmod", "-R", "u+w", str(folder.parent)], check=True)
    shutil.rmtree(folder.parent)


def in_process(
    folder: Path, *arguments: str, before: Callable[[], object] | None = None, **variables: str
) -> tuple[int, str]:
    """Run pytest in a process of its own, which ``before`` prepares. Returns its status and what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *QUICKLY, *arguments],
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(folder), **variables},
        preexec_fn=before,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert "INTERNALERROR" not in done.stdout
    return done.returncode, done.stdout


def without_rights() -> None:
    """Take root's right to write where nobody may from the program that starts next. Others never had it."""
    if os.getuid() == 0:
        drop_from_bounding_set, override_permissions = 24, 1
        assert ctypes.CDLL(None).prctl(drop_from_bounding_set, override_permissions, 0, 0, 0) == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="taking a right from root is Linux's")
def test_a_read_only_folder_replays_and_refuses_to_record_before_anything_is_sent(
    recorded: Path, project: Project
) -> None:
    for path in [recorded, *recorded.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    status, output = in_process(recorded, "--aquila-record=all", before=without_rights)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "CassetteWriteError" in output
    assert "Permission denied" in output
    assert "make the folder writable" in output
    assert len(project.asked) == 1
    assert in_process(recorded, before=without_rights)[0] == 0


def can_mount_small_disk(folder: Path) -> bool:
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "small", str(folder)]
    return shutil.which("mount") is not None and not subprocess.run(mount, check=False, capture_output=True).returncode


@pytest.mark.slow
@posix
def test_a_full_disk_loses_nothing_and_records_again_when_there_is_room(recorded: Path, project: Project) -> None:
    disk = recorded / "cassettes"
    kept = (disk / "test_app/test_it.yaml").read_bytes()
    if not can_mount_small_disk(disk):
        pytest.skip("this user may not mount a small disk")
    try:
        (disk / "test_app").mkdir()
        (disk / "test_app/test_it.yaml").write_bytes(kept)
        with (disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError, match="No space left"):
            while True:
                ballast.write(b"x" * 4096)
        status, output = in_process(recorded, "--aquila-record=all")
        assert status == pytest.ExitCode.TESTS_FAILED
        assert "CassetteWriteError" in output
        assert "No space left on device" in output
        assert "free the disk" in output
        assert (disk / "test_app/test_it.yaml").read_bytes() == kept
        (disk / "ballast").unlink()
        assert in_process(recorded, "--aquila-record=all")[0] == 0
        assert in_process(recorded)[0] == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
@posix
def test_two_runs_that_record_at_once_both_store_what_they_recorded(recorded: Path, project: Project) -> None:
    for name in ("one", "two"):
        (recorded / f"test_{name}.py").write_text(
            "from app import answer\n\n"
            "def test_it(aquila_cassette):\n"
            f"    answer('from {name}', cassette='shared')\n"
            "    answer('the same', cassette='shared')\n"
        )
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "pytest", *QUICKLY, f"test_{name}.py", "--aquila-record"],
            cwd=recorded,
            env={**os.environ, "PYTHONPATH": str(recorded)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    bodies = [
        interaction.request.body for interaction in load_cassette(recorded / "cassettes/shared.yaml").interactions
    ]
    assert sorted(body.count(b"from one") for body in bodies)[-1] == 1
    assert sorted(body.count(b"from two") for body in bodies)[-1] == 1
    assert in_process(recorded)[0] == 0


@pytest.mark.slow
@posix
def test_a_run_that_is_killed_loses_no_finished_answer(recorded: Path, project: Project) -> None:
    """The second answer is being sent when the run is killed; the next recording run asks only for that one."""
    (recorded / "test_app.py").write_text(
        "import os, signal\nimport aquila\nfrom app import answer\n\n"
        "def test_it(aquila_cassette):\n"
        "    answer('first')\n"
        "    with aquila.stream('second') as stream:\n"
        "        for event in stream:\n"
        "            if os.environ.get('KILLED'):\n"
        "                os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    asked = len(project.asked)
    status, _ = in_process(recorded, "--aquila-record", KILLED="1")
    assert status == -signal.SIGKILL
    assert len(project.asked) == asked + 2

    status, output = in_process(recorded, "--aquila-record")
    assert status == 0, output
    assert "took over 1 recording of an interrupted run" in output
    assert len(project.asked) == asked + 3
    status, output = in_process(recorded)
    assert status == 0, output
    assert not list((recorded / "cassettes" / ".journal").glob("*.journal"))
