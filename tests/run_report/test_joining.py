"""The reports of several runs are joined to one: of shards, and of one suite under several versions of Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aquila.cli import main
from aquila.run_report.joining import join_reports
from aquila.run_report.page import render_page
from aquila.run_report.partial_files import add_bodies
from aquila.run_report.schema import Body
from tests.run_report.sample_runs import make_exchange, make_report, make_test


def test_the_tests_of_shards_are_those_of_one_run() -> None:
    ran = [make_test("test_a", [make_exchange()], worker="gw0"), make_test("test_b", [make_exchange()])]
    later = {"started": "2026-11-27T09:14:05Z", "took": 9000, "command": "pytest --group 2", "notes": ["gw0 crashed"]}
    one = make_report(ran[:1], {"k": {"text": "long"}}, pending=["a.pending.yaml"])
    two = make_report(ran[1:], {"k": {"text": "long"}, "m": {"text": "more"}}, interrupted="by Ctrl-C", **later)
    joined = join_reports({"two": two, "one": one})
    assert [(test["id"][-6:], test["worker"]) for test in joined["tests"]] == [("test_a", "one gw0"), ("test_b", "two")]
    assert joined["totals"]["tests"] == joined["totals"]["requests"] == 2
    assert joined["totals"]["pending"] == 1
    assert joined["bodies"] == {"k": {"text": "long"}, "m": {"text": "more"}}
    assert (joined["started"], joined["took"]) == ("2026-11-27T09:14:03Z", 11000)
    assert joined["command"] == "pytest --aquila-report=run.html; pytest --group 2"
    assert (joined["interrupted"], joined["notes"]) == ("two: by Ctrl-C", ["two: gw0 crashed"])
    assert "test_b" in render_page(joined)


def test_a_test_that_ran_in_several_runs_is_a_test_of_each() -> None:
    def run(python: str, **changes: Any) -> Any:
        tests = [make_test("test_a", outcome="rerun"), make_test("test_a", [make_exchange()], attempt=2)]
        return make_report(tests, python=python, **changes)

    joined = join_reports({"py311": run("3.11", orphans=["x", "y"]), "py313": run("3.13", orphans=["y", "z"])})
    assert [test["outcome"] for test in joined["tests"]] == ["rerun", "passed", "rerun", "passed"]
    assert joined["totals"]["tests"] == 2
    assert len({each["id"] for test in joined["tests"] for each in test["exchanges"]}) == 2
    assert (joined["python"], joined["orphans"]) == ("3.11, 3.13", ["y"])


def test_one_report_stays_as_it_is() -> None:
    report: Any = make_report([make_test("test_a")])
    assert join_reports({"run": report}) == report


def test_the_command_writes_a_page_and_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["1/run.json", "2/run.json", "py3.13", "py3.14"]
    for number, name in enumerate(names, 1):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(json.dumps(make_report([make_test(f"test_{number}")])), "utf-8")
    again = [str(tmp_path / "1" / "run.json"), "2/../py3.13"]  # by other paths
    assert main(["report", *names, *again, "--to", "out/run.html", "--to", "out/run.json"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"4 tests from 4 reports in {Path('out', 'run.html')}"
    assert [test["worker"] for test in json.loads(Path("out/run.json").read_text("utf-8"))["tests"]] == [
        "1/run",
        "2/run",
        "py3.13",
        "py3.14",
    ]
    assert "test_2" in Path("out/run.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("content", "target", "says"),
    [
        ("<!doctype html>", "x.html", "run.html is no report in JSON. To write one: pytest --aquila-report=run.json"),
        ("[]", "x.html", "is no report in JSON"),
        ('{"groups": []}', "x.html", "is no report in JSON"),
        (json.dumps({**make_report([]), "schema": 2}), "x.html", "run.html was written by Aquila 0.1.0, whose reports"),
        (
            json.dumps({**make_report([]), "tests": [{}]}),
            "x.html",
            "run.html has been changed and cannot be read: KeyError(",
        ),
        (json.dumps(make_report([])), "x.txt", "--to x.txt: the name must end with .html or .json"),
        (json.dumps(make_report([])), "run.html/x.html", "run.html/x.html: cannot be written: "),
        (None, "x.html", "run.html: No such file"),
    ],
)
def test_what_is_no_report_is_refused_and_nothing_is_written(
    content: str | None,
    target: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("run.html").write_text(content, "utf-8")
    assert main(["report", "run.html", "--to", target]) == 2
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run.html"] * (content is not None)


def test_of_several_reports_the_one_that_has_been_changed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, report in {"a": make_report([]), "b": {**make_report([]), "started": 1}, "c": make_report([])}.items():
        Path(f"{name}.json").write_text(json.dumps(report), "utf-8")
    assert main(["report", "a.json", "b.json", "c.json", "--to", "x.json"]) == 2
    assert "b.json has been changed and cannot be read" in capsys.readouterr().err


def test_of_bodies_beyond_the_limit_of_a_report_only_the_size_is_kept() -> None:
    body: Body = {"text": "b" * 10, "end": "e" * 10, "cut": 5}
    bodies: dict[str, Body] = {}
    assert add_bodies(bodies, {"one": {**body}, "two": {**body}}, left=25) == 5
    assert bodies == {"one": body, "two": {"text": "", "cut": 25}}
