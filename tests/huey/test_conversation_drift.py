"""A conversation that drifts within a task: the test runs once more, whichever worker executes it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

import aquila
from aquila.errors import ConversationDrifted
from aquila.huey import MemoryHuey
from aquila.huey.scopes.scope_sharing import collect_misses
from aquila.recording.reporting.child_messages import ChildMessages
from aquila.recording.reporting.described_misses import describe_miss
from aquila.recording.scope import current_scope
from tests.support.runs import separate_run
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


def test_a_drift_that_a_worker_tells_in_two_ways_names_its_conversation(tmp_path: Path) -> None:
    """The message over the queue, which may come first, does not name it."""
    huey = MemoryHuey("jobs")
    with separate_run(tmp_path, under_pytest=True) as run, aquila.use_cassette("one") as used:
        run.state_of(ChildMessages).make_folder(run)
        scope = current_scope()
        assert scope is not None
        drifted = ConversationDrifted("the conversation drifted")
        drifted.conversation = {"one": ["key"]}
        scope.child_messages.tell_miss(scope.id, drifted)
        huey.put(f"aquila.miss.{scope.id}.x", describe_miss(drifted))
        collect_misses(huey, scope)
        found = scope.misses.hear().drift
        assert found is not None
        assert found.conversation == {"one": ["key"]}
        assert len(used.misses) == 1
        used.forget_misses()
