"""The demo claims only what it has seen: its guard sees and refuses, and one thing that is not so makes it fail."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import ModuleType

import pytest

MOST_LINES = 60
"""Of the demo: more would scroll past whoever watches it."""

EXAMPLE = Path(__file__).parents[2] / "examples" / "summaries"


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("aquila_demo", EXAMPLE / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def guarded(program: str, folder: Path, *, offline: bool) -> tuple[str, list[dict[str, object]]]:
    """Run a program under the demo's guard. Returns its output, and what the guard noted."""
    (folder / "guard").mkdir()
    (folder / "guard" / "sitecustomize.py").write_bytes((EXAMPLE / "demo_guard.py").read_bytes())
    log = folder / "log"
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder / "guard"),
        "DEMO_LOG": str(log),
        "DEMO_OFFLINE": "1" if offline else "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=False, capture_output=True, text=True, timeout=300
    )
    return done.stdout + done.stderr, [json.loads(line) for line in log.read_text().splitlines()]


REACHING_OUT = """
import socket

def attempt(what):
    try:
        what()
    except PermissionError:
        print("refused")
    except OSError:
        print("went out")

attempt(lambda: socket.create_connection(("192.0.2.1", 9), timeout=0.01))
attempt(lambda: socket.socket().connect(("192.0.2.1", 9)))
attempt(lambda: socket.getaddrinfo("provider.example", 443))
attempt(lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 9)))
listener = socket.create_server(("127.0.0.1", 0))
socket.create_connection(listener.getsockname()).close()
print("loopback")
"""


def test_the_guard_refuses_every_way_out_but_loopback_and_notes_each(tmp_path: Path) -> None:
    output, notes = guarded(REACHING_OUT, tmp_path, offline=True)
    assert output.split() == ["refused"] * 4 + ["loopback"]
    assert sum(bool(note["refused"]) for note in notes) == 4
    assert any(note["event"] == "socket.connect" and note["local"] for note in notes)


def test_the_guard_notes_processes_that_are_started(tmp_path: Path) -> None:
    program = "import subprocess, sys; subprocess.run([sys.executable, '-I', '-c', '', '_model_process.py'])"
    _, notes = guarded(program, tmp_path, offline=False)
    assert any("_model_process.py" in str(note.get("command")) for note in notes)


