"""``--aquila-drift``: a drifted request gets the answer to the nearest recording; drifts are grouped by change."""

from __future__ import annotations

import json
import shlex
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aquila.errors import CassetteRequired, LiveCallRefused
from aquila.recording.network.guard import NOTHING_ASKS
from aquila.setting_lines import setting_lines
from pytest_aquila import node_ids, test_scopes
from pytest_aquila.summary import drift_report
from pytest_aquila.summary.run_totals import RunTotals
from tests.plugin.conftest import Project

TESTS = """
import asyncio, os, subprocess, sys, threading, uuid

LATER = os.environ.get("LATER")
MORE = {} if LATER else {"n": 1}

@pytest.mark.aquila("shared")
def test_first():
    assert post("one") == 1

@pytest.mark.aquila("shared")
def test_second():
    assert [post("two"), post("three")] == [2, 3]

@pytest.mark.parametrize("city", ["Rome", "a small town", "Bob's"])
def test_city(aquila_cassette, city):
    first = post(city, **MORE)
    second = post(f"more of {city}")
    assert second == first + 1 or LATER == "recorded again"

def test_block():
    with aquila.use_cassette("block"):
        post("block", **MORE)

def test_of_a_call():
    with aquila.http_client(cassette="called") as http:
        http.post("https://provider.example/v1/x", json={"prompt": "call", **MORE})

def test_thread(aquila_cassette):
    thread = threading.Thread(target=post, args=("thread",), kwargs=MORE)
    thread.start()
    thread.join()

def test_async(aquila_cassette):
    async def ask():
        async with aquila.async_http_client() as http:
            await http.post("https://provider.example/v1/x", json={"prompt": "async", **MORE})
    asyncio.run(ask())

def test_child(aquila_cassette):
    code = f"import app; app.post('child', **{MORE!r})"
    subprocess.run([sys.executable, "-c", code], check=True)

@pytest.fixture(scope="module")
def shared():
    return post("fixture", **MORE)

def test_fixture(shared):
    pass

def test_id(aquila_cassette):
    post("hi", user=str(uuid.uuid4()))

def test_twice(aquila_cassette):
    assert post("again")
    if LATER:
        assert post("again")

if LATER:
    def test_new(aquila_cassette):
        post("new")

    def test_without():
        post("without")
"""


def run_later(
    project: Project, monkeypatch: pytest.MonkeyPatch, *arguments: str, later: str = "1"
) -> tuple[dict[str, Any], list[str]]:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LATER", later)
    result = project.run("--aquila-drift=drift.json", *arguments)
    lines = result.outlines
    start = next(n for n, line in enumerate(lines) if line.startswith("aquila: drift:"))
    lines = lines[start : next(n for n, line in enumerate(lines) if n > start and line.startswith(("===", "aquila:")))]
    return json.loads((project.pytester.path / "drift.json").read_text()), lines


