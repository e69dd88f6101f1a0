"""A run that records everything says first how much that is, and a budget bounds what it may cost."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import ConfigError
from aquila.option_parsing import read_budget
from aquila.recording.storing.record_budget import Spent, describe_budget
from aquila.settings import parse_option
from tests.plugin.conftest import Project

TESTS = """
@pytest.fixture(scope="module")
def shared():
    return post("shared")

@pytest.mark.parametrize("n", range(3))
def test_it(aquila_cassette, n):
    post(f"{n} a"), post(f"{n} b")

@pytest.mark.aquila("named")
def test_named(shared):
    post("named")
    with aquila.use_cassette("block"):
        post("block")
"""


@pytest.mark.slow
def test_a_run_that_records_everything_says_first_how_much_that_is(project: Project) -> None:
    for option in ("--aquila-record=all", "--aquila-record"):
        output = project.run(option, "-p", "no:randomly", tests=TESTS).stdout.str()
        assert ("the tests have no recordings yet" in output) == (option == "--aquila-record=all")
    result = project.run("--aquila-record=all")
    said = "aquila: about 9 requests will be sent and recorded: the tests have 9 recordings in 6 cassettes"
    result.stdout.fnmatch_lines([said, "test_app.py .*"])
    assert result.stdout.str().count("will be sent") == 1
    result = project.run("--aquila-record=pending", "test_app.py::test_named", "-o", "aquila_record_budget=2 requests")
    result.stdout.fnmatch_lines(["aquila: about 3 requests * The budget is 2 requests, which is not enough"])
    assert "will be sent" not in project.run().stdout.str()


def test_a_name_that_no_cassette_can_have_is_an_error_of_its_test_alone(project: Project) -> None:
    tests = '@pytest.mark.aquila("../x")\ndef test_it(): pass\n\ndef test_other(): pass\n'
    (project.cassettes / "test_app").mkdir(parents=True)
    (project.cassettes / "test_app" / "test_other.yaml").write_text("damaged")
    result = project.record("--aquila-record=all", tests=tests)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*; the tests have no recordings yet"])
    result.stdout.fnmatch_lines(["*CassetteNameError: cassette name '../x' leaves the cassette folder *"])


def test_a_spent_budget_refuses_the_request_ends_the_run_and_keeps_what_is_finished(project: Project) -> None:
    swallowing = TESTS.replace('post(f"{n} b")', 'quietly(f"{n} b")') + (
        "\ndef quietly(prompt):\n    try:\n        post(prompt)\n    except Exception:\n        pass\n"
    )
    budget = ["-o", "aquila_record_budget=3 requests"]
    result = project.record("-p", "no:randomly", *budget, tests=swallowing)
    result.assert_outcomes(passed=1, failed=1)
    output = result.stdout.str()
    assert "BudgetSpent: POST https://provider.example/v1/x was not sent" in output
    assert "the budget for recordings is spent (3 of 3 requests)" in output
    said = "aquila: the budget for recordings is spent: 3 of 3 requests *To record as much again: *--aquila-record*"
    result.stdout.fnmatch_lines([said])
    assert len(project.calls) == 3
    folder = project.cassettes / "test_app"
    assert {path.name: len(load_cassette(path).interactions) for path in folder.glob("*.yaml")} == {
        "test_it-0.yaml": 2,
        "test_it-1.pending.yaml": 1,
    }
    for passed in (2, 3):  # the same command goes on from there
        project.record("-p", "no:randomly", *budget).assert_outcomes(passed=passed, failed=1)
    result = project.record("-p", "no:randomly", *budget)
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["aquila: recorded 2 of 3 requests of the budget"])


def test_a_budget_that_is_spent_while_everything_is_recorded_names_the_way_to_record_the_rest(project: Project) -> None:
    tests = '@pytest.mark.parametrize("n", range(3))\ndef test_it(aquila_cassette, n):\n    post(n)\n'
    project.record("-p", "no:randomly", tests=tests)
    result = project.run("-p", "no:randomly", "--aquila-record=all", "-o", "aquila_record_budget=2 requests")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        ["aquila: the budget for recordings is spent: *To begin anew, raise the budget: *--aquila-record=all"]
    )
    assert "not recorded" not in result.stdout.str()  # it is: the budget alone has refused it


def test_tokens_count_when_they_are_answered(project: Project) -> None:
    result = project.record("-p", "no:randomly", "-o", "aquila_record_budget=10 tokens, 1k requests", tests=TESTS)
    result.assert_outcomes(passed=1, failed=1)
    assert "(2 of 1,000 requests and 14 of 10 tokens)" in result.stdout.str()


def test_a_request_that_cannot_be_counted_is_not_sent(project: Project) -> None:
    tests = """
    import errno, pathlib

    def test_it(aquila_cassette, monkeypatch):
        def run_out_of_space(path, text):
            raise OSError(errno.ENOSPC, "No space left on device")
        monkeypatch.setattr(pathlib.Path, "write_text", run_out_of_space)
        try:
            post("a")
        except Exception:
            pass
    """
    result = project.record("-o", "aquila_record_budget=3 requests", tests=tests)
    assert project.calls == []
    result.stdout.fnmatch_lines(
        ["aquila: *cannot count in *budget.json what this run records: No space left on device*"]
    )
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


@pytest.mark.parametrize(
    ("text", "budget"),
    [("200 requests", (200, None)), ("50k tokens,1 request", (1, 50_000)), ("1 request\n2M tokens", (1, 2_000_000))],
)
def test_a_budget_is_read_as_it_is_written(text: str, budget: tuple[int | None, int | None]) -> None:
    value = parse_option("record_budget", text, source="a test")
    assert read_budget(parse_option("record_budget", value, source="a test")) == budget


def test_a_budget_of_one_is_told_in_the_singular() -> None:
    assert describe_budget((1, 2), Spent(1, 0)) == "1 of 1 request and 0 of 2 tokens"


@pytest.mark.parametrize("text", ["", "200", "1 request, 2 requests", "-1 tokens", "5 euros"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="200 requests, 50k tokens"):
        parse_option("record_budget", text, source="a test")


@pytest.mark.slow
def test_workers_and_child_processes_share_one_budget(project: Project) -> None:
    tests = """
    import os, subprocess, sys, pytest
    from app import post

    @pytest.mark.parametrize("n", range(40))
    def test_it(aquila_cassette, n):
        if n % 4 == 0:
            subprocess.run([sys.executable, "-c", f"import app; app.post('{n}')"], env={**os.environ}, check=True)
        else:
            post(n)
    """
    project.pytester.makeini("[pytest]\naquila_record_budget = 12 requests\n")
    project.pytester.makepyfile(test_many=tests)
    command = [sys.executable, "-m", "pytest", "-n", "2", "-p", "no:cacheprovider", "--aquila-record=all"]
    command.append(f"--aquila-upstream={project.module}:transport")
    done = subprocess.run(command, cwd=project.pytester.path, capture_output=True, text=True, check=False)
    assert len(project.calls) == 12
    assert len({json.loads(call)["prompt"] for call in project.calls}) == 12
    assert "aquila: the budget for recordings is spent: 12 of 12 requests" in done.stdout
    assert done.stdout.count("every request will be sent and recorded") == 1
    kept = sum(len(load_cassette(path).interactions) for path in project.cassettes.rglob("*.yaml"))
    assert kept == 12
