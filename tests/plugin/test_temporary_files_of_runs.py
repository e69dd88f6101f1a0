"""What runs leave among the temporary files, by how they end. With real processes, signals and a long ``TMPDIR``."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process_groups import process_group

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")

PROJECT = """
import os, signal, subprocess, sys
import pytest

ASKS = '''
import httpx2
body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
answer = httpx2.post("http://api.openai.com/v1/chat/completions", json=body)
print(answer.json()["choices"][0]["message"]["content"])
'''

def test_it(aquila_script):
    aquila_script.reply("an answer")
    done = subprocess.run([sys.executable, "-c", ASKS], capture_output=True, text=True)
    assert done.stdout == "an answer\\n", done.stderr
    assert [name for name in os.listdir(os.environ["TMPDIR"]) if name.startswith("aquila-")]
    ending = os.environ["ENDING"]
    assert ending != "fails"
    if ending == "exits":
        os._exit(3)
    if ending == "waits":
        with open(os.environ["TELL"], "w") as tells:
            tells.write(".")
        signal.pause()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project, and a folder for temporary files whose path is longer than that of a socket may be."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_x.py").write_text(PROJECT)
    (tmp_path / ("temporary" * 20)).mkdir()
    return tmp_path


def temporary(folder: Path) -> Path:
    return folder / ("temporary" * 20)


