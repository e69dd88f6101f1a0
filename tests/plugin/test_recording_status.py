"""While an answer takes long to record, a terminal shows its progress. No other output has anything of it."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

import aquila
from aquila.cassettes.model import RecordedChunk, RecordedRequest
from aquila.recording import runtime
from aquila.recording.storing.answers_in_progress import AnswersInProgress
from pytest_aquila.recording_runs.recording_status import Count, RecordingStatus
from tests.support.runs import name_upstream

PATIENCE = 60

PROVIDER = """
import json
import os
import time

import httpx2


def event(text):
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\\n\\n"


def pieces():
    yield event("twelve chars")
    while not os.path.exists("go-on"):
        time.sleep(0.01)
    yield event(" and the rest") + b"data: [DONE]\\n\\n"


def handle(request):
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=pieces())


def transport():
    return httpx2.MockTransport(handle)
"""

TESTS = """
import aquila

def test_quick():
    pass

def test_long(aquila_cassette):
    with aquila.http_client() as http:
        body = {"model": "gpt-long", "stream": True, "messages": [{"role": "user", "content": "Go on"}]}
        answer = http.post("https://api.openai.com/v1/chat/completions", json=body)
    assert "rest" in answer.text
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    (tmp_path / "slow_provider.py").write_text(PROVIDER)
    (tmp_path / "test_it.py").write_text(TESTS)
    return tmp_path


def start(
    project: Path, *arguments: str, output: int, typed: int | None = None, **more: str
) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "BUILD_NUMBER", "COLUMNS")}
    command = [sys.executable, "-m", "pytest", "--aquila-record", "--aquila-upstream=slow_provider:transport"]
    environment = {**kept, "TERM": "xterm", **more}
    return subprocess.Popen(
        [*command, *arguments], cwd=project, env=environment, stdin=typed, stdout=output, stderr=output
    )


def run_in_terminal(
    project: Path, *arguments: str, until: str, typed: tuple[tuple[str, str], ...] = (), **more: str
) -> str:
    """Run pytest in a terminal, let the provider go on when a text was seen, and return all that was written.

    ``typed`` is what a person types, one after the other, each when a text was seen since what was typed before.
    """
    reading, writing = pty.openpty()
    running = start(project, *arguments, output=writing, typed=writing if typed else None, **more)
    os.close(writing)
    seen, read, lines = "", 0, list(typed)
    try:
        while select.select([reading], [], [], PATIENCE)[0]:
            try:
                data = os.read(reading, 65536)
            except OSError:
                break
            seen += data.decode(errors="replace")
            if until in seen:
                (project / "go-on").touch()
            if lines and lines[0][0] in seen[read:]:
                read = len(seen)
                os.write(reading, lines.pop(0)[1].encode())
            if not data:
                break
    finally:
        running.kill() if running.poll() is None and until not in seen else None
        running.wait(PATIENCE)
        os.close(reading)
    return seen


def screen_of(written: str) -> list[str]:
    """The lines of a terminal on which a text was written, as far as Aquila moves its cursor."""
    lines, row, column = [""], 0, 0
    kept = (0, 0)
    for piece in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|\x1b[78D]|[^\x1b]", written):
        if piece in ("\n", "\x1bD"):
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\r":
            column = 0
        elif piece == "\x1b[K":
            lines[row] = lines[row][:column]
        elif piece == "\x1b[A":
            row -= 1
        elif piece == "\x1b7":
            kept = (row, column)
        elif piece == "\x1b8":
            row, column = kept
        elif not piece.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + piece + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


@pytest.mark.slow
def test_a_long_answer_is_shown_while_it_comes_and_then_no_more(project: Path) -> None:
    written = run_in_terminal(project, until=" s  12 characters")
    assert "recording test_it.py::test_long  api.openai.com gpt-long  " in written
    screen = screen_of(written)
    assert not [line for line in screen if "recording test_it" in line]
    assert any(line.startswith("test_it.py .") for line in screen)  # what pytest had written there stands
    assert any("2 passed" in line for line in screen)
    assert any(re.match(r"  test_it.py::test_long  api.openai.com", line) for line in screen)


