"""What a task asks in vain ends the test's waiting at once, and is what the test fails with; in any worker."""

import importlib.util
import os

import pytest

from tests.support.slow import nightly_but

APP = """
import os, sys, time, urllib.request
import aquila
from aquila.huey import SqliteHuey

HERE = os.path.dirname(os.path.abspath(__file__))
huey = SqliteHuey("app", filename=os.path.join(HERE, "q.db"), fsync=False)

def ask(prompt):
    return aquila.ask(prompt, model="m", api_key="-", endpoint="chat").text

@huey.task(retries=3, retry_delay=7200)
def retried(prompt):
    return ask(prompt)

@huey.task()
def swallowing(prompt):
    try:
        ask(prompt)
    except Exception:
        pass
    # A greenlet that sleeps without gevent would stop the test, too.
    sleep = sys.modules["gevent"].sleep if "gevent" in sys.modules else time.sleep
    while not os.path.exists(os.path.join(HERE, "go on")):
        sleep(0.01)

@huey.task(retries=3, retry_delay=7200)
def refused():
    urllib.request.urlopen("https://api.openai.com/v1/models")

@huey.task(retries=1)
def failing():
    raise ValueError("boom")
"""

TESTS = """
import os, time
import pytest
from app import HERE, failing, refused, retried, swallowing

def in_consumer(run_consumer, ask):
    with run_consumer(**{worker!r}, timeout=600) as consumer:
        result, began = ask(), time.monotonic()
        try:
            consumer.wait(result, timeout={limit})
        finally:
            open(os.path.join(HERE, "go on"), "w").close()
            with open(os.path.join(HERE, "waits"), "a") as waits:
                print("at once" if time.monotonic() - began < {limit} else "to the end", file=waits)

def test_retried(run_consumer, aquila_cassette):
    in_consumer(run_consumer, lambda: retried("hi"))

def test_swallowed(run_consumer, aquila_cassette):
    in_consumer(run_consumer, lambda: swallowing("hi"))

def test_refused(run_consumer):
    in_consumer(run_consumer, refused)

def test_failed(run_consumer):
    with run_consumer(**{worker!r}, timeout=600):
        failing()
"""

LIMIT = 120
"""Seconds for which a test waits for its task, if nothing ends that. The wait is then no shorter."""

WORKERS = {
    "thread": {},
    "program": {"subprocess": True},
    "processes of a program": {"subprocess": True, "worker_type": "process"},
}
if hasattr(os, "fork"):
    WORKERS["process"] = {"worker_type": "process"}
if importlib.util.find_spec("gevent") is not None:
    WORKERS["greenlet"] = {"worker_type": "greenlet"}
    WORKERS["greenlets of a program"] = {"subprocess": True, "worker_type": "greenlet"}
# By day each kind is tried in one of the two tests, and the one that is most apart from its test in both.
COUNTED_BY_DAY = [kind for kind in ("process", "processes of a program") if kind in WORKERS]
MISSING_BY_DAY = [kind for kind in WORKERS if kind not in ("process", "program")]


@pytest.fixture
def project(pytester, monkeypatch):
    pytester.makepyfile(app=APP)
    pytester.makeini("[pytest]\npythonpath = .\naquila_huey = app:huey\naquila_huey_storage = own\n")
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    return pytester


@pytest.mark.parametrize("worker", nightly_but(MISSING_BY_DAY, WORKERS))
def test_a_miss_and_a_refusal_end_the_waiting_and_are_the_headline(project, worker):
    project.makepyfile(test_app=TESTS.format(worker=WORKERS[worker], limit=LIMIT))
    failed = "ValueError: boom" if worker in ("thread", "greenlet") else "aquila.errors.RemoteTaskError: *"
    result = project.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider")
    result.assert_outcomes(failed=4)
    assert (project.path / "waits").read_text().splitlines() == ["at once"] * 3
    result.stdout.fnmatch_lines(
        [
            "FAILED test_app.py::test_retried - CassetteMiss: nothing is *",
            "FAILED test_app.py::test_swallowed - CassetteMiss: nothing is *",
            "FAILED test_app.py::test_refused - LiveCallRefused: GET https://api.*",
            f"FAILED test_app.py::test_failed - {failed}",
            "aquila: 2 tests ask what is not recorded: test_app.py::test_retried,",
            "  test_app.py::test_swallowed. To record:",
            "aquila: 0 replayed, 0 recorded, 2 missed",
        ]
    )
    result.stdout.no_fnmatch_line("*This is a child process*")  # a job need not use the cassette of its worker


@pytest.mark.long(15)
@pytest.mark.parametrize("worker", nightly_but(COUNTED_BY_DAY, WORKERS))
def test_the_summary_counts_what_other_processes_replayed_and_recorded(project, worker):
    project.makepyfile(
        provider="""
        import httpx2

        ANSWER = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello."}}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}

        def transport():
            return httpx2.MockTransport(lambda request: httpx2.Response(200, json=ANSWER))
        """,
        test_app=f"""
        from app import ask, retried

        def test_asks(run_consumer, aquila_cassette):
            assert ask("hi") == "Hello."
            with run_consumer(**{WORKERS[worker]!r}, timeout=600) as consumer:
                assert consumer.wait(retried("hi"), retried("hi"), retried("ho")) == ["Hello."] * 3
        """,
    )
    result = project.runpytest_subprocess(
        "-W", "error", "-p", "no:cacheprovider", "--aquila-record", "--aquila-upstream=provider:transport"
    )
    result.stdout.fnmatch_lines(["aquila: 0 replayed, 4 recorded, 0 missed"])
    result = project.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["aquila: 4 replayed, 0 recorded, 0 missed; saved * and 28 tokens"])
