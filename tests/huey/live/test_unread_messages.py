"""Whoever waits for a job whose message no worker can read is told so; and nobody ends another's job by a message."""

from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
from huey.exceptions import TaskException
from huey.registry import Message

from aquila.errors import MessageRejected, NotSerializable
from aquila.huey import MemoryHuey, MsgpackSerializer, dead_letters
from aquila.huey.delivery.dead_letters import identify_message
from aquila.huey.live import publish_jobs, subscribe, unread_messages
from aquila.huey.live.summaries import JOBS_TABLE, decode_summary
from aquila.huey.live.unread_messages import UnreadMessages
from aquila.huey.state import state_of
from aquila.huey.telemetry.queue_time import note_enqueue_times
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


@pytest.fixture
def stranger(producer):
    """A worker with another secret."""
    huey, _ = made = make("b", producer[0].storage)
    yield made
    settle(huey)


def enqueue_scheduled(huey):
    for task in huey.read_schedule(LATER):
        huey.enqueue(task)


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


def test_who_follows_a_job_that_no_worker_can_read_is_told(producer, stranger):
    huey, job = producer
    result = job(1)
    assert stranger[0].dequeue() is None
    assert kinds_of(stranger[0], result) == ["queued", "failed"]
    with pytest.raises(MessageRejected):  # The result is as foreign to its reader as the message was to the worker.
        result.get(blocking=True, timeout=60)
    letter = dead_letters(huey).get(result.id)
    assert (letter.kind, letter.task_id, letter.task_name) == ("unreadable", result.id, f"{__name__}.job")


def test_a_retry_finds_a_worker_that_can_read_it_or_is_told_of_again(producer, stranger):
    huey, job = producer
    result = job(1)
    for _ in range(2):
        assert stranger[0].dequeue() is None
        stranger[0].publisher.store.flush()
        dead_letters(huey).retry(result.id)
    huey.execute(huey.dequeue())
    huey.publisher.store.flush()
    summary = decode_summary(result.id, state_of(huey).get(JOBS_TABLE, result.id))
    assert (summary.state, summary.message) == ("done", "")
    settle(huey)


@pytest.mark.parametrize("delay", [0, 60])
def test_a_retry_that_no_worker_can_read_ends_its_job(producer, stranger, delay):
    huey, _ = producer

    @huey.task(retries=1, retry_delay=delay)
    def failing():
        raise ValueError

    result = failing()
    huey.execute(huey.dequeue())
    assert state_in(huey, result) == "retrying"
    enqueue_scheduled(huey)
    assert stranger[0].dequeue() is None
    assert [letter.task_id for letter in dead_letters(huey)] == [result.id]
    assert state_in(stranger[0], result) == "failed"
    dead_letters(huey).retry(result.id)
    huey.execute(huey.dequeue())
    assert state_in(huey, result) == "retrying"  # It has its retries again.
    enqueue_scheduled(huey)
    (message,) = huey.storage.enqueued_items()
    huey.execute(huey.dequeue(), LATER)
    assert state_in(huey, result) == "failed"
    assert UnreadMessages().find_job(state_of(huey), identify_message(message)) is None
    settle(huey)


def test_each_of_several_jobs_is_found_also_those_that_come_later(producer, stranger):
    _, job = producer
    results = [job(number) for number in range(3)]
    for _ in range(2):
        assert stranger[0].dequeue() is None
        results.append(job(7))
        assert all(kinds_of(stranger[0], result) == ["queued", "failed"] for result in results[:3])


def test_the_job_of_a_message_is_found_beyond_the_first_page(producer, monkeypatch):
    monkeypatch.setattr("aquila.huey.live.unread_messages._AT_ONCE", 2)
    monkeypatch.setattr("aquila.huey.live.unread_messages._SLACK", 0.0)
    huey, job = producer
    monkeypatch.setattr(huey.publisher.clock, "now", lambda: 5.0)  # all at the same time
    results = [job(number) for number in range(7)]
    unread = UnreadMessages()
    for result, message in zip(results, huey.storage.enqueued_items(), strict=True):
        assert unread.find_job(state_of(huey), identify_message(message)).id == result.id


def test_a_copy_of_the_message_of_a_job_that_has_ended_finds_no_job(producer):
    huey, job = producer
    results = [job(1), job(2)]
    messages = huey.storage.enqueued_items()
    unread = UnreadMessages()
    assert unread.find_job(state_of(huey), identify_message(messages[0])).id == results[0].id
    for _ in results:
        huey.execute(huey.dequeue())
    huey.publisher.store.flush()
    assert unread.find_job(state_of(huey), identify_message(messages[1])) is None
    settle(huey)


def test_the_job_of_a_message_is_found_though_the_clock_was_put_back(producer, monkeypatch):
    huey, job = producer
    state, clock = state_of(huey), [2e9, 0.0]
    monkeypatch.setattr(state, "now", lambda: clock[0])
    monkeypatch.setattr(unread_messages, "time", SimpleNamespace(monotonic=lambda: clock[1]))
    monkeypatch.setattr(huey.publisher.clock, "now", lambda: clock[0])
    unread = UnreadMessages()

    def find():
        huey.storage.flush_queue()
        result = job(1)
        (message,) = huey.storage.enqueued_items()
        clock[0], clock[1] = clock[0] + 600, clock[1] + 600  # It is read later.
        return unread.find_job(state, identify_message(message)).id == result.id

    assert find()
    clock[0] -= 3600
    assert [find() for _ in range(8)] == [True] * 8