LOOKING = """
import os
import time

import aquila
from aquila.recording.storing.answers_in_progress import AnswersInProgress

looks = 0
find_slow = AnswersInProgress.find_slow


def count_looks(self, seconds):
    global looks
    looks += 1
    return find_slow(self, seconds)


AnswersInProgress.find_slow = count_looks


def wait_for_looks():
    enough = looks + 6  # each asks for them twice
    while looks < enough:
        time.sleep(0.01)


def wait_until_shown():
    while not os.path.exists("go-on"):
        time.sleep(0.01)


def stream(http):
    body = {"model": "gpt-long", "stream": True, "messages": [{"role": "user", "content": "Go on"}]}
    return http.stream("POST", "https://api.openai.com/v1/chat/completions", json=body)
"""

TALKING = """
import aquila
from looking import stream, wait_for_looks, wait_until_shown

def test_loud(aquila_cassette, capsys):
    with aquila.http_client() as http, stream(http) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        wait_until_shown()
        with capsys.disabled():
            print(" loud", end="", flush=True)
            wait_for_looks()
            print(" words", end="", flush=True)
        wait_for_looks()
"""

DEBUGGED = """
import aquila
from looking import stream, wait_for_looks, wait_until_shown

def test_pdb(aquila_cassette):
    with aquila.http_client() as http, stream(http) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        wait_until_shown()
        breakpoint()
        wait_for_looks()
"""


@pytest.mark.slow
def test_what_a_test_writes_to_the_terminal_stands_there(project: Path) -> None:
    (project / "looking.py").write_text(LOOKING)
    (project / "test_it.py").write_text(TALKING)
    written = run_in_terminal(project, until=" s  12 characters")
    before, loud, _ = written.partition(" loud")
    between, words, after = written.rpartition(" words")
    assert "recording test_it" in before
    assert between.endswith(loud)  # nothing came in between
    assert words
    assert "recording test_it" in after
    assert [line for line in screen_of(written) if line.startswith("test_it.py  loud words.")]


@pytest.mark.slow
def test_a_debugger_has_the_terminal_for_itself(project: Path) -> None:
    (project / "looking.py").write_text(LOOKING)
    (project / "test_it.py").write_text(DEBUGGED)
    typed = (("(Pdb) ", "wait_for_looks()\n"), ("(Pdb) ", "continue\n"))
    written = run_in_terminal(project, until=" s  12 characters", typed=typed)
    before, _, rest = written.partition("PDB set_trace")
    session, continued, after = rest.partition("PDB continue")
    assert "recording test_it" in before
    assert continued
    assert "recording" not in session
    assert "recording test_it" in after
    assert [line for line in screen_of(before) if line == "test_it.py"]
    assert not [line for line in screen_of(before) if "recording test_it" in line]


