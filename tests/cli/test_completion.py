"""Completion of command lines, as a shell asks for it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aquila.cli import COMMANDS
from aquila.cli.completion import build_parser
from tests.cli.conftest import Cassettes, conversation

argcomplete = pytest.importorskip("argcomplete")

ROW = conversation("hi", "ho")


def complete(line: str) -> list[str]:
    """What argcomplete makes of a command line, without a shell."""
    finder = argcomplete.CompletionFinder(always_complete_options=False)
    _, prefix, _, words, at = argcomplete.lexers.split_line(line, len(line))
    finder.__init__(build_parser(words[1:]), always_complete_options=False)
    return [found.rstrip() for found in finder._get_completions(words, prefix, "", at)]


@pytest.fixture
def project(cassettes: Cassettes) -> Cassettes:
    for name in ("jobs/summary", "jobs/stream", "tests/test_x/test_y-a", "../api/cassettes/test_api/test_z"):
        cassettes.write(f"{name}.yaml", ROW)
    cassettes.write("jobs/stream.pending.yaml", ROW)
    (cassettes.folder.parent / ".env").touch()
    return cassettes


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("aquila ", ["cassettes", "dead-letters", "jobs", "report", "serve"]),
        ("aquila cassettes st", ["stats"]),
        ("aquila cassettes show ", ["api/", "jobs/", "tests/"]),
        ("aquila cassettes scan ", ["api/", "jobs/", "tests/", "cassettes/", "pytest.ini"]),  # and no hidden file
        ("aquila cassettes scan .e", [".env"]),
        ("aquila cassettes show jobs/", ["jobs/stream", "jobs/summary"]),
        ("aquila cassettes list jobs/su", ["jobs/summary"]),
        ("aquila cassettes diff jobs/summary tests/test_x/", ["tests/test_x/test_y-a"]),
        ("aquila cassettes list api/cassettes/t", ["api/cassettes/test_api/"]),
        ("aquila cassettes show pytest", ["pytest.ini"]),
        ("aquila cassettes show --dir api/cassettes ", ["test_api/"]),
        ("aquila cassettes accept ", ["jobs/"]),
        ("aquila cassettes accept jobs/", ["jobs/stream"]),
        ("aquila cassettes scan pyt", ["pytest.ini"]),
        ("aquila cassettes mv jobs/st", ["jobs/stream"]),
        ("aquila cassettes convert jobs/stream --to ", ["yaml", "msgpack"]),
        ("aquila cassettes list --j", ["--json"]),
        ("aquila serve --rec", ["--record"]),
    ],
)
def test_commands_options_and_names_of_cassettes_are_completed(line: str, found: list[str], project: Cassettes) -> None:
    assert complete(line) == found


def test_every_command_is_completed() -> None:
    groups = ("cassettes", "dead-letters")
    in_groups = {f"{group} {name}" for group in groups for name in complete(f"aquila {group} ")}
    assert in_groups | {"jobs", "report", "serve"} == {one.name for one in COMMANDS}


def test_errors_while_completing_give_no_completions_and_no_output(
    project: Cassettes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert complete("aquila cassettes show nothing/here") == []
    (project.folder.parent / "pytest.ini").write_text("no section\n")
    assert complete("aquila cassettes show jobs/") == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.slow
def test_bash_completes_the_installed_command(project: Cassettes) -> None:
    folder = Path(sys.executable).parent
    program = """
        eval "$(register-python-argcomplete aquila)"
        COMP_LINE='aquila cassettes show jobs/su' COMP_POINT=29 COMP_TYPE=9
        $(complete -p aquila | sed 's/.*-F \\([^ ]*\\) .*/\\1/') aquila
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert (shlex.split(done.stdout), done.stderr) == (["jobs/summary"], "")
