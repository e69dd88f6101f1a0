"""Copies of running tasks: taken with the message in one step, given up for what became of the task in one step."""

import datetime as dt
import threading

import pytest
from huey import Huey as PlainHuey
from huey.storage import BlackHoleStorage, FileStorage

from aquila import huey as classes
from aquila.errors import ConfigError
from aquila.huey import MsgpackSerializer, instrument
from aquila.huey.delivery.choosing_copies import copies_of
from tests.huey.sample_tasks import returning
from tests.huey.storages import WITH_COPIES, ExpiringHuey
from tests.support.slow import slow_but
from tests.support.threads import run_at_once

SOON = dt.datetime(2026, 1, 1, 12, 0, 0)
LATER = dt.datetime(2026, 1, 1, 13, 0, 0)


@pytest.fixture(params=slow_but(["sqlite", "redis"], WITH_COPIES))
def huey(request, make):
    return make(request.param)


def test_a_copy_is_kept_until_an_outcome_replaces_it(huey):
    copies, storage = copies_of(huey), huey.storage
    for number in range(5):
        storage.enqueue(b"message %d" % number)
    taken = [copies.take("one", ()) for _ in range(5)]
    assert copies.take("one", ()) is None
    assert [copy.data for copy in taken] == [b"message %d" % number for number in range(5)]
    assert set(copies.list_copies("one")) == set(taken)
    assert copies.list_copies("two") == []
    assert copies.move_to_queue(taken[0], b"again", None)
    assert copies.move_to_schedule(taken[1], b"later", LATER)
    assert copies.move_to_results(taken[2], "id", b"result")
    assert copies.forget(taken[3]) == 1
    assert copies.list_copies("one") == [taken[4]]
    assert [copies.has(copy) for copy in taken] == [False] * 4 + [True]
    assert [bytes(data) for data in storage.enqueued_items()] == [b"again"]
    assert [bytes(data) for data in storage.scheduled_items()] == [b"later"]
    assert bytes(storage.peek_data("id")) == b"result"
    # The second to try finds the copy gone, and changes nothing.
    assert not copies.move_to_queue(taken[0], b"twice", None)
    assert not copies.move_to_schedule(taken[0], b"twice", LATER)
    assert not copies.move_to_results(taken[0], "id", b"twice")
    assert copies.forget(taken[0]) == 0
    assert (storage.queue_size(), storage.schedule_size(), bytes(storage.peek_data("id"))) == (1, 1, b"result")


def test_a_finished_copy_is_removed_when_the_next_task_is_taken(huey):
    copies = copies_of(huey)
    huey.storage.enqueue(b"first")
    huey.storage.enqueue(b"second")
    first = copies.take("one", ())
    second = copies.take("one", [first])
    assert copies.list_copies("one") == [second]
    assert copies.take("one", [second]) is None
    assert copies.count("one") == 0


def test_what_is_due_is_kept_too(huey):
    copies = copies_of(huey)
    huey.storage.add_to_schedule(b"soon", SOON)
    huey.storage.add_to_schedule(b"later", LATER)
    due = copies.take_due("one", SOON)
    assert [copy.data for copy in due] == [b"soon"]
    assert copies.list_copies("one") == due
    assert copies.take_due("one", SOON) == []
    assert huey.storage.schedule_size() == 1


def test_flushing_the_queue_removes_the_copies(huey):
    copies = copies_of(huey)
    huey.storage.enqueue(b"first")
    copies.take("one", ())
    huey.flush()
    assert copies.list_copies("one") == []


def test_of_many_that_move_a_copy_at_once_one_does(huey):
    copies, moved = copies_of(huey), []
    huey.storage.enqueue(b"first")
    copy = copies.take("one", ())
    barrier = threading.Barrier(4)

    def move():
        barrier.wait()
        moved.append(copies.move_to_queue(copy, b"again", None))

    run_at_once([move] * 4)
    assert sorted(moved) == [False, False, False, True]
    assert huey.storage.queue_size() == 1


@pytest.mark.parametrize("kind", slow_but(["redis"], ["redis", "priorities", "postgres"]))
def test_a_worker_that_waits_gets_what_comes(kind, make):
    huey = make(kind)
    huey.storage.read_timeout = 60
    copies, found = copies_of(huey), []

    def wait():
        found.append(copies.take("one", ()))
        huey.storage.close()

    waiting = threading.Thread(target=wait)
    waiting.start()
    huey.storage.enqueue(b"first")
    waiting.join(60)
    assert [copy.data for copy in found] == [b"first"]
    assert copies.list_copies("one") == found


@pytest.mark.parametrize("kind", ["sqlite", "priorities", pytest.param("postgres", marks=pytest.mark.slow)])
def test_priorities_are_kept(kind, make):
    huey = make(kind)
    copies = copies_of(huey)
    messages = [(b"1", 1), (b"3, the first", 3), (b"2", 2), (b"3, another", 3)]  # Of two equal ones the first is first.
    for data, priority in messages:
        huey.storage.enqueue(data, priority)
    taken = [copies.take("one", ()) for _ in messages]
    assert [copy.data for copy in taken] == [b"3, the first", b"3, another", b"2", b"1"]
    for (data, priority), copy in zip(messages, taken, strict=True):
        copies.move_to_queue(copy, data, priority)
    assert [copies.take("one", ()).data for _ in messages] == [b"3, the first", b"3, another", b"2", b"1"]


