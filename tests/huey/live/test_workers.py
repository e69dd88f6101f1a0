"""The workers that the page shows. With ``keep_running`` they are gone when their jobs may be taken over."""

import json
import uuid
from types import SimpleNamespace

import pytest
from huey.serializer import Serializer

from aquila.huey.live import event_writer, publish_jobs
from aquila.huey.live.job_index import JobIndex
from aquila.huey.live.pausing import pause_queue
from aquila.huey.live.summaries import JOBS_TABLE
from aquila.huey.live.worker_heartbeats import WORKERS_TABLE, read_workers
from aquila.huey.state import state_of
from tests.huey.live.conftest import consumer, settle
from tests.huey.programs import wait_until
from tests.huey.sample_tasks import returning


@pytest.fixture
def kept(make_aquila_huey):
    huey = make_aquila_huey("sqlite", keep_running=True)
    publish_jobs(huey, every=0.01, heartbeat=0.02)
    yield huey
    settle(huey)


def state_on_page(huey, result):
    index = JobIndex(huey)
    index.refresh()
    (summary,) = index.load([result.id])
    return index.state_of_job(summary)


def test_a_worker_forgets_the_oldest_jobs_and_the_workers_of_long_ago(published, monkeypatch):
    monkeypatch.setattr(event_writer, "_PRUNE_EVERY", 0.01)
    huey = published("sqlite", heartbeat=0.02, keep=2)
    state = state_of(huey)
    state.put(WORKERS_TABLE, "long ago", b"{}", order=state.now() - 4000)
    job = returning(huey, 1)
    with consumer(huey):
        results = [job() for _ in range(5)]
        assert [result.get(blocking=True, timeout=60) for result in results] == [1] * 5
        wait_until(lambda: state.count(JOBS_TABLE) == 2)
        wait_until(lambda: state.get(WORKERS_TABLE, "long ago") is None)
        assert [row.is_alive for row in read_workers(huey)] == [True]


def test_the_page_says_that_a_worker_is_gone_when_its_jobs_are_taken_over_and_not_before(kept):
    about = {"host": "h", "pid": 1, "every": 0.1, "workers": 1, "running": 0}
    state = state_of(kept)
    for silent_for, is_alive in ((25.0, True), (35.0, False)):
        state.put(WORKERS_TABLE, "h:1:a", json.dumps(about).encode(), order=state.now() - silent_for)
        assert [(row.key, row.is_alive) for row in read_workers(kept)] == [("h:1:a", is_alive)]


def test_a_worker_on_a_paused_queue_goes_on_to_show_itself(kept):
    pause_queue(kept)
    with consumer(kept, workers=2):
        wait_until(lambda: [row.workers for row in read_workers(kept)] == [2])
        first = read_workers(kept)[0].seen
        wait_until(lambda: read_workers(kept)[0].seen > first)
    assert read_workers(kept) == []


def test_a_job_whose_id_is_no_text_is_shown_as_running_by_its_worker(kept):
    kept.serializer = Serializer()  # As of a Huey that was given to `instrument`.
    seen = []

    @kept.task()
    def job():
        wait_until(lambda: state_on_page(kept, result) == "running")
        seen.append(True)

    task = job.s(id=uuid.uuid4())
    result = SimpleNamespace(id=str(task.id))
    with consumer(kept):
        kept.enqueue(task)
        wait_until(lambda: seen)


def test_a_process_that_has_no_worker_shows_itself_too(kept):
    seen = []

    @kept.task()
    def job():
        wait_until(lambda: state_of(kept).count(WORKERS_TABLE))
        seen.extend(read_workers(kept))

    job()
    kept.execute(kept.dequeue())
    assert [(row.workers, row.is_alive) for row in seen] == [(0, True)]