def test_a_message_that_only_says_whose_it_is_ends_no_job(producer, stranger):
    huey, job = producer
    result = job(1)
    forger, forged = make("c", huey.storage)
    forger.publisher = None
    (message,) = huey.storage.enqueued_items()
    huey.storage.flush_queue()
    forger.enqueue(forged.s(1, id=result.id))
    assert stranger[0].dequeue() is None
    huey.storage.enqueue(message)
    huey.execute(huey.dequeue())
    assert result.get() == (1,)
    assert kinds_of(huey, result) == ["queued", "started", "done"]
    settle(huey)


@pytest.mark.parametrize("fails", ["get", "entries"])
@pytest.mark.parametrize("keep_running", [False, True])
def test_a_storage_that_fails_at_the_search_leaves_the_message_and_its_job(producer, monkeypatch, fails, keep_running):
    huey, job = producer
    result = job(1)
    stranger, _ = make("b", huey.storage, keep_running=keep_running)
    with monkeypatch.context() as away:
        ask = getattr(type(state_of(stranger)), fails)
        away.setattr(
            type(state_of(stranger)),
            fails,
            lambda self, table, *rest, **options: fail() if table == JOBS_TABLE else ask(self, table, *rest, **options),
        )
        with pytest.raises(Away):
            stranger.dequeue()
    assert (huey.storage.queue_size(), len(dead_letters(huey))) == (1, 0)
    monkeypatch.setattr("aquila.huey.live.unread_messages._SLACK", -1e9)  # What was read is not read again.
    assert stranger.dequeue() is None
    assert [letter.task_id for letter in dead_letters(huey)] == [result.id]
    assert state_in(stranger, result) == "failed"
    settle(stranger)


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


def test_a_job_that_was_begun_is_found_no_more(producer, stranger):
    huey, job = producer
    job(1)
    (message,) = huey.storage.enqueued_items()
    huey.execute(huey.dequeue())
    huey.publisher.store.flush()
    assert UnreadMessages().find_job(state_of(huey), identify_message(message)) is None
    settle(huey)


def test_a_job_that_cannot_be_serialized_is_not_listed(producer):
    huey, job = producer
    with pytest.raises(NotSerializable):
        job(object())
    assert state_of(huey).count(JOBS_TABLE) == 0


def test_jobs_in_immediate_mode_are_published(producer):
    huey, job = make("a", immediate=True)
    assert kinds_of(huey, job(1)) == ["queued", "started", "done"]
    settle(huey)


def test_a_retry_that_is_read_before_it_is_published_ends_its_job_when_it_is(producer, stranger, monkeypatch):
    huey, _ = producer

    @huey.task(retries=1)
    def failing():
        raise ValueError

    result = failing()
    with monkeypatch.context() as patch:
        patch.setattr(huey.publisher.store, "flush", lambda: None)
        huey.execute(huey.dequeue())
        assert stranger[0].dequeue() is None
        assert [letter.task_id for letter in dead_letters(huey)] == [None]
    huey.publisher.store.flush()
    assert [letter.task_id for letter in dead_letters(huey)] == [result.id]
    assert state_in(huey, result) == "failed"
    settle(huey)


def hand_back(huey):
    task = huey.dequeue()
    huey.publisher.store.flush()
    huey.tasks_in_hand.interrupt(task)


def wait_in_schedule(huey):
    huey.add_schedule(huey.dequeue())
    enqueue_scheduled(huey)


@pytest.mark.parametrize("again", [hand_back, wait_in_schedule])
def test_a_job_whose_message_was_enqueued_once_more_is_found_by_that(producer, stranger, again):
    huey, job = producer
    note_enqueue_times(huey)
    result = job.schedule((1,), delay=60)
    (first,) = huey.storage.enqueued_items()
    again(huey)
    assert huey.storage.enqueued_items() != [first]
    assert stranger[0].dequeue() is None
    assert [letter.task_id for letter in dead_letters(huey)] == [result.id]
    assert state_in(stranger[0], result) == "failed"
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
    if knows_jobs or not is_published:  # Else nobody is left to publish it.
        assert state_in(huey, result) == "failed"
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


def test_the_message_of_a_job_is_noted_also_where_another_process_changes_the_job_meanwhile(producer, monkeypatch):
    huey, job = producer
    result, state = job(), state_of(huey)
    get = state.get

    def get_before_a_change(table, key):
        value = get(table, key)
        monkeypatch.setattr(state, "get", get)
        summary = decode_summary(result.id, value)
        summary.arguments = "changed"
        state.put(table, key, summary.encode(), order=summary.changed)
        return value

    monkeypatch.setattr(state, "get", get_before_a_change)
    huey.publisher.store.note_message(result.id, "an identity")
    summary = decode_summary(result.id, state.get(JOBS_TABLE, result.id))
    assert (summary.message, summary.arguments) == ("an identity", "changed")