def test_a_step_that_fails_ends_the_demo_with_what_is_so(
    demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reached = []

    def good(state: object) -> str:
        """The first"""
        return "as it should be"

    def bad(state: object) -> str:
        """The second"""
        demo.require(1 + 1 == 3, "one and one is not three")
        return "never"

    def later(state: object) -> str:
        """The third"""
        reached.append(1)
        return "never"

    monkeypatch.setattr(demo, "STEPS", (good, bad, later))
    assert demo.perform(demo.Demo(tmp_path)) is False
    output = capsys.readouterr().out
    assert output.index("  3 The third\n") < output.index("\n1 The first\n")  # it opens with what it will show
    assert "as it should be" in output
    assert "FAILED: one and one is not three" in output
    assert "not reached" in output
    assert "It did not work" in output
    assert not reached
    assert "Jobs on a page" not in output


def test_a_step_fails_when_its_claim_is_false(demo: ModuleType, tmp_path: Path) -> None:
    state = demo.Demo(tmp_path)
    (tmp_path / "log").write_text(
        json.dumps({"event": "socket.connect", "address": ["203.0.113.7", 443], "local": False}) + "\n"
    )
    with pytest.raises(demo.NotSo, match="should need no connection"):
        state.require_alone("the tests")
    with pytest.raises(demo.NotSo, match="pytest found no tests"):
        demo.Tests(status=0, total=0, failures=[], output="").require_all_passed()
    with pytest.raises(demo.NotSo, match="1 of 4 tests did not pass"):
        demo.Tests(status=1, total=4, failures=["assert 0"], output="").require_all_passed()


@pytest.mark.long(50)
@pytest.mark.slow
@pytest.mark.local_model
def test_the_whole_demo_works_and_fits_on_a_screen_or_two(tmp_path: Path) -> None:
    environment = {**os.environ, "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLE / "demo.py")],
        cwd=tmp_path,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= MOST_LINES, done.stdout
    assert done.stderr == ""
    assert lines[-2].startswith("All of it worked. See for yourself: .demo/")
    assert lines[-1].startswith("Jobs on a page: make jobs-demo; those that were done here: (cd .demo/")
    page = page_of_jobs(lines[-1].rpartition(": ")[2], tmp_path)
    assert all(f">{task}<" in page for task in ("generate_summary", "stream_prompt"))


def page_of_jobs(command: str, folder: Path) -> str:
    """What the page of jobs shows if the command for it is typed in a folder, but for the port."""
    command = command.replace("--port 8000", "--port 0")
    with subprocess.Popen(
        ["sh", "-c", command], cwd=folder, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as serving:
        assert serving.stdout is not None
        try:
            with urllib.request.urlopen(serving.stdout.readline().split()[-1], timeout=60) as answer:
                page: str = answer.read().decode()
        finally:
            os.killpg(serving.pid, signal.SIGINT)
    return page


def test_a_line_that_is_too_long_is_cut_unless_it_is_a_command_or_a_failure(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    demo.say("x" * 21)
    demo.say("x" * 21, whole=True)
    assert capsys.readouterr().out.split() == ["x" * 19 + "…", "x" * 21]


@pytest.mark.parametrize(
    "has_git",
    [
        pytest.param(True, marks=pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")),
        False,
    ],
)
def test_the_difference_is_shown_with_git_and_without(
    demo: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    has_git: bool,
) -> None:
    state = demo.Demo(tmp_path)
    cassette = state.app / "cassettes" / "jobs" / "generate_summary.yaml"
    cassette.parent.mkdir(parents=True)
    cassette.write_text(f"    content: {demo.PROMPT}\n    text: old\n")
    state.cassettes = state.digests()
    monkeypatch.setenv("GIT_DIR", "nowhere")  # as in a hook of git
    configuration = tmp_path / "gitconfig"
    configuration.write_text("[color]\n\tui = always\n[diff]\n\texternal = echo\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    configuration.rename(tmp_path / ".gitconfig")
    if not has_git:
        monkeypatch.setenv("PATH", "")
    assert (demo.git(state, "init", "--quiet", ".") is not None) == has_git
    state.has_git = bool(demo.git(state, "add", "cassettes"))

    def run(name: str, *options: str, **settings: object) -> object:
        cassette.write_text(f"    content: {demo.CHANGED_PROMPT}\n    text: new\n")
        return demo.Tests(status=0, total=1, failures=[], output="")

    monkeypatch.setattr(state, "pytest", run)
    assert demo.record_anew(state)
    output = capsys.readouterr().out
    assert ("$ git diff cassettes" in output) == has_git
    for line in (f"  -    content: {demo.PROMPT}\n", f"  +    content: {demo.CHANGED_PROMPT}\n", "  +    text: new\n"):
        assert line in output


def test_rows_are_compared_by_content_and_not_by_their_random_ids(demo: ModuleType, tmp_path: Path) -> None:
    def stored(name: str, job: str, chunk: str) -> list[tuple[object, ...]]:
        path = tmp_path / name
        with sqlite3.connect(path) as database:
            database.execute("create table summaries (job, task, prompt, status, text, raw)")
            database.execute("create table chunks (job, number, text)")
            database.execute("insert into summaries values (?, 't', 'p', 'done', 'a b', '{}')", (job,))
            database.executemany("insert into chunks values (?, ?, ?)", [(job, 0, "a"), (job, 1, chunk)])
        database.close()
        rows: list[tuple[object, ...]] = demo.rows_of(path)
        return rows

    first, again, other = stored("1", "x", " b"), stored("2", "y", " b"), stored("3", "z", "b")
    assert first == again == [("t", "p", "done", "a b", "{}", ("a", " b"))]
    assert other != first


def test_commands_get_nothing_of_the_shell_that_would_decide(
    demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AQUILA_TRANSPORT", "OPENAI_API_KEY", "PYTEST_ADDOPTS", "PYTHONWARNINGS", "SUMMARIES_DATA"):
        monkeypatch.setenv(name, "nonsense")
    environment = demo.Demo(tmp_path).environment(offline=True, extra={"AQUILA_UPSTREAM": "local"})
    assert "nonsense" not in environment.values()
    assert environment["AQUILA_UPSTREAM"] == "local"
    assert environment["PATH"] == os.environ["PATH"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_what_was_started_has_ended_when_its_block_has(demo: ModuleType, tmp_path: Path) -> None:
    state = demo.Demo(tmp_path)
    state.app.mkdir()
    ignoring = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    stubborn = f"{ignoring}; print('up', flush=True); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt), state.started(["-c", stubborn], quiet=True) as process:
        assert process.stdout.readline() == "up\n"
        raise KeyboardInterrupt
    assert process.poll() is not None
