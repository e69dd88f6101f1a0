"""Tests that drifted and for which nothing is recorded yet: a review names them."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from aquila.cli import main
from aquila.pytest_settings import find_cache
from aquila.recording.reporting.unrecorded_tests import MOST_KEPT, UnrecordedTest, as_plain_data
from tests.plugin.conftest import Project

TESTS = """
def test_changed(aquila_cassette):
    post("{word}")

def test_same(aquila_cassette):
    post("the same")
"""


def review(project: Project, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["cassettes", "review", *words])
    return code, capsys.readouterr().out


def run(project: Project, word: str, *arguments: str, tests: str = TESTS) -> None:
    project.pytester.makepyfile(test_app="from app import post\n" + tests.format(word=word))
    options = ("-p", "no:xdist", f"--aquila-upstream={project.module}:transport", "-p", "no:randomly")
    project.pytester.runpytest_inprocess(*options, *arguments)


def test_a_test_that_drifted_is_named_until_something_is_recorded_for_it(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.pytester.makeini("[pytest]\n")
    run(project, "one", "--aquila-record")
    assert review(project, capsys, "--list") == (0, "nothing waits for a review\n")
    run(project, "two")
    told = (
        "1 test without an answer, and nothing is recorded yet:\n"
        "  test_app.py::test_changed  prompt: recorded 'one', now 'two'\n"
        "run pytest --aquila-record=pending test_app.py::test_changed\n"
    )
    assert told in review(project, capsys, "--list")[1]
    assert told in review(project, capsys)[1]
    assert told in review(project, capsys, "--list", "test_app/test_changed")[1]
    assert "without an answer" not in review(project, capsys, "--list", "test_app/test_sa*")[1]
    cassette = project.cassettes / "test_app" / "test_same.yaml"
    waiting = cassette.with_name("test_same.pending.yaml")
    waiting.write_bytes(cassette.read_bytes().replace(b"the same", b"another"))
    assert told in review(project, capsys, "--list", "test_app/test_changed")[1]  # by its name, beside what waits
    assert review(project, capsys, "--list", "test_app/test_other")[0] == 2
    waiting.unlink()
    (row,) = json.loads(review(project, capsys, "--list", "--json")[1])
    assert (row["kind"], row["tests"], row["id"]) == ("unrecorded", ["test_app.py::test_changed"], None)
    assert row["command"] == "pytest --aquila-record=pending test_app.py::test_changed"

    run(project, "two", "--aquila-record=pending", "test_app.py::test_changed")
    code, out = review(project, capsys, "--list")
    assert (code, "without an answer" in out) == (1, False)  # a question
    review(project, capsys, "--accept", "test_app/test_changed")
    run(project, "two")
    assert review(project, capsys, "--list") == (0, "nothing waits for a review\n")


def test_a_test_that_fails_is_not_named_after_what_it_recorded_was_accepted(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.pytester.makeini("[pytest]\n")
    run(project, "one", "--aquila-record")
    run(project, "two")
    failing = TESTS.replace('post("{word}")', 'assert not post("{word}")')
    run(project, "two", "--aquila-record", tests=failing)
    assert review(project, capsys, "--accept", "test_app/test_changed")[0] == 0
    assert review(project, capsys, "--list") == (0, "nothing waits for a review\n")
    run(project, "two", tests=failing.replace("the same", "another"))
    listed = review(project, capsys, "--list")[1]
    assert ["test_same" in listed, "test_changed" in listed] == [True, False]


def test_a_test_that_was_renamed_or_removed_since_is_not_named(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.pytester.makeini("[pytest]\n")
    run(project, "one", "--aquila-record")
    module = project.pytester.path / "test_app.py"
    module.write_text(module.read_text().replace("one", "two").replace("the same", "another"))
    project.pytester.runpytest_inprocess("-p", "no:xdist")  # both tests miss
    module.write_text(module.read_text().replace("test_changed", "test_renamed"))
    out = review(project, capsys, "--list")[1]
    assert "test_app.py::test_same" in out
    assert "test_changed" not in out
    module.unlink()
    assert review(project, capsys, "--list") == (0, "nothing waits for a review\n")


@pytest.mark.slow
def test_workers_remember_their_tests_too_and_the_cache_may_be_elsewhere(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.pytester.makeini("[pytest]\ncache_dir = elsewhere/cache\n")
    run(project, "one", "--aquila-record")
    project.pytester.makepyfile(test_app="from app import post\n" + TESTS.format(word="two"))
    project.pytester.mkdir("below")
    monkeypatch.chdir(project.pytester.path / "below")
    project.pytester.runpytest_subprocess("-n1", "..")
    assert "  ../test_app.py::test_changed  prompt: " in review(project, capsys, "--list")[1]


@pytest.mark.parametrize("folder", ["~/caches/mine", "$PLACE/cache", "~/$PLACE", "below/cache"])
def test_the_cache_is_looked_for_where_pytest_has_it(
    folder: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(pytester.path / "home"))
    monkeypatch.setenv("USERPROFILE", str(pytester.path / "home"))
    monkeypatch.setenv("PLACE", "place")
    pytester.makeini(f"[pytest]\ncache_dir = {folder}\n")
    cache = pytester.parseconfigure().cache
    assert cache is not None
    assert cache.mkdir("x").parent.parent == find_cache(pytester.path)


def test_nothing_of_a_cache_becomes_an_option_of_the_command(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.pytester.makeini("[pytest]\n")
    run(project, "one", "--aquila-record")
    options = ["-pevil::x", "./-pevil::x", "y/../-pevil::x", "@evil::x", ".//@evil::x"]
    for file in ("-pevil", "@evil"):
        project.pytester.path.joinpath(file).write_text("def x(): pass\n")
    project.pytester.mkdir("y")
    names = [*options, "--rootdir=/", "test_app.py::test_same[; rm \x1b[2J"]
    folder = project.pytester.path / ".pytest_cache" / "v"
    (folder / "aquila").mkdir(parents=True)
    row = {"cassettes": [["/etc", "../passwd"]], "change": "\x1b]0;owned\x07", "noted": 1}
    rows = dict.fromkeys(names, row)
    (folder / "aquila" / "unrecorded").write_text(json.dumps(rows))
    (folder / "cache" / "lastfailed").write_text(json.dumps(dict.fromkeys(names, True)))
    _, out = review(project, capsys, "--list")
    command = next(line for line in out.splitlines() if line.startswith("run pytest "))
    typed = ["./-pevil::x"] * 3 + ["./@evil::x"] * 2
    assert shlex.split(command)[2:] == ["--aquila-record=pending", *typed, "test_app.py::test_same[; rm \\x1b[2J"]
    assert "\x1b" not in out


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"test_app.py::test_x": 5}', '{"t": {"cassettes": [[1]], "change": 0}}']
)
def test_a_cache_that_is_damaged_says_nothing(
    content: str, project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.pytester.makeini("[pytest]\n")
    run(project, "one", "--aquila-record")
    folder = project.pytester.path / ".pytest_cache" / "v"
    (folder / "aquila").mkdir(parents=True)
    (folder / "aquila" / "unrecorded").write_text(content)
    (folder / "cache" / "lastfailed").write_text('{"test_app.py::test_x": true, "t": true}')
    assert review(project, capsys, "--list")[1] == "nothing waits for a review\n"


def test_what_is_remembered_is_bounded_and_the_latest_count() -> None:
    known: Any = {}
    for number in range(MOST_KEPT + 5):
        known = as_plain_data([UnrecordedTest(f"test_{number}", (), "")], known)
    known = as_plain_data([UnrecordedTest("test_7", (("cassettes", "a"),), "x")], known)
    assert (len(known), next(iter(known)), list(known)[-1]) == (MOST_KEPT, "test_5", "test_7")
