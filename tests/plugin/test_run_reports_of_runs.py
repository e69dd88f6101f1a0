"""Reports of runs that are not simple: workers, attempts, interruptions, files that cannot be written."""

from __future__ import annotations

import json
import os
import textwrap
from typing import Any

import pytest

from aquila.run_report.partial_files import PartialFile
from pytest_aquila.report_writing import written_reports
from tests.plugin.conftest import RUNS_TESTS_AGAIN, Project
from tests.support.report_schema import read_report

REPORT = "--aquila-report=run.json"


def outcomes_of(report: Any) -> list[tuple[str, int, str]]:
    """The tests with their attempts and outcomes."""
    return [(test["id"].rpartition("::")[2], test["attempt"], test["outcome"]) for test in report["tests"]]


@pytest.mark.slow
def test_workers_write_into_one_report(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = """
        import os

        @pytest.mark.parametrize("number", range(6))
        def test_it(aquila_cassette, number):
            post(f"prompt {number}")
            post("the same, which is longer than what stands in its place. " * 5)
            if number == 3 and "CRASH" in os.environ:
                os._exit(3)
        """
    project.record(tests=tests).assert_outcomes(passed=6)
    arguments = ("-n2", "-p", "no:cacheprovider", REPORT)
    project.pytester.runpytest_subprocess(*arguments).assert_outcomes(passed=6)
    report = read_report(project.pytester.path)
    assert {test["worker"] for test in report["tests"]} == {"gw0", "gw1"}
    assert (report["totals"]["replayed"], report["totals"]["requests"]) == (12, 12)
    assert len(report["bodies"]) == 1
    assert len({exchange["id"] for test in report["tests"] for exchange in test["exchanges"]}) == 12

    project.pytester.path.joinpath("run.json").unlink()
    monkeypatch.setenv("CRASH", "1")
    project.pytester.runpytest_subprocess(*arguments)
    report = read_report(project.pytester.path)
    assert ("test_it[3]", 1, "interrupted") in outcomes_of(report)
    assert "interrupted" not in report  # another worker ran the rest
    assert any("crashed" in note for note in report["notes"])
    assert not list(project.pytester.path.glob("run.json.partial*"))


@pytest.mark.slow  # processes that are interrupted
@pytest.mark.parametrize("how", ["interrupt", "exit", "stop"])
def test_an_interrupted_run_has_what_was_done_and_says_why(project: Project, how: str) -> None:
    tests = """
        def test_one(aquila_script):
            aquila_script.embed([1.0])
            import httpx2
            httpx2.post("https://api.openai.com/v1/embeddings", json={{"model": "m", "input": "x"}})

        def test_two():
            {}

        def test_three():
            pass
        """
    act = {"interrupt": "raise KeyboardInterrupt", "exit": "pytest.exit('enough')", "stop": "assert 0"}[how]
    project.pytester.makepyfile(test_app="import pytest\n" + textwrap.dedent(tests.format(act)))
    project.pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", "-x", REPORT)
    report = read_report(project.pytester.path)
    ends = {"interrupt": "interrupted", "exit": "interrupted", "stop": "failed"}
    assert outcomes_of(report) == [("test_one", 1, "passed"), ("test_two", 1, ends[how])]
    told = {"interrupt": "Ctrl-C", "exit": "enough", "stop": "stopping after 1 failures"}[how]
    assert told in report["interrupted"]
    assert report["tests"][0]["states"] == ["scripted"]


@pytest.mark.slow
def test_a_killed_run_leaves_what_was_done(project: Project) -> None:
    project.pytester.makepyfile(
        test_app="""
        import os, signal
        def test_one():
            pass
        def test_two():
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    project.pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", REPORT)
    left = project.pytester.path / "run.json.partial"
    kinds = [json.loads(line)[0] for line in left.read_text().splitlines()]
    assert kinds == ["begins", "test", "begins"]
    assert not (project.pytester.path / "run.json").exists()
    result = project.run(REPORT, tests="def test_three(): pass")
    assert outcomes_of(read_report(project.pytester.path)) == [("test_three", 1, "passed")]
    result.stdout.fnmatch_lines(["aquila: run.json.killed has what an earlier run had collected*"])
    assert "test_one" in (project.pytester.path / "run.json.killed").read_text()
    assert not left.exists()


def test_the_attempts_of_a_test_are_told_apart(project: Project) -> None:
    project.pytester.makeconftest(RUNS_TESTS_AGAIN)
    tests = """
        tried = []

        def test_it(aquila_script):
            import httpx2
            tried.append(1)
            aquila_script.reply(f"answer {len(tried)}")
            body = {"model": "m", "messages": []}
            text = httpx2.post("https://api.openai.com/v1/chat/completions", json=body).text
            assert "answer 2" in text
        """
    project.run(REPORT, "--junitxml=junit.xml", tests=tests)
    report = read_report(project.pytester.path)
    assert outcomes_of(report) == [("test_it", 1, "rerun"), ("test_it", 2, "passed")]
    said = [test["exchanges"][0]["answer"][0]["text"] for test in report["tests"]]
    assert said == ["answer 1", "answer 2"]
    assert "answer 2" in report["bodies"][report["tests"][0]["failure"]["key"]]["text"]
    assert report["totals"]["requests"] == 1
    junit = (project.pytester.path / "junit.xml").read_text()
    assert junit.count('name="aquila.scripted" value="1"') == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        *((name, "ends with .html or .json") for name in ("run.txt", "run", ".json", "")),
        ("test_app.py/run.json", "test_app.py/run.json cannot be written"),
        ("folder.json", "it is a folder"),
    ],
)
def test_where_reports_go_is_checked_before_any_test(given: str, told: str, project: Project) -> None:
    project.pytester.makepyfile(test_app="def test_it(): pass")
    project.pytester.path.joinpath("folder.json").mkdir()
    result = project.run(f"--aquila-report={given}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{told}*"])
    assert not list(project.pytester.path.rglob("*.partial*"))


def test_the_report_that_has_a_wrong_name_is_told_though_another_is_given_twice(project: Project) -> None:
    options = [f"--aquila-report={name}" for name in ("run.json", "./run.json", "run.txt")]
    project.run(*options).stderr.fnmatch_lines(["*--aquila-report=run.txt: the name of a report ends with*"])


@pytest.mark.parametrize(
    ("option", "more"),
    [
        ("--aquila-orphans", ()),
        ("--aquila-drift", ()),
        ("--aquila-verify-json", ("--aquila-verify",)),
        ("--aquila-faults-json", ("--aquila-faults",)),
    ],
)
def test_a_file_that_a_run_cannot_write_at_its_end_is_told_before_any_test(
    option: str, more: tuple[str, ...], project: Project
) -> None:
    project.pytester.makepyfile(test_app="def test_it(): pass")
    project.pytester.path.joinpath("folder.json").mkdir()
    for given, told in (("test_app.py/found.json", "there is a file *"), ("folder.json", "it is a folder")):
        result = project.run(f"{option}={given}", *more)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            [f"ERROR: {option}: *{given} cannot be written: {told}. Name a file *{option}=build/*"]
        )
    assert not project.run(f"{option}=new/found.json", *more).ret
    assert project.pytester.path.joinpath("new/found.json").exists()


def test_both_kinds_can_be_given_and_folders_are_made(project: Project) -> None:
    both = ("--aquila-report=new/folder/run.html", "--aquila-report=run.json", "--aquila-report=run.json")
    result = project.run(*both, tests="def test_it(): pass")
    assert [line for line in result.outlines if "report in" in line] == [
        "aquila: report in new/folder/run.html",
        "aquila: report in run.json",
    ]
    assert outcomes_of(read_report(project.pytester.path)) == [("test_it", 1, "passed")]
    assert "<html" in (project.pytester.path / "new/folder/run.html").read_text()
    assert not project.run("--aquila-report=other.json", "--collect-only").ret
    assert not (project.pytester.path / "other.json").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_that_goes_on_with_the_run_writes_no_report(project: Project) -> None:
    project.pytester.makeconftest(
        """
        import os

        def pytest_unconfigure(config, process=os.getpid()):
            if process != os.getpid():
                os._exit(0)
        """
    )
    tests = """
        import os
        import sys

        def test_forks():
            if (child := os.fork()) == 0:
                sys.exit("caught by pytest as a failure")
            os.waitpid(child, 0)

        def test_other(): pass
        """
    project.run(REPORT, tests=tests).assert_outcomes(passed=2)
    outcomes = outcomes_of(read_report(project.pytester.path))
    assert outcomes == [("test_forks", 1, "passed"), ("test_other", 1, "passed")]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow
def test_runs_under_faults_add_no_tests(project: Project) -> None:
    tests = """
        def test_it(aquila_script):
            import httpx2
            aquila_script.reply("hi")
            body = {"model": "m", "messages": []}
            assert httpx2.post("https://api.openai.com/v1/chat/completions", json=body).status_code
        """
    project.pytester.makepyfile(test_app="import pytest\n" + textwrap.dedent(tests))
    arguments = ("-p", "no:cacheprovider", "-p", "no:xdist", REPORT, "--aquila-faults=overloaded")
    project.pytester.runpytest_subprocess(*arguments)
    assert outcomes_of(read_report(project.pytester.path)) == [("test_it", 1, "passed")]


@pytest.mark.parametrize("has_begun_before", [True, False])
def test_two_runs_at_once_into_one_report_keep_apart(
    has_begun_before: bool, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_begun_before:  # but after this run has looked whether one is there
        monkeypatch.setattr(written_reports.RunReports, "_put_old_aside", lambda reports: None)
    with_other = PartialFile(project.pytester.path / "run.json.partial")
    with_other.write("note", "of the other run")
    project.run(REPORT, tests="def test_it(): pass")
    report = read_report(project.pytester.path)
    assert (outcomes_of(report), report["notes"]) == ([("test_it", 1, "passed")], [])
    with_other.close()
    assert "of the other run" in with_other.path.read_text()
    assert len(list(project.pytester.path.glob("run.json.*"))) == 1
