"""The workers that the page shows. With ``keep_running`` it goes by the heartbeats that the rescuer goes by."""

import json
import threading
import uuid
from types import SimpleNamespace

import pytest
from huey.serializer import Serializer

from aquila.huey import list_consumers, requeue_lost_tasks
from aquila.huey.delivery.choosing_copies import copies_of
from aquila.huey.delivery.consumer_heartbeats import CONSUMERS
from aquila.huey.live import event_writer, publish_jobs
from aquila.huey.live.job_index import JobIndex
from aquila.huey.live.pausing import pause_queue
from aquila.huey.live.summaries import JOBS_TABLE
from aquila.huey.live.worker_heartbeats import WORKERS_TABLE, read_workers
from aquila.huey.state import state_of
from tests.huey.live.conftest import consumer, settle
from tests.huey.programs import wait_until


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

    @huey.task()
    def job():
        return 1

    with consumer(huey):
        results = [job() for _ in range(5)]
        assert [result.get(blocking=True, timeout=60) for result in results] == [1] * 5
        wait_until(lambda: state.count(JOBS_TABLE) == 2)
        wait_until(lambda: state.get(WORKERS_TABLE, "long ago") is None)
        assert [row.is_alive for row in read_workers(huey)] == [True]


def test_a_worker_with_keep_running_is_shown_by_that_heartbeat_alone(kept):
    went_on = threading.Event()

    @kept.task()
    def job():
        went_on.wait(60)
        return 1

    with consumer(kept, workers=2):
        result = job()
        wait_until(lambda: [row.workers for row in read_workers(kept)] == [2])
        wait_until(lambda: state_on_page(kept, result) == "running")
        (shown,) = list_consumers(kept)
        (row,) = read_workers(kept)
        assert (row.host, row.pid, row.is_alive) == (shown.host, shown.pid, True)
        kept.tasks_in_hand.kept.life.beat()
        assert read_workers(kept)[0].running == (result.id,)
        assert state_of(kept).count(WORKERS_TABLE) == 0
        went_on.set()
        assert result.get(blocking=True, timeout=60) == 1
    settle(kept)
    assert read_workers(kept) == list_consumers(kept) == []


def test_the_page_says_that_a_worker_is_gone_when_its_jobs_are_taken_over_and_not_before(kept):
    @kept.task()
    def job():
        return 1

    result = job()
    copies_of(kept).take("other", ())
    about = {"host": "h", "pid": 1, "started": 1.0, "worker": "h:1:a", "workers": 1, "running": [result.id]}
    state = state_of(kept)
    for silent_for, is_alive, taken_over in ((25.0, True, []), (35.0, False, [result.id])):
        state.put(CONSUMERS, "other", json.dumps(about).encode(), order=state.now() - silent_for)
        assert [(row.key, row.is_alive) for row in read_workers(kept)] == [("h:1:a", is_alive)]
        assert requeue_lost_tasks(kept) == taken_over
    assert read_workers(kept) == []


@pytest.mark.parametrize("written", [b"5", b"[", b'{"worker": 1}', b'{"worker": "a", "host": 1, "pid": "b"}', b"\xff"])
def test_foreign_entries_among_the_consumers_are_left_out(kept, written):
    state = state_of(kept)
    state.put(CONSUMERS, "odd", written, order=state.now())
    state.put(CONSUMERS, "plain", json.dumps({"host": "h", "pid": 1, "started": 1.0}).encode(), order=state.now())
    assert read_workers(kept) == []


def test_a_worker_that_begins_on_a_paused_queue_goes_on_to_show_itself(kept):
    pause_queue(kept)
    kept.lost_after = 0.1
    for begin in kept._startup.values():  # As a process does that is a worker, with no scheduler in it.
        begin()
    try:
        assert kept.dequeue() is None
        wait_until(lambda: [row.workers for row in read_workers(kept)] == [1])
        first = list_consumers(kept)[0].seen
        wait_until(lambda: list_consumers(kept)[0].seen > first)
    finally:
        for end in kept._shutdown.values():
            end()
    assert list_consumers(kept) == []


def raise_oddly():
    raise RuntimeError("odd")


@pytest.mark.parametrize("describe", [raise_oddly, lambda: {"running": [uuid.uuid4()]}], ids=["raises", "is no JSON"])
def test_a_heartbeat_is_shown_though_nothing_can_be_said_for_the_page(kept, describe, monkeypatch, caplog):
    job = kept.task()(lambda: 1)
    job()
    life = kept.tasks_in_hand.kept.life
    monkeypatch.setattr(life, "_describe", describe)
    task = kept.dequeue()
    life.beat()
    assert [consumer.id for consumer in list_consumers(kept)] == [life.id]
    assert caplog.text.count("cannot say on the page") == 1
    assert kept.execute(task) == 1
    kept.notify_interrupted_tasks()


def test_a_job_whose_id_is_no_text_is_shown_as_running_by_its_worker(kept):
    kept.serializer = Serializer()  # As of a Huey that was given to `instrument`.
    seen = []

    @kept.task()
    def job():
        wait_until(lambda: state_on_page(kept, result) == "running")
        kept.tasks_in_hand.kept.life.beat()
        seen.extend(row.running for row in read_workers(kept))

    task = job.s(id=uuid.uuid4())
    result = SimpleNamespace(id=str(task.id))
    with consumer(kept):
        kept.enqueue(task)
        wait_until(lambda: seen)
    assert seen == [(result.id,)]


def test_a_process_that_has_no_worker_shows_itself_as_without_keep_running(kept):
    seen = []

    @kept.task()
    def job():
        wait_until(lambda: state_of(kept).count(WORKERS_TABLE))
        seen.extend(read_workers(kept))

    job()
    kept.execute(kept.dequeue())
    assert [(row.workers, row.is_alive) for row in seen] == [(0, True)]
