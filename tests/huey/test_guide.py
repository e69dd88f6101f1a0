"""The whole jobs of docs/huey.md, as they stand there: in every kind of worker, on SQLite and Redis."""

import importlib.util

import pytest

from tests.docs.snippets import REPOSITORY, blocks
from tests.support.slow import nightly_but

FILES = [
    "llm_jobs.py",
    "store.py",
    "cassettes/jobs/generate_summary.script.yaml",
    "cassettes/jobs/stream_prompt.script.yaml",
    "tests/test_llm_jobs.py",
    "pirates.py",
    "tests/test_pirates.py",
    "essays.py",
    "tests/test_essays.py",
]

JOBS = """
from aquila.huey import RedisHuey, SqliteHuey
huey = {huey}
"""

ALL_JOBS = """
import essays, llm_jobs, pirates
from jobs import huey
"""

TESTS = """
import essays
import pirates
import pytest
import store
from jobs import huey
from llm_jobs import generate_summary, stream_prompt

@pytest.fixture
def aquila_huey_storage():
    return "own"

@pytest.mark.parametrize("worker", {workers!r})
def test_in_a_worker(worker, run_consumer):
    kind = worker.removeprefix("program ")
    with run_consumer(kind, subprocess=kind != worker and "all_jobs.huey", timeout=240) as consumer:
        texts = [{{"id": number, "body": "Hello"}} for number in range(3)]
        assert consumer.wait(*map(generate_summary, texts), stream_prompt("Tell me about eagles.")) == [0, 1, 2, 3]
    assert sorted(row[:2] for row in store.rows("summaries")[-3:]) == [[n, "Hello, in short."] for n in range(3)]
    assert store.rows("chat_logs")[-1] == ["Eagles ", "fly ", "high."]

@pytest.mark.parametrize("worker", {workers!r})
def test_streams_in_a_worker(worker, run_consumer, aquila_script, aquila_faults):
    aquila_script.when("was cut off").reply("wide sea.")  # Too short to be cut again.
    aquila_script.when("essay").reply("Eagles fly high above the wide blue sea and its coast.")
    aquila_script.when("Tell me about eagles").reply("Eagles fly high.")
    pirates.shown.clear()
    essays.shown.clear()
    kind = worker.removeprefix("program ")
    essay = essays.essay.s("eagles")
    essay.retry_delay = 0  # The page says 10 s.
    with run_consumer(kind, subprocess=kind != worker and "all_jobs.huey", timeout=240) as consumer:
        with aquila_faults.cut_stream(after=6) as cut:
            assert consumer.wait(huey.enqueue(essay)) == "Eagles fly high above the wide sea."
        assert cut.met == 1
        assert consumer.wait(pirates.tell("eagles")) == "Eagles fly high."
    if worker in ("thread", "greenlet"):  # Other processes have lists of their own.
        assert essays.shown == ["Eagles ", "fly ", "high ", "above ", "the ", "wide ", "sea."]
        assert pirates.shown == ["Eagles ", "fly ", "high."]
"""


def workers():
    found = ["thread", "process"]
    if importlib.util.find_spec("gevent"):
        found += ["greenlet", "program greenlet"]
    return found


@pytest.mark.parametrize("storage", nightly_but(["sqlite"], ["sqlite", "redis"]))
def test_the_whole_jobs_of_the_page_run_in_any_worker(pytester, request, monkeypatch, storage):
    written = {block.file: block.text for block in blocks(REPOSITORY / "docs/huey.md") if block.file}
    for name in FILES:
        path = pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written[name])
    if storage == "sqlite":
        huey = f"SqliteHuey('jobs', filename={str(pytester.path / 'jobs.db')!r}, fsync=False)"
    else:
        huey = f"RedisHuey('guide', url={request.getfixturevalue('redis_url')!r})"
    pytester.makepyfile(jobs=JOBS.format(huey=huey), all_jobs=ALL_JOBS)
    (pytester.path / "tests/test_workers.py").write_text(TESTS.format(workers=workers()))
    pytester.makeini("[pytest]\npythonpath = .\naquila_huey = jobs:huey\n")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=4 + 2 * len(workers()))
