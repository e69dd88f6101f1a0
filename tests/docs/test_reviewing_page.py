"""Every command of ``docs/reviewing.md`` is run in a project with the files that it mentions, and prints as shown."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from aquila.cassettes.model import Cassette, Interaction
from aquila.cassettes.storage import cassette_files
from aquila.recording.reporting.unrecorded_tests import CACHE_KEY, UnrecordedTest, as_plain_data
from tests.cli.conftest import Cassettes, cassettes, conversation
from tests.cli.test_review import Terminal, terminal
from tests.docs.snippets import REPOSITORY, Block, Page, blocks
from tests.docs.test_pages import folder

__all__ = ["cassettes", "folder", "terminal"]  # fixtures

PAGE = REPOSITORY / "docs" / "reviewing.md"
SYSTEM = (
    "You are the assistant of the library in Ninove, a small town. Say what the library has, and never make up a "
    "book.{}\n\nVisitor: {}"
)


def _asked(question: str, answer: str, *, manner: str, day: str) -> Interaction:
    recorded = conversation(SYSTEM.format(manner, question), answer)
    response = replace(recorded.response, started=600, ended=1400)
    return replace(
        recorded, response=response, recorded=f"{day}T12:00:00Z", upstream="live", model="gpt-4.1-mini-2025-04-14"
    )


def _before(question: str, answer: str) -> Interaction:
    return _asked(question, answer, manner=" Answer at length.", day="2026-11-02")


def _now(question: str, answer: str) -> Interaction:
    return _asked(question, answer, manner=" Answer in one sentence.", day="2026-11-27")


def make_project(place: Path) -> None:
    """Make the project of the page: a prompt was edited that three tests share, and recorded for a review."""
    (place / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (place / "tests").mkdir()
    names = ("opening_hours", "emma", "new_books")
    tests = "\n\n\n".join(f"def test_{name}(aquila_cassette): ..." for name in names)
    (place / "tests/test_library.py").write_text(f"{tests}\n")
    hours, emma = "When do you open?", "Do you have Emma?"
    waits = "Shall I put your name on the list?"
    _store(place, "opening_hours", _before(hours, "We open at nine in the morning, and on Sundays not at all."))
    _store(place, "opening_hours.pending", _now(hours, "We open at nine, and are closed on Sundays."))
    _store(place, "emma", _before(emma, "Yes, we have two copies of Emma."), _before(waits, "Gladly."))
    _store(place, "emma.pending", _now(emma, "Yes, we have three copies of Emma."))
    _store(place, "new_books.pending", _now("What is new?", "The Overstory, and a book of owls."))


def _store(place: Path, name: str, *interactions: Interaction) -> None:
    path = place / f"cassettes/tests/test_library/test_{name}.yaml"
    cassette_files.save_cassette(path, Cassette.from_interactions(interactions))


def make_branch(place: Path) -> None:
    """Put what is in the cassettes on ``main``, and what waits on a branch."""
    who = {f"GIT_{role}_{what}": f"reader@{what}" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=place, check=True, capture_output=True, env={**os.environ, **who})

    git("init", "-q", "-b", "main")
    git("add", "*.toml", "*.py", "cassettes/tests/test_library/test_emma.yaml")
    git("commit", "-qm", "before")
    git("checkout", "-qb", "shorter")
    recorded = place / "cassettes/tests/test_library"
    os.replace(recorded / "test_emma.pending.yaml", recorded / "test_emma.yaml")
    git("commit", "-qam", "shorter")


class ReviewPage(Page):
    """A page whose blocks each find the same project anew."""

    def prepare(self, block: Block) -> None:
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        make_project(self.folder)
        if "main...HEAD" in block.text:
            make_branch(self.folder)


@pytest.mark.slow
def test_every_command_does_what_the_page_says(folder: Path) -> None:
    page = ReviewPage(PAGE, folder)
    page.execute()
    assert page.ran >= 4


@pytest.mark.slow
def test_the_steps_of_the_workflow_write_the_comment_of_a_pull_request(folder: Path, tmp_path: Path) -> None:
    (shown,) = [block.text for block in blocks(PAGE) if block.language == "yaml"]
    checkout, *steps = yaml.safe_load(shown)
    assert checkout["with"] == {"fetch-depth": 0}
    make_project(folder)
    make_branch(folder)
    subprocess.run(["git", "clone", "-q", "--branch", "shorter", folder, tmp_path / "checkout"], check=True)
    programs, asked = tmp_path / "programs", tmp_path / "asked.txt"
    programs.mkdir()
    (programs / "gh").write_text(f'#!/bin/sh\nprintf "%s\\n" "$GH_TOKEN" "$@" > {asked}\ncat "$5" >> {asked}\n')
    (programs / "gh").chmod(0o755)
    values = {"${{ github.token }}": "token-of-the-job", "${{ github.event.number }}": "42"}
    around = {**os.environ, "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    around |= {"GITHUB_BASE_REF": "main", "GITHUB_EVENT_NAME": "pull_request"}
    for step in steps:
        assert step["if"] == "github.event_name == 'pull_request'"
        given = {name: values[value] for name, value in step.get("env", {}).items()}
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
            check=False,
            cwd=tmp_path / "checkout",
            env={**around, **given},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    token, *words = asked.read_text().splitlines()
    assert token == "token-of-the-job"
    assert words[:7] == ["pr", "comment", "42", "--body-file", "comment.md", "--edit-last", "--create-if-none"]
    assert "test_emma" in "\n".join(words[7:])


@pytest.mark.slow
def test_the_terminal_shows_what_the_page_shows(
    cassettes: Cassettes,
    terminal: Callable[..., Terminal],
) -> None:
    shown, _ = [block.text for block in blocks(PAGE) if block.language == "text"]
    place = cassettes.folder.parent
    shutil.rmtree(cassettes.folder)
    make_project(place)
    screen = terminal()
    seen = screen.wait_for("help\n")
    assert re.sub(r" +$", "", seen.strip(), flags=re.MULTILINE) == shown.strip()
    screen.send("q")
    assert screen.end() == 0


def test_a_drifted_test_is_listed_as_the_page_shows(cassettes: Cassettes) -> None:
    _, shown = [block.text for block in blocks(PAGE) if block.language == "text"]
    test, name = "tests/test_library.py::test_emma", "tests/test_library/test_emma"
    drifted = UnrecordedTest(test, (("cassettes", name),), "prompt: recorded 'Be kind.', now 'Be brief.'")
    module = cassettes.folder.parent / "tests" / "test_library.py"
    module.parent.mkdir()
    module.write_text("def test_emma(): ...\n")
    cache = cassettes.folder.parent / ".pytest_cache" / "v"
    for key, value in ((CACHE_KEY, as_plain_data([drifted], {})), ("cache/lastfailed", {test: True})):
        (cache / key).parent.mkdir(parents=True, exist_ok=True)
        (cache / key).write_text(json.dumps(value))
    assert shown in cassettes.run("review", "--list").out