@contextlib.contextmanager
def running(folder: Path, ending: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the project in a group of its own."""
    environment = {**os.environ, "TMPDIR": str(temporary(folder)), "ENDING": ending, "TELL": str(folder / "tell")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(folder / "base")]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under `nohup` it is ignored, in all that is started, too
    try:
        with process_group([*command, *arguments], cwd=folder, env=environment, **streams) as process:
            yield process
    finally:
        signal.signal(signal.SIGHUP, hangup)


def run(folder: Path, ending: str, *arguments: str) -> tuple[int, str]:
    """Run the project to its end. Return the exit code and the output."""
    with running(folder, ending, *arguments) as process:
        output = process.communicate(timeout=240)[0].decode()
    return process.returncode, output


def end_run(folder: Path, how: int, *arguments: str) -> int:
    """End the run by a signal to all of its processes while its test runs. Return the exit code."""
    os.mkfifo(folder / "tell")  # workers of pytest-xdist inherit no descriptor
    reads = os.open(folder / "tell", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with running(folder, "waits", *arguments) as process:
            assert select.select([reads], [], [], 240)[0]
            os.killpg(process.pid, how)
            process.communicate(timeout=240)
        return process.returncode
    finally:
        os.close(reads)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in temporary(folder).iterdir())


ALONE: tuple[str, ...] = ()
DISTRIBUTED = ("-n1",)
RECORDING = ("-o", "aquila_record_budget=9 requests", "--aquila-record")


RECORDS = """
import os, tempfile

def test_it(aquila_cassette):
    assert [name for name in os.listdir(tempfile.gettempdir()) if name.startswith("aquila-")]
    raise ValueError
"""


def test_a_run_with_a_budget_leaves_nothing(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    (pytester.path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(pytester.path / "temporary"))
    pytester.makepyfile(RECORDS)
    result = pytester.runpytest_inprocess(*RECORDING, "--basetemp=base")
    result.stdout.fnmatch_lines(["E *ValueError"])
    assert os.listdir("temporary") == []


@pytest.mark.slow  # processes that are interrupted
@pytest.mark.parametrize("arguments", [ALONE, DISTRIBUTED, RECORDING])
def test_a_run_that_is_interrupted_leaves_nothing(folder: Path, arguments: tuple[str, ...]) -> None:
    if "-n1" in arguments:
        pytest.importorskip("xdist")
    assert end_run(folder, signal.SIGINT, *arguments) == 2
    assert left(folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [ALONE, DISTRIBUTED], ids=["alone", "xdist"])
@pytest.mark.parametrize(("ending", "code"), [("passes", 0), ("fails", 1)])
def test_a_run_that_ends_by_itself_leaves_nothing(
    folder: Path, ending: str, code: int, arguments: tuple[str, ...]
) -> None:
    if arguments:
        pytest.importorskip("xdist")
    ended, output = run(folder, ending, *arguments)
    assert ended == code, output
    assert left(folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["SIGTERM", "SIGHUP", "SIGKILL", "os._exit", "os._exit of a worker"])
def test_what_a_killed_run_leaves_is_for_its_user_alone_and_goes_with_the_next_run(folder: Path, ending: str) -> None:
    umask = os.umask(0)  # inherited by the runs
    try:
        if ending.startswith("SIG"):
            assert end_run(folder, signal.Signals[ending]) == -signal.Signals[ending]
        elif ending == "os._exit":
            assert run(folder, "exits")[0] == 3
        else:
            pytest.importorskip("xdist")
            assert run(folder, "exits", *DISTRIBUTED)[0] == 1
        assert len(left(folder)) == 2
        assert {path.stat().st_mode & 0o777 for path in temporary(folder).iterdir()} == {0o700}
        code, output = run(folder, "passes")
    finally:
        os.umask(umask)
    assert code == 0, output
    assert left(folder) == []


IN_CHILDREN = """
import os, subprocess, sys

ASKS = '''
import os, subprocess, sys
if int(os.environ["GENERATIONS"]):
    os.environ["GENERATIONS"] = "0"
    sys.exit(subprocess.call([sys.executable, "-c", os.environ["ASKS"]]))
import httpx2
body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
print(httpx2.post("http://api.openai.com/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"])
'''

def test_it(aquila_script, tmp_path):
    for generations in ("0", "1"):
        aquila_script.reply("an answer")
        variables = {**os.environ, "TMPDIR": str(tmp_path), "GENERATIONS": generations, "ASKS": ASKS}
        done = subprocess.run([sys.executable, "-c", ASKS], capture_output=True, text=True, env=variables)
        assert done.stdout == "an answer\\n", done.stderr
    assert not os.listdir(tmp_path)
"""


@pytest.mark.slow
def test_children_with_another_temporary_folder_find_the_script_of_their_test(folder: Path) -> None:
    (folder / "test_x.py").write_text(IN_CHILDREN)
    code, output = run(folder, "passes")
    assert code == 0, output
    assert left(folder) == []


SWALLOWS = """
import subprocess, sys

ASKS = '''
import resource
import httpx2
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # each write fails, as on a full disk
try:
    httpx2.post("http://api.openai.com/v1/chat/completions", json={"model": "m", "messages": []})
except BaseException:
    pass
'''

def test_it(aquila_cassette):
    assert subprocess.run([sys.executable, "-c", ASKS]).returncode == 0
"""


@pytest.mark.slow
def test_a_miss_fails_its_test_though_the_disk_is_too_full_to_tell_it(folder: Path) -> None:
    (folder / "test_x.py").write_text(SWALLOWS)
    code, output = run(folder, "passes")
    assert code == 1, output
    assert "could not write into" in output
    assert "1 missed" in output
    assert left(folder) == []


FOLDERS_OF_TESTS = """
import subprocess, sys, tempfile
import pytest
from test_x import ASKS

@pytest.fixture
def elsewhere(monkeypatch):
    with tempfile.TemporaryDirectory() as folder, monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", folder)
        yield

def ask():
    done = subprocess.run([sys.executable, "-c", ASKS], capture_output=True, text=True)
    assert done.stdout == "an answer\\n", done.stderr

def test_one(elsewhere, aquila_script):
    aquila_script.reply("an answer")
    ask()

def test_two(aquila_script):
    aquila_script.reply("an answer")
    ask()

def test_three(elsewhere, aquila_script):
    aquila_script.reply("an answer")
    ask()
"""


@pytest.mark.slow
def test_children_find_the_script_of_a_test_that_has_another_temporary_folder_itself(folder: Path) -> None:
    (folder / "test_y.py").write_text(FOLDERS_OF_TESTS)
    code, output = run(folder, "passes")
    assert code == 0, output
    assert left(folder) == []
