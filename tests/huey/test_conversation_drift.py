"""A conversation that drifts within a task: the test runs once more, whichever worker executes it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.support.slow import nightly_but
from tests.support.stateful_project import StatefulProject

pytest.importorskip("openai")
pytest.importorskip("httpcore2")

JOBS = """
    from app import *
    from aquila.huey import SqliteHuey

    huey = SqliteHuey("jobs", filename={file!r})

    @huey.task()
    def describe(last):
        return converse("What is an eagle?", "a bird", last)
    """

TESTS = """
    from jobs import describe, huey

    @pytest.fixture
    def aquila_huey():
        yield huey
        huey.storage.close()

    @pytest.fixture
    def aquila_huey_storage():
        return "own"
    """

RUNS = {
    "perform_job": """
        def test_it(perform_job, aquila_cassette):
            assert perform_job(describe, "it is large").value == "done after 2"
        """,
    "drain_queue": """
        def test_it(drain_queue, aquila_cassette):
            result = describe("it is large")
            drain_queue()
            assert result() == "done after 2"
        """,
    "threads": """
        def test_it(run_consumer, aquila_cassette):
            with run_consumer() as consumer:
                assert consumer.wait(describe("it is large")) == "done after 2"
        """,
    "processes": """
        def test_it(run_consumer, aquila_cassette):
            with run_consumer(worker_type="process") as consumer:
                assert consumer.wait(describe("it is large")) == "done after 2"
        """,
    "program": """
        def test_it(run_consumer, aquila_cassette):
            with run_consumer(subprocess="jobs.huey", timeout=240) as consumer:
                assert consumer.wait(describe("it is large")) == "done after 2"
        """,
}


@pytest.mark.parametrize("how", nightly_but(["perform_job", "threads", "program"], RUNS))
def test_a_conversation_of_a_task_is_recorded_anew(stateful: StatefulProject, tmp_path: Path, how: str) -> None:
    jobs = JOBS.format(file=str(tmp_path / "jobs.db"))
    stateful.pytester.makepyfile(jobs=textwrap.dedent(jobs))
    tests = textwrap.dedent(TESTS) + textwrap.dedent(RUNS[how])
    stateful.record(tests).assert_outcomes(passed=1)
    before, count = stateful.recordings(), len(stateful.server.seen)
    assert len(before) == count == 3
    stateful.api.restart()
    result = stateful.record(tests.replace("it is large", "it is very large"))
    assert result.parseoutcomes() == {"passed": 1, "rerun": 1}
    assert stateful.api.refused == []
    assert len(stateful.server.seen) == count + 3
    assert len(stateful.recordings()) == 3
    stateful.replays()
