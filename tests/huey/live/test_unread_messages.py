"""Whoever waits for a job whose message no worker can read is told so; and nobody ends another's job by a message."""

from datetime import datetime, timedelta

import pytest
from huey.exceptions import TaskException
from huey.registry import Message

from aquila.errors import MessageRejected, NotSerializable
from aquila.huey import MemoryHuey, MsgpackSerializer, dead_letters
from aquila.huey.live import publish_jobs, subscribe
from aquila.huey.live.summaries import JOBS_TABLE, decode_summary
from aquila.huey.state import state_of
from tests.huey.live.conftest import settle

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


def state_in(huey, result):
    huey.publisher.store.flush()
    return decode_summary(result.id, state_of(huey).get(JOBS_TABLE, result.id)).state


class Away(Exception):
    """What this storage raises while it is away."""


def fail(*arguments, **options):
    raise Away


def kinds_of(huey, result):
    huey.publisher.store.flush()
    return [event.kind for event in subscribe(huey, result, timeout=60)]


def test_due_tasks_are_not_lost_with_a_message_that_cannot_be_buried(producer, monkeypatch):
    huey, job = producer
    past = datetime.now() - timedelta(seconds=60)
    huey.add_schedule(job.s(1, eta=past))
    huey.storage.add_to_schedule(b"?", past)
    huey.add_schedule(job.s(2, eta=past))
    monkeypatch.setattr(type(state_of(huey)), "entries", fail)
    assert sorted(task.args for task in huey.read_schedule()) == [(1,), (2,)]
    assert huey.storage.enqueued_items() == [b"?"]


def test_a_message_that_can_neither_be_buried_nor_enqueued_is_told(producer, monkeypatch, caplog):
    huey, _ = producer
    huey.storage.enqueue(b"?")
    monkeypatch.setattr(type(state_of(huey)), "entries", fail)
    monkeypatch.setattr(huey.storage, "enqueue", fail)
    with pytest.raises(Away):
        huey.dequeue()
    assert "a message in the queue 'jobs' is lost" in caplog.text


def test_a_job_that_cannot_be_serialized_is_not_listed(producer):
    huey, job = producer
    with pytest.raises(NotSerializable):
        job(object())
    assert state_of(huey).count(JOBS_TABLE) == 0


def test_jobs_in_immediate_mode_are_published(producer):
    huey, job = make("a", immediate=True)
    assert kinds_of(huey, job(1)) == ["queued", "started", "done"]
    settle(huey)


class ReadsNoTasks(MsgpackSerializer):
    """That of a worker of an older version, to which fields are new."""

    def deserialize(self, data, purpose=None):
        value = super().deserialize(data, purpose)
        if isinstance(value, Message):
            raise MessageRejected("another version")
        return value


def make_believing(**options):
    """A Huey whose messages are not signed, and one at the same storage that cannot read what that one sends."""
    huey = MemoryHuey("jobs", **options)
    publish_jobs(huey, every=0.01)
    other = MemoryHuey("jobs", serializer=ReadsNoTasks())
    other.storage = huey.storage
    publish_jobs(other, every=0.01)
    return huey, other


@pytest.mark.parametrize("options", [{}, {"store_intermediate_errors": False}], ids=str)
@pytest.mark.parametrize("is_published", [False, True])
@pytest.mark.parametrize("knows_jobs", [False, True])
def test_a_retry_that_is_believed_and_cannot_be_read_ends_its_job(options, is_published, knows_jobs, monkeypatch):
    huey, other = make_believing(**options)
    if not knows_jobs:
        other.publisher = None

    @huey.task(retries=1, unique=True)
    def failing():
        raise ValueError

    result = failing()
    with monkeypatch.context() as patch:
        if not is_published:
            patch.setattr(huey.publisher.store, "flush", lambda: None)
        huey.execute(huey.dequeue())
        huey.publisher.store.flush()
        assert other.dequeue() is None
    if knows_jobs:
        other.publisher.store.flush()
    huey.publisher.store.flush()
    assert state_in(huey, result) == ("failed" if knows_jobs else "retrying")
    with pytest.raises(TaskException, match="TaskError"):
        result.get()
    failing()  # No other is kept out.
    assert huey.pending_count() == 1
    settle(huey)


def test_an_odd_copy_of_a_job_that_was_done_with_no_result_does_not_fail_it():
    huey, other = make_believing()

    @huey.task()
    def nothing():
        """Return None, which is not stored."""

    result = nothing()
    (message,) = huey.storage.enqueued_items()
    huey.execute(huey.dequeue())
    assert state_in(huey, result) == "done"
    other.storage.enqueue(message)
    assert other.dequeue() is None
    assert len(dead_letters(huey)) == 1
    assert result.get() is None
    assert state_in(other, result) == "done"
    settle(huey)


def test_a_retry_that_cannot_be_read_keeps_no_other_job_out_where_its_result_cannot_be_read_either():
    huey = MemoryHuey("jobs", serializer=MsgpackSerializer(compression=True))
    other = MemoryHuey("jobs")
    other.storage = huey.storage

    @huey.task(retries=1, unique=True)
    def failing(text):
        raise ValueError(text)  # long enough for its result to be compressed

    result = failing("x" * 2000)
    huey.execute(huey.dequeue())
    assert other.dequeue() is None
    with pytest.raises(TaskException, match="ValueError"):
        result.get()
    failing("x" * 2000)
    assert huey.pending_count() == 1