CONFTEST = """
import pytest
from aquila.recording import runtime

@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    if report.when == "call":
        shown = runtime.current_run().answers_in_progress is not None
        with open("shown.txt", "a") as file:
            file.write(f"{shown} ")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "variables", "shown"),
    [
        ((), {}, "True True "),
        ((), {"CI": "true"}, "False False "),
        pytest.param(("-s",), {}, "False False ", marks=pytest.mark.nightly),
        (("-q",), {}, "False False "),
        (("--capture=tee-sys",), {}, "False False "),
        (("-o", "log_cli=true"), {}, "False False "),
        (("-p", "no:logging"), {}, "True True "),
        pytest.param((), {"TERM": "dumb"}, "False False ", marks=pytest.mark.nightly),
        (("-p", "xdist", "-n1"), {}, "False False False False "),  # in the worker, and where it reports to
        pytest.param(("-p", "no:terminal"), {}, "False False ", marks=pytest.mark.nightly),
    ],
    ids=[
        "a terminal",
        "CI",
        "-s",
        "-q",
        "tee-sys",
        "live logs",
        "no logs",
        "a dumb terminal",
        "workers",
        "no reporter",
    ],
)
def test_progress_is_shown_only_on_a_terminal(
    arguments: tuple[str, ...], variables: dict[str, str], shown: str, project: Path
) -> None:
    (project / "conftest.py").write_text(CONFTEST)
    (project / "go-on").touch()
    run_in_terminal(project, *arguments, until="never", **variables)
    assert (project / "shown.txt").read_text() == shown


@pytest.mark.slow
def test_a_pipe_gets_nothing(project: Path) -> None:
    (project / "conftest.py").write_text(CONFTEST)
    (project / "go-on").touch()
    reading, writing = os.pipe()
    running = start(project, output=writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        written = pipe.read().decode()
    assert running.wait(PATIENCE) == 0
    assert "2 passed" in written
    assert "\x1b" not in written
    assert (project / "shown.txt").read_text() == "False False "


class Arriving:
    """An answer in progress."""

    asked = RecordedRequest("POST", "https://api.openai.com/v1/chat/completions", (), b"{}")
    began = 0.0

    def __init__(self) -> None:
        self.arrived: list[RecordedChunk] = []


def test_characters_are_counted_wherever_chunks_end() -> None:
    body = "".join(
        f'data: {{"choices": [{{"index": 0, "delta": {{"content": "{word}"}}}}]}}\n\n' for word in ("ü", "ab")
    )
    answer = Arriving()
    count = Count(answer)
    for byte in body.encode():
        answer.arrived.append(RecordedChunk(bytes([byte]), 0))
        count.update()
    assert count.update() == 3


def test_a_chunk_that_arrives_while_others_are_counted_is_counted_next_time() -> None:
    def event(text: str) -> RecordedChunk:
        return RecordedChunk(f'data: {{"choices": [{{"index": 0, "delta": {{"content": "{text}"}}}}]}}\n\n'.encode(), 0)

    class Growing(list[RecordedChunk]):
        def __getitem__(self, place: Any) -> Any:
            found = super().__getitem__(place)
            if len(self) < 2:
                self.append(event("de"))
            return found

    answer = Arriving()
    answer.arrived = Growing([event("abc")])
    count = Count(answer)
    assert [count.update(), count.update()] == [3, 5]


def test_the_count_of_an_answer_that_has_ended_is_not_shown_of_another(pytestconfig: pytest.Config, root: Path) -> None:
    status, first = RecordingStatus(pytestconfig, runtime.current_run()), Arriving()
    first.arrived.append(RecordedChunk(b'data: {"choices": [{"index": 0, "delta": {"content": "abc"}}]}\n\n', 0))
    assert "3 characters" in status.describe([first])
    del first
    others = [Arriving() for _ in range(1000)]  # one of them where the first had been, were that free
    assert not [each for each in others if "characters" in status.describe([each])]


def test_answers_that_have_ended_are_shown_no_more() -> None:
    answers, answer = AnswersInProgress(), Arriving()
    answers.begin(answer)
    assert answers.find_slow(0.0) == [answer]
    assert answers.find_slow(float("inf")) == []
    answers.end(answer)
    answers.end(answer)
    assert answers.find_slow(0.0) == []


def test_a_request_that_fails_without_being_stored_is_shown_no_more(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = AnswersInProgress()
    shown: list[int] = []

    def fail(request: httpx2.Request) -> httpx2.Response:
        shown.append(len(answers.find_slow(0.0)))
        raise ValueError("no provider says this")

    name_upstream("failing", httpx2.MockTransport(fail))
    monkeypatch.setattr(runtime.current_run(), "answers_in_progress", answers)
    with aquila.use_cassette("x", transport="record", upstream="failing"), aquila.http_client() as http:
        with pytest.raises(ValueError, match="no provider says this"):
            http.post("https://api.openai.com/v1/chat/completions", json={"model": "m"})
        shown.append(len(answers.find_slow(0.0)))
    assert shown == [1, 0]
