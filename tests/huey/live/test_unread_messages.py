"""What is published of messages that cannot be read, written or kept."""

from datetime import datetime, timedelta

import pytest

from aquila.errors import NotSerializable
from aquila.huey import MemoryHuey, MsgpackSerializer
from aquila.huey.live import publish_jobs, subscribe
from aquila.huey.live.summaries import JOBS_TABLE
from aquila.huey.state import state_of
from tests.huey.live.conftest import settle
from tests.huey.storages import Away, be_away

LATER = datetime(2999, 1, 1)


def make(secret, storage=None, **options):
    huey = MemoryHuey("jobs", serializer=MsgpackSerializer(secret=secret * 32), **options)
    if storage is not None:
        huey.storage = storage

    @huey.task()
    def job(*arguments):
        return arguments

    publish_jobs(huey, every=0.01)
    return huey, job


@pytest.fixture
def producer():
    return make("a")


def kinds_of(huey, result):
    huey.publisher.store.flush()
    return [event.kind for event in subscribe(huey, result, timeout=60)]


def test_due_tasks_are_not_lost_with_a_message_that_cannot_be_buried(producer, monkeypatch):
    huey, job = producer
    past = datetime.now() - timedelta(seconds=60)
    huey.add_schedule(job.s(1, eta=past))
    huey.storage.add_to_schedule(b"?", past)
    huey.add_schedule(job.s(2, eta=past))
    monkeypatch.setattr(type(state_of(huey)), "entries", be_away)
    assert sorted(task.args for task in huey.read_schedule()) == [(1,), (2,)]
    assert huey.storage.enqueued_items() == [b"?"]


def test_a_message_that_can_neither_be_buried_nor_enqueued_is_told(producer, monkeypatch, caplog):
    huey, _ = producer
    huey.storage.enqueue(b"?")
    monkeypatch.setattr(type(state_of(huey)), "entries", be_away)
    monkeypatch.setattr(huey.storage, "enqueue", be_away)
    with pytest.raises(Away):
        huey.dequeue()
    assert "a message in the queue 'jobs' can neither be read" in caplog.text


def test_a_job_that_cannot_be_serialized_is_not_listed(producer):
    huey, job = producer
    with pytest.raises(NotSerializable):
        job(object())
    assert state_of(huey).count(JOBS_TABLE) == 0


def test_jobs_in_immediate_mode_are_published(producer):
    huey, job = make("a", immediate=True)
    assert kinds_of(huey, job(1)) == ["queued", "started", "done"]
    settle(huey)
