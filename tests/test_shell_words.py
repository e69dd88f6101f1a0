"""Words and paths that users type: in the shells of Windows, and where paths are on several drives."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aquila import shell_words
from aquila.optional import install_command, install_local_model_command
from aquila.recording.reporting import drift_groups
from tests.support.server import Answer, serving

quote_for_windows = shell_words._quote_for_windows
words = st.text(st.sampled_from("ab1/[]-=.:@ \\\"'&|<>()^,;*?{}#~\t"), max_size=12)


def read_argument(command: str) -> str:
    """What a program of Windows reads of one quoted word: the rules of ``CommandLineToArgvW``."""
    found, quoted, at = "", False, 0
    while at < len(command):
        slashes = len(re.match(r"\\*", command[at:])[0])  # type: ignore[index]
        at += slashes
        is_quote = command[at : at + 1] == '"'
        found += "\\" * (slashes // 2 if is_quote else slashes)
        if is_quote and slashes % 2 == 0:
            quoted = not quoted
        else:
            assert quoted or command[at : at + 1] not in (" ", "\t") or at == len(command)
            found += command[at : at + 1]
        at += 1
    return found


@given(words)
def test_a_program_on_windows_reads_the_quoted_word_unchanged(word: str) -> None:
    assert read_argument(quote_for_windows(word)) == word


@given(words.filter(lambda word: '"' not in word))
def test_no_special_character_of_a_windows_shell_is_outside_the_quotes(word: str) -> None:
    quoted = quote_for_windows(word)
    outside = quoted if quoted == word else quoted.removeprefix('"').removesuffix('"').replace(word.rstrip("\\"), "", 1)
    assert not re.search(r"[ \t&|<>()^,;*?{}#~\[\]'\"]|^@", outside)


@given(st.lists(words.filter(lambda word: r"\\" not in word), max_size=4))
def test_a_command_of_windows_can_be_split_again(each: list[str]) -> None:
    assert shlex.split(" ".join(map(quote_for_windows, each))) == each


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("tests/test_a.py::test_b", "tests/test_a.py::test_b"),
        ("tests/test_a.py::test_b[a-b]", '"tests/test_a.py::test_b[a-b]"'),
        ("C:\\my tests\\", '"C:\\my tests\\\\"'),
        ("@options", '"@options"'),
        ("", '""'),
    ],
)
def test_words_are_quoted_with_double_quotes_on_windows(word: str, quoted: str) -> None:
    assert quote_for_windows(word) == quoted


def test_suggested_commands_are_quoted_for_the_system() -> None:
    code = """
import sys
sys.platform = "win32"
import aquila.shell_words
sys.platform = "linux"
from aquila.optional import install_command, install_local_model_command
from aquila.recording.reporting.drift_groups import record_command
print(install_command("vcr"), record_command(["test_a.py::test_b[1 2]"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == 'pip install "aquila-llm[vcr]" pytest "test_a.py::test_b[1 2]" --aquila-record\n'
    assert install_command("vcr") == "pip install 'aquila-llm[vcr]'"
    assert "'aquila-llm[local]' && pip" in install_local_model_command()


def test_a_command_of_windows_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    tests = [f"test_{number}.py::test_a" for number in range(5)]
    assert "\\\n" in drift_groups.record_command(tests, 40)
    monkeypatch.setattr(sys, "platform", "win32")
    assert "\n" not in drift_groups.record_command(tests, 40)


@pytest.fixture
def drives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder ``other``, which has no path from elsewhere, as on another drive of Windows."""
    other, relpath = tmp_path / "other", os.path.relpath

    def relpath_on_windows(path: str | Path, start: str | Path = ".") -> str:
        mounts = [Path(os.path.abspath(each)).is_relative_to(other) for each in (path, start)]
        if mounts[0] != mounts[1]:
            raise ValueError("path is on mount 'D:', start on mount 'C:'")
        return relpath(path, start)

    monkeypatch.setattr(os.path, "relpath", relpath_on_windows)
    other.mkdir()
    return other


def test_a_path_on_another_drive_is_absolute(drives: Path) -> None:
    project = drives.parent / "project"
    assert shell_words.path_from(project, project / "tests" / "a.py") == "tests/a.py"
    assert shell_words.path_from(project, drives.parent / "a.py") == "../a.py"
    assert shell_words.path_from(project, drives / "a.py") == (drives / "a.py").as_posix()
    assert shell_words.path_from(drives, project / "a.py") == (project / "a.py").as_posix()


PROJECT = """
import os
import httpx2

def ask(text):
    with httpx2.Client() as client:
        body = {"model": "m", "messages": [{"role": "user", "content": text}]}
        return client.post(os.environ["URL"] + "/chat/completions", json=body)

def test_asks(aquila_cassette):
    assert ask("a").status_code == 200

def test_drifts(aquila_cassette):
    ask(os.environ["TEXT"])
"""


def test_tests_cassettes_and_reports_may_be_on_other_drives(
    drives: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cassettes, reports, tests that are no part of the project, and the folder where it is run."""
    project, here = drives / "project", pytester.mkdir("here")
    project.mkdir()
    cassettes, unused, report = (pytester.path / name for name in ("c", "unused.json", "report.json"))
    (project / "pytest.ini").write_text(f"[pytest]\naquila_providers = 127.0.0.1\naquila_cassette_dir = {cassettes}\n")
    (project / "test_it.py").write_text(PROJECT)
    pytester.makefile(".py", test_outside="def test_outside(): pass")
    monkeypatch.setenv("TEXT", "b")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    files = [f"{project}/test_it.py", f"{pytester.path}/test_outside.py"]
    elsewhere = [f"--rootdir={project}", f"-c{project}/pytest.ini", *files]
    reports = [f"--aquila-report={report}", f"--aquila-orphans={unused}"]
    monkeypatch.chdir(here)
    with serving(by=lambda _: Answer([b"{}"])) as server:
        monkeypatch.setenv("URL", server.url)
        pytester.runpytest_inprocess("--aquila-record", *elsewhere).assert_outcomes(passed=3)
        (cassettes / "unused.yaml").write_bytes(next(cassettes.rglob("*.yaml")).read_bytes())

        monkeypatch.chdir(project)
        told = pytester.runpytest_inprocess(*reports)
        told.assert_outcomes(passed=2)
        told.stdout.fnmatch_lines([f"aquila: report in {report}"])
        assert json.loads(report.read_bytes())["orphans"] == [f"{cassettes}/unused.yaml"]
        assert [each["folder"] for each in json.loads(unused.read_bytes())["unused"]] == [str(cassettes)]

        monkeypatch.chdir(here)
        monkeypatch.setenv("TEXT", "c")
        told = pytester.runpytest_inprocess(*reports, *elsewhere)
        told.assert_outcomes(passed=2, failed=1)
        told.stdout.fnmatch_lines(["aquila: report in ../report.json"])
        tests = {each["id"]: each for each in json.loads(report.read_bytes())["tests"]}
        assert f"pytest.ini {project}/test_it.py::test_drifts --aquila-record" in str(tests)
        pytester.runpytest_inprocess("--aquila-record=pending", *elsewhere)
        assert list(cassettes.rglob("*.pending.yaml"))
        told = pytester.runpytest_inprocess(*reports, *elsewhere)
    assert json.loads(report.read_bytes())["pending"]