def test_results_that_expire_are_stored_as_such(make_huey):
    huey = make_huey("redis", {"redis": ExpiringHuey}, expire_time=1000, notify_result=True)
    huey.storage.enqueue(b"first")
    copies = copies_of(huey)
    assert copies.move_to_results(copies.take("one", ()), "id", b"result")
    assert huey.storage.peek_data("id") == b"result"
    assert 0 < huey.storage.conn.ttl(huey.storage.result_key("id")) <= 1000
    assert huey.storage.wait_result("id", timeout=0.01)


def test_a_storage_in_memory_has_no_copies():
    assert copies_of(classes.MemoryHuey("app", keep_running=True)) is None


@pytest.mark.parametrize("kind", slow_but(["sqlite", "redis"], WITH_COPIES))
def test_a_task_leaves_its_copy_for_its_end_its_retry_and_its_schedule(kind, make):
    huey = make(kind, keep_running=True)
    copies = copies_of(huey)

    @huey.task(retries=1, retry_delay=60)
    def job(how):
        assert copies.count(huey.tasks_in_hand.kept.life.id) == 1
        if how == "fail":
            raise ValueError
        return 1 if how == "fine" else None

    @huey.task()
    def follower(value):
        return value

    fine = job("fine")
    job("nothing")
    failing = job("fail")
    later = job.schedule(("later",), delay=60)
    piped = huey.enqueue(job.s("fine").then(follower))
    for _ in range(6):
        huey.execute(huey.dequeue())
    assert copies.count(huey.tasks_in_hand.kept.life.id) == 0
    assert huey.pending_count() == 0
    assert {task.id for task in huey.scheduled()} == {failing.id, later.id}
    assert (fine.get(), piped.get()) == (1, [1, 1])
    huey.tasks_in_hand.hand_back_rest()


def test_a_task_of_the_schedule_is_enqueued_in_the_place_of_its_copy(make):
    huey = make("sqlite", keep_running=True)
    job = returning(huey, 1, expires=1000)
    result = job.schedule(delay=60)
    huey.execute(huey.dequeue())
    (task,) = huey.read_schedule(huey._get_timestamp() + dt.timedelta(seconds=61))
    owner = huey.tasks_in_hand.kept.life.id
    assert copies_of(huey).count(owner) == 1
    huey.enqueue(task)
    assert copies_of(huey).count(owner) == 0
    assert [found.id for found in huey.pending()] == [result.id]
    huey.tasks_in_hand.hand_back_rest()


def test_a_result_is_not_stored_where_another_consumer_has_taken_the_task_over(make, caplog):
    huey = make("redis", keep_running=True)
    copies = copies_of(huey)

    @huey.task()
    def job():
        (copy,) = copies.list_copies(huey.tasks_in_hand.kept.life.id)
        assert copies.move_to_queue(copy, copy.data, None)
        return "from the first"

    result = job()
    huey.execute(huey.dequeue())
    assert result.get() is None
    assert "taken over by another consumer" in caplog.text
    assert huey.pending_count() == 1
    huey.tasks_in_hand.hand_back_rest()


def test_what_the_storage_gave_and_no_worker_got_is_enqueued_again(make, caplog):
    """The connection may break when a message has left the queue and has not arrived."""
    huey = make("redis", keep_running=True)
    job = returning(huey, 1)
    job()
    in_hand = huey.tasks_in_hand
    in_hand.kept.life.ensure_beating()
    copies_of(huey).take(in_hand.kept.life.id, ())
    job()
    known = huey.dequeue()
    in_hand.kept._requeue_unclaimed()
    assert huey.pending_count() == 0
    in_hand.kept._requeue_unclaimed()
    assert huey.pending_count() == 1
    assert [copy.data for copy in copies_of(huey).list_copies(in_hand.kept.life.id)] == [known._aquila_message]
    in_hand.let_go(known)
    in_hand.hand_back_rest()


def test_a_message_on_its_way_to_a_worker_is_not_enqueued_again(make):
    huey = make("sqlite", keep_running=True)
    huey.task()(lambda: 1)()
    in_hand = huey.tasks_in_hand
    in_hand.kept.life.ensure_beating()
    copies_of(huey).take(in_hand.kept.life.id, ())
    in_hand._taking.add(-1)  # A worker that has asked for a message.
    for _ in range(3):
        in_hand.kept._requeue_unclaimed()
    assert huey.pending_count() == 0
    in_hand._taking.discard(-1)
    in_hand.kept._requeue_unclaimed()
    assert huey.pending_count() == 1
    in_hand.hand_back_rest()


@pytest.mark.parametrize("kind", [BlackHoleStorage, FileStorage])
def test_a_storage_that_cannot_keep_running_tasks_is_refused_at_once(kind, tmp_path):
    options = {"storage_class": kind, "path": str(tmp_path)}
    with pytest.raises(ConfigError, match=r"cannot keep running tasks.*use Redis, SQLite or Postgres"):
        classes.AquilaHuey("app", keep_running=True, **options)
    with pytest.raises(ConfigError, match="cannot keep running tasks"):
        instrument(PlainHuey("app", serializer=MsgpackSerializer(), **options), keep_running=True)


def test_a_copy_is_kept_until_the_task_that_follows_is_enqueued(make, monkeypatch):
    huey = make("sqlite", keep_running=True)
    first = returning(huey, 1, name="first")

    @huey.task()
    def following(value):
        return value

    huey.enqueue(first.s().then(following))
    copies, task = copies_of(huey), huey.dequeue()
    owner, move, kept = huey.tasks_in_hand.kept.life.id, copies.move_to_queue, []

    def note_copies(*arguments):
        kept.append(copies.count(owner))
        return move(*arguments)

    monkeypatch.setattr(copies, "move_to_queue", note_copies)
    huey.execute(task)
    assert (kept, copies.count(owner), huey.pending_count()) == ([1], 0, 1)
