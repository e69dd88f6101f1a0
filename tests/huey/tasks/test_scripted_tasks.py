"""A task gets the answers that the script of its test has for it, in any worker."""

import pytest

APP = """
import os
import aquila
from aquila.huey import instances

HERE = os.path.dirname(os.path.abspath(__file__))
huey = instances.SqliteHuey("app", filename=os.path.join(HERE, "q.db"))

@huey.task(retries=1)
def summarize(text):
    return aquila.ask(text).text
"""

TESTS = """
import pytest
from app import summarize

WORKERS = ["thread", "process", "program"]

def run(run_consumer, worker):
    return run_consumer("process" if worker == "process" else "thread", subprocess=worker == "program", timeout=60)

@pytest.mark.parametrize("worker", WORKERS)
def test_by_the_fixture(worker, run_consumer, aquila_script):
    aquila_script.error(500).reply("Short.")
    aquila_script.when("long").reply("Longer.")
    with run(run_consumer, worker) as consumer:
        assert consumer.wait(summarize("x")) == "Short."
        assert consumer.wait(summarize("long")) == "Longer."
    assert [request.text for request in aquila_script.requests] == ["x", "x", "long"]

@pytest.mark.aquila("scripts/summaries")
@pytest.mark.parametrize("worker", WORKERS)
def test_by_a_file(worker, run_consumer):
    with run(run_consumer, worker) as consumer:
        assert [consumer.wait(summarize(text)) for text in "abc"] == ["one", "two", "three"]

@pytest.mark.aquila("scripts/any", faults="unauthorized")
@pytest.mark.parametrize("worker", WORKERS)
def test_a_task_runs_again_after_a_fault(worker, run_consumer):
    with run(run_consumer, worker) as consumer:
        assert [consumer.wait(summarize(text)) for text in "aab"] == ["any"] * 3

@pytest.mark.aquila("scripts/any")
@pytest.mark.parametrize("worker", WORKERS)
def test_faults_of_blocks(worker, run_consumer, aquila_faults):
    with run(run_consumer, worker) as consumer:
        for _ in range(2):
            with aquila_faults.unauthorized() as plan:
                assert [consumer.wait(summarize("a")) for _ in range(2)] == ["any", "any"]
            assert plan.met == 1

def test_what_is_unanswered_fails_the_test(run_consumer, aquila_script):
    with run(run_consumer, "program") as consumer:
        consumer.wait(summarize("x"))
"""


@pytest.mark.long(20)
@pytest.mark.slow
def test_any_worker_gets_the_answers_of_the_test(pytester, monkeypatch):
    pytester.makepyfile(app=APP, test_app=TESTS)
    scripts = pytester.mkdir("cassettes") / "scripts"
    scripts.mkdir()
    (scripts / "summaries.script.yaml").write_text("script:\n- reply: one\n- reply: two\n- reply: three\n")
    (scripts / "any.script.yaml").write_text("script:\n- when: {model: '*'}\n  reply: any\n")
    pytester.makeini("[pytest]\npythonpath = .\naquila_huey = app:huey\naquila_huey_storage = own\n")
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=12, failed=1)
    result.stdout.fnmatch_lines(["*no answer is scripted for POST https://api.openai.com/v1/chat/completions*"])
