"""What becomes, in a recording run, of recordings that a passing test does not ask for."""

from __future__ import annotations

import re
import shlex

import pytest

from aquila.cassettes.storage.cassette_files import load_cassette
from tests.plugin.conftest import Project

ASKING = "def test_it(aquila_cassette):\n    [post(word) for word in WORDS]\n"


def asking(*words: str) -> str:
    return ASKING.replace("WORDS", repr(words))


def recorded_words(project: Project) -> list[str]:
    """What is asked in the recordings of the only cassette."""
    (path,) = project.cassettes.rglob("*.yaml")
    bodies = [each.request.body.decode() for each in load_cassette(path).interactions]
    return [body.split('"')[3] for body in bodies]


@pytest.fixture
def recorded(project: Project) -> Project:
    project.record(tests=asking("one", "two")).assert_outcomes(passed=1)
    return project


def test_unasked_recordings_stay_if_the_test_records_nothing(recorded: Project) -> None:
    recorded.record(tests=asking("one")).assert_outcomes(passed=1)
    assert recorded_words(recorded) == ["one", "two"]
    recorded.run(tests=asking("one", "two")).assert_outcomes(passed=1)


def test_unasked_recordings_go_if_the_test_records_something(recorded: Project) -> None:
    recorded.record(tests=asking("one", "three")).assert_outcomes(passed=1)
    assert recorded_words(recorded) == ["one", "three"]


def test_unasked_recordings_go_if_everything_is_recorded_anew(recorded: Project) -> None:
    recorded.record("--aquila-record=all", tests=asking("one")).assert_outcomes(passed=1)
    assert recorded_words(recorded) == ["one"]


@pytest.mark.parametrize("demand", ["warn", "fail"])
def test_the_command_of_a_run_that_names_unasked_recordings_removes_them(recorded: Project, demand: str) -> None:
    output = recorded.run("-o", f"aquila_unplayed={demand}", tests=asking("one")).stdout.str()
    (command,) = set(re.findall(r"pytest (.* --aquila-record)$", output, re.M))
    calls = len(recorded.calls)
    recorded.run(*shlex.split(command)).assert_outcomes(passed=1)
    assert recorded_words(recorded) == ["one"]
    assert len(recorded.calls) == calls
    recorded.run("-o", "aquila_unplayed=fail").assert_outcomes(passed=1)