def test_empty_fields_that_come_and_go_are_one_change_with_its_setting(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    tests = """
        import os
        MORE = {"stop": None, "reasoning": {"effort": {}}} if os.environ.get("LATER") else {"user": None}

        def test_one(aquila_cassette):
            post("one", **MORE)

        def test_two(aquila_cassette):
            post("two", **MORE)
        """
    project.record(tests=tests)
    report, lines = run_later(project, monkeypatch)
    assert [group["settings"] for group in report["groups"]] == [["aquila_ignore = <empty>"]]
    assert "  aquila_ignore = <empty>" in lines


@pytest.mark.parametrize(
    ("cassette", "refusals", "error", "text"),
    [
        (None, ["cut off", NOTHING_ASKS], AssertionError("swallowed"), NOTHING_ASKS),
        (None, [], CassetteRequired("no cassette answers"), "no cassette answers"),
        (None, [], LiveCallRefused(NOTHING_ASKS), NOTHING_ASKS),
        (None, [], AssertionError("not equal"), None),
        (None, ["the file is cut off"], AssertionError("not equal"), None),
        (None, [], LiveCallRefused("the file is cut off"), None),
        ("test_app/test_it", [NOTHING_ASKS], None, None),
    ],
)
def test_a_test_without_a_cassette_that_asks_a_model_is_in_the_report(
    monkeypatch: pytest.MonkeyPatch, cassette: str | None, refusals: list[str], error: BaseException, text: str | None
) -> None:
    monkeypatch.setattr(node_ids, "id_to_type", lambda item: "test_it")
    run = SimpleNamespace(test=SimpleNamespace(refusals=refusals))
    config = SimpleNamespace(stash={test_scopes.RUN: run})
    item: Any = SimpleNamespace(stash={test_scopes.SCOPE: SimpleNamespace(default_cassette=cassette)}, config=config)
    totals = RunTotals()
    drift_report.note_test_without_cassette(item, error, totals)
    seen = [(row["test"], row["kind"], row["text"]) for row in totals.drifted]
    assert seen == ([] if text is None else [("test_it", "without_cassette", text)])


@pytest.mark.slow
def test_every_way_of_asking_is_answered_and_what_differs_is_told(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.record(tests=TESTS)
    result = project.run("--aquila-drift")
    assert "aquila: drift: 1 test, 1 change" in result.outlines  # the id
    files = {path: path.read_bytes() for path in project.cassettes.rglob("*.yaml")}
    report, lines = run_later(project, monkeypatch)
    again, same = run_later(project, monkeypatch)
    assert (report["groups"], report["unrecorded"], lines) == (again["groups"], again["unrecorded"], same)
    assert {path: path.read_bytes() for path in project.cassettes.rglob("*.yaml")} == files

    first, *others = report["groups"]
    names = [test.partition("::")[2] for test in first["tests"]]
    assert names == [
        "test_async",
        "test_block",
        "test_child",
        "test_city[Bob's]",
        "test_city[Rome]",
        "test_city[a small town]",
        "test_fixture",
        "test_of_a_call",
        "test_thread",
    ]
    assert first["changes"] == [{"path": "n", "recorded": "1", "now": "absent", "new_in_every_run": []}]
    assert first["settings"] == ["aquila_ignore = n"]
    assert [(group["kind"], group["settings"]) for group in others] == [
        ("changed", ["aquila_ignore = user", "aquila_normalize = uuid"]),
        ("played_out", ["aquila_repeat = last"]),
    ]
    assert [(row["test"], row["reason"]) for row in report["unrecorded"]] == [
        ("test_app.py::test_new", "unrecorded"),
        ("test_app.py::test_without", "without_cassette"),
    ]
    assert all(len(line) <= 80 for line in lines)


def test_with_the_advised_settings_nothing_drifts(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ("-k", "city or id or twice")
    project.record(*chosen, tests=TESTS)
    project.pytester.makeini("[pytest]\naquila_ignore = n\naquila_normalize = uuid\naquila_repeat = last\n")
    report, lines = run_later(project, monkeypatch, *chosen)
    assert report == {"pytest": "pytest", "groups": [], "unrecorded": [], "requests": []}
    assert lines == ["aquila: drift: none"]


def test_a_difference_that_the_match_rules_leave_out_is_reported(project: Project) -> None:
    tests = "@pytest.mark.aquila(match_on=['method', 'path'])\ndef test_it(aquila_cassette):\n    post('one')\n"
    project.record(tests=tests)
    changed = tests.replace("one", "two")
    project.run(tests=changed).assert_outcomes(passed=1)
    result = project.run("--aquila-drift", tests=f"{changed}\ndef test_new(aquila_cassette): post('new')\n")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["FAILED test_app.py::test_new - CassetteMiss: *", "1 test: prompt recorded 'one', now 'two'*"]
    )
    assert not (project.pytester.path / "-").exists()  # no file was named


@pytest.mark.slow
def test_the_drifts_of_all_workers_are_reported_together(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.record(tests=TESTS)
    report, _ = run_later(project, monkeypatch)
    upstream = f"--aquila-upstream={project.module}:transport"
    arguments = ("-p", "no:cacheprovider", "-n", "2", upstream, "--aquila-drift=workers.json")
    result = project.pytester.run(Path(sys.executable).with_name("pytest"), *arguments)
    result.stdout.fnmatch_lines(["aquila: drift: 11 tests, 3 changes"])
    assert json.loads((project.pytester.path / "workers.json").read_text())["groups"] == report["groups"]


@pytest.mark.slow
def test_the_command_that_is_printed_works_in_a_shell(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.record(tests=TESTS.partition("def test_block")[0])
    report, _ = run_later(project, monkeypatch, "-k", "small or Bob")
    (group,) = report["groups"]
    program, *arguments = shlex.split(group["record"])
    monkeypatch.setenv("LATER", "recorded again")
    assert program == "pytest"
    project.run(*arguments).assert_outcomes(passed=2)
    _, lines = run_later(project, monkeypatch, "-k", "small or Bob", later="recorded again")
    assert lines == ["aquila: drift: none"]


JOBS = """
from app import post
from aquila.huey import SqliteHuey

huey = SqliteHuey("jobs", filename={file!r})

@huey.task()
def describe(prompt, body):
    return post(prompt, **body)
"""
TASKS = """
import os
from jobs import describe, huey

MORE = {} if os.environ.get("LATER") else {"n": 1}

@pytest.fixture
def aquila_huey():
    yield huey
    huey.storage.close()

@pytest.fixture
def aquila_huey_storage():
    return "own"

def test_here(perform_job, aquila_cassette):
    assert perform_job(describe, "here", MORE).value

@pytest.mark.parametrize("kind", ["thread", "process"])
def test_consumer(run_consumer, aquila_cassette, kind):
    with run_consumer(worker_type=kind) as consumer:
        assert consumer.wait(describe(kind, MORE))
"""


@pytest.mark.slow
def test_what_drifts_in_a_task_is_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huey")
    project.pytester.makepyfile(jobs=JOBS.replace("{file!r}", repr(str(project.pytester.path / "jobs.db"))))
    project.record(tests=TASKS).assert_outcomes(passed=3)
    monkeypatch.setenv("LATER", "1")
    # In a process of its own: a Huey class is not made twice in one.
    result = project.pytester.runpytest_subprocess("-p", "no:cacheprovider", "--aquila-drift=drift.json")
    result.assert_outcomes(passed=3)
    (group,) = json.loads((project.pytester.path / "drift.json").read_text())["groups"]
    assert [test.partition("::")[2] for test in group["tests"]] == [
        "test_consumer[process]",
        "test_consumer[thread]",
        "test_here",
    ]
    assert group["settings"] == ["aquila_ignore = n"]


def test_a_setting_that_a_mark_has_is_advised_at_the_mark(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = '@pytest.mark.aquila(ignore=[], normalize=["date"], repeat="error")\n'
    marked = TESTS.replace("def test_id(", f"{mark}def test_id(").replace("def test_twice(", f"{mark}def test_twice(")
    project.record("-k", "id or twice", tests=marked)
    report, _ = run_later(project, monkeypatch, "-k", "id or twice")
    assert [group["settings"] for group in report["groups"]] == [
        ["ignore=['user'] at the marker or use_cassette", "normalize=['date', 'uuid'] at the marker or use_cassette"],
        ["repeat='last' at the marker or use_cassette"],
    ]


IN_TOML = """
import app, uuid

def test_id(aquila_cassette):
    post("one", user=str(uuid.uuid4()))

def test_ids(aquila_cassette):
    post("two", user=str(uuid.uuid4()), thread={"id": str(uuid.uuid4())})

def test_child(aquila_cassette):
    assert app.post_in_fork("three", ref=str(uuid.uuid4())) == 0

def test_twice(aquila_cassette, request):
    for _ in range(1 + request.config.getoption("verbose")):
        post("four")
"""


def test_in_a_project_of_toml_settings_are_advised_so_that_they_can_be_typed_there(project: Project) -> None:
    head = "[tool.pytest.ini_options]\n"
    settings = project.pytester.path / "pyproject.toml"
    settings.write_text(head)
    project.record(tests=IN_TOML)
    missed = project.run("-v").stdout.str()
    assert 'aquila_ignore = "user"' in missed
    assert 'aquila_ignore = "ref"' in missed  # by the child
    assert 'say repeat="last" (aquila_repeat = "last").' in missed
    assert "(in pyproject.toml; at the marker or use_cassette: ignore=, normalize=)" in missed
    assert "in pytest's settings" not in missed
    project.run("-v", "--aquila-drift=drift.json")
    groups = json.loads((project.pytester.path / "drift.json").read_text())["groups"]
    advised = [group["settings"][0] for group in groups]
    assert 'aquila_repeat = "last"' in advised
    assert "aquila_ignore = '''\n    user\n    thread.id\n'''" in advised
    ignored = [path for each in advised for path in tomllib.loads(each).get("aquila_ignore", "").split()]
    settings.write_text(f"{head}aquila_repeat = 'last'\n" + "\n".join(setting_lines("ignore", ignored, settings.name)))
    project.run("-v").assert_outcomes(passed=4)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize(
    ("options", "status"),
    [
        (["--aquila-drift=/dev/full"], 0),
        (["--aquila-orphans=/dev/full"], 0),
        (["--aquila-verify", "--aquila-verify-json=/dev/full"], 4),
        (["--aquila-faults=overloaded", "--aquila-faults-json=/dev/full"], 4),
    ],
)
def test_a_report_for_which_the_disk_has_no_room_is_said_in_a_sentence(
    project: Project, options: list[str], status: int
) -> None:
    result = project.run(*options, tests="def test_it(aquila_cassette): pass")
    result.assert_outcomes(passed=1)
    assert result.ret == status
    result.stdout.fnmatch_lines(["aquila: /dev/full: the report was not written: No space left on device"])


def test_a_run_without_a_terminal_writes_the_files_that_its_options_name(project: Project) -> None:
    tests = "def test_it(aquila_cassette): post('one')"
    assert project.record("-p", "no:terminal", tests=tests).ret == 0
    project.run("-p", "no:terminal", "--aquila-drift=drift.json", "--aquila-orphans=unused.json")
    written = [json.loads((project.pytester.path / f"{name}.json").read_text()) for name in ("drift", "unused")]
    assert (written[0]["groups"], written[1]["complete"]) == ([], True)
