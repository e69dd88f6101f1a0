"""Fixtures that several tests share: their requests belong to no one test."""

from __future__ import annotations

from aquila.cassettes.store import load
from tests.plugin.conftest import Project

TESTS = """
pytestmark = pytest.mark.aquila

@pytest.fixture(scope="module")
def summary():
    return post("summary")

def test_one(summary):
    assert post("one")

def test_two(summary):
    assert post("two")
"""


def bodies(project: Project, name: str) -> list[bytes]:
    return [row.request.body for row in load(project.cassettes / "test_app" / f"{name}.yaml").interactions]


def test_a_shared_fixture_has_a_cassette_of_its_own(project: Project) -> None:
    project.record(tests=TESTS).assert_outcomes(passed=2)
    assert bodies(project, "@summary") == [b'{"prompt":"summary"}']
    assert bodies(project, "test_one") == [b'{"prompt":"one"}']
    result = project.run()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["aquila: 3 replayed, 0 recorded, 0 missed*"])


def test_each_test_replays_alone_and_recording_one_keeps_what_the_others_need(project: Project) -> None:
    project.record(tests=TESTS)
    project.run("-k", "test_two").assert_outcomes(passed=1)
    project.record("-k", "test_two").assert_outcomes(passed=1)
    project.run().assert_outcomes(passed=2)
    assert len(project.calls) == 3


def test_a_miss_that_a_shared_fixture_swallows_fails_its_tests(project: Project) -> None:
    swallowing = TESTS.replace(
        'return post("summary")', "try:\n        post('summary')\n    except Exception:\n        return None"
    )
    result = project.run("-k", "test_one", tests=swallowing)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*No recording answers this request*", "*@summary.yaml*"])


def test_without_the_marker_a_shared_fixture_is_told_to_name_its_cassette(project: Project) -> None:
    result = project.run(tests=TESTS.replace("pytestmark = pytest.mark.aquila", ""))
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*as a fixture that several tests share must*"])
