"""``aquila_max_age``: old recordings are reported, fail their tests, or are recorded again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aquila.cassettes.model import Cassette, Interaction
from aquila.cassettes.storage.cassette_files import load_cassette, save_cassette
from aquila.recording.storing import interrupted_runs
from tests.plugin.conftest import Project

OLD = "2020-01-01T00:00:00Z"
TESTS = """
@pytest.mark.aquila("shared")
def test_a():
    post("a"), post("a"), post("b")

@pytest.mark.aquila("shared")
def test_b():
    post("c")
"""


def make_old(path: Path, *numbers: int) -> None:
    """Let the recordings with some answers be old."""
    rows = load_cassette(path).interactions
    aged = [replace(row, recorded=OLD) if answer_of(row) in numbers else row for row in rows]
    save_cassette(path, Cassette.from_interactions(aged))


def answer_of(row: Interaction) -> int:
    return int(row.response.body.split(b":")[1].split(b",")[0])


def answers(path: Path) -> list[tuple[int, bool]]:
    """What a cassette answers, and whether that is old."""
    rows = load_cassette(path).interactions
    return [(answer_of(row), row.recorded == OLD) for row in rows]


@pytest.mark.slow
def test_only_what_is_old_is_recorded_again_each_in_its_place(project: Project) -> None:
    project.record("-p", "no:randomly", tests=TESTS)
    shared = project.cassettes / "shared.yaml"
    make_old(shared, 1, 4)
    assert answers(shared) == [(1, True), (2, False), (3, False), (4, True)]
    project.pytester.makeini("[pytest]\naquila_max_age = 90d\n")
    failing = project.record("test_app.py::test_a", tests=TESTS.replace('post("b")', 'post("b")\n    assert 0'))
    failing.assert_outcomes(failed=1)
    assert answers(shared) == [(1, True), (2, False), (3, False), (4, True)]
    shared.with_name("shared.pending.yaml").unlink()
    skipped = project.record("test_app.py::test_a", tests=TESTS.replace('post("b")', 'post("b")\n    pytest.skip()'))
    skipped.assert_outcomes(skipped=1)
    assert answers(shared) == [(1, True), (2, False), (3, False), (4, True)]
    shared.with_name("shared.pending.yaml").unlink()
    before = len(project.calls)
    result = project.record("test_app.py::test_a", tests=TESTS)
    result.stdout.fnmatch_lines(["aquila: 1 replayed, 2 recorded, 0 missed*"])  # both of one request
    assert answers(shared) == [(before + 1, False), (before + 2, False), (3, False), (4, True)]
    project.record().stdout.fnmatch_lines(["aquila: 3 replayed, 1 recorded, 0 missed*"])
    assert [old for _, old in answers(shared)] == [False] * 4
    project.record().stdout.fnmatch_lines(["aquila: 4 replayed, 0 recorded, 0 missed*"])


def test_an_old_recording_fails_its_test_where_that_is_wanted(project: Project) -> None:
    tests = f"""{TESTS}
def test_own(aquila_cassette):
    post("own")

@pytest.fixture(scope="module")
def asked():
    return post("fixture")

def test_of_a_fixture(asked):
    pass

def test_of_a_block():
    with aquila.use_cassette("block"):
        post("block")
"""
    project.record("-p", "no:randomly", tests=tests)
    make_old(project.cassettes / "test_app" / "@asked.yaml", 6)
    make_old(project.cassettes / "test_app" / "test_own.yaml", 5)
    make_old(project.cassettes / "shared.yaml", 3)
    make_old(project.cassettes / "block.yaml", 7)
    project.pytester.makeini("[pytest]\naquila_max_age = 90d\naquila_outdated = fail\n")
    result = project.run()
    result.assert_outcomes(failed=3, passed=1, errors=1)
    for name in ("test_app/test_own", "block"):
        result.stdout.fnmatch_lines(
            [f"cassette {name}: a recording of 2020-01-01T00:00:00Z is * days old, and may be 90 days old*"]
        )
    assert "Record again what is old: pytest test_app.py::test_own --aquila-record" in result.stdout.str()
    project.record().assert_outcomes(passed=5)
    project.run().assert_outcomes(passed=5)


@pytest.mark.slow
def test_what_a_killed_run_recorded_again_replaces_nothing(project: Project) -> None:
    project.record(tests=TESTS)
    shared = project.cassettes / "shared.yaml"
    make_old(shared, 1, 2, 3, 4)
    before = answers(shared)
    project.pytester.makeini("[pytest]\naquila_max_age = 90d\n")
    killed = """
    import os

    @pytest.mark.aquila("shared")
    def test_a():
        if not (child := os.fork()):
            post("a"), post("b")
            os._exit(9)
        os.waitpid(child, 0)
        os._exit(9)
    """
    project.pytester.makepyfile(
        test_app="from app import post\nimport aquila, pytest\n" + killed.replace("\n    ", "\n")
    )
    project.pytester.runpytest_subprocess("--aquila-record", f"--aquila-upstream={project.module}:transport")
    assert interrupted_runs.recover_journals(project.cassettes).failures == []
    assert answers(shared) == before
    pending = answers(shared.with_name("shared.pending.yaml"))
    assert sorted(old for _, old in pending) == [False, False, True, True]


@pytest.mark.parametrize("year", ["1971", "2099"])
def test_recordings_are_as_old_as_they_are_whatever_clock_their_test_has(project: Project, year: str) -> None:
    tests = f"""
        import time_machine

        @time_machine.travel("{year}-01-01", tick=False)
        def test_it(aquila_cassette):
            post("a")
    """
    project.pytester.makeini("[pytest]\naquila_max_age = 90d\naquila_outdated = fail\n")
    project.record(tests=tests).assert_outcomes(passed=1)
    path = project.cassettes / "test_app" / "test_it.yaml"
    [row] = load_cassette(path).interactions
    assert not row.recorded.startswith(year)
    project.run().assert_outcomes(passed=1)
    make_old(path, 1)
    project.run().assert_outcomes(failed=1)
    project.record().assert_outcomes(passed=1)
    assert answers(path) == [(2, False)]
    project.run().assert_outcomes(passed=1)
