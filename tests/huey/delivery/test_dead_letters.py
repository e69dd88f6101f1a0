"""What no worker could read, know or finish is kept with its reason, and can be retried and dropped."""

import contextlib
import datetime as dt
import pickle
import threading
from functools import partial

import huey as _huey
import msgpack
import pytest
import time_machine
from huey import CancelExecution, crontab
from huey.api import chord
from huey.exceptions import HueyException, TaskException
from huey.registry import Message
from huey.storage import BlackHoleStorage
from hypothesis import given
from hypothesis import strategies as st

from aquila import huey as classes
from aquila.errors import ConfigError, MessageRejected, TaskError
from aquila.huey import MemoryHuey, MsgpackSerializer, current_task, dead_letters
from aquila.huey.delivery.burying import bury_unreadable
from aquila.huey.delivery.dead_letters import TABLE, DeadLetter, DeadLetters
from aquila.huey.state import state_of
from aquila.huey.testing import drain_queue, perform_job, run_consumer, run_periodic, use_test_queue
from aquila.recording.under_test import under_test
from tests.huey.sample_tasks import execute_all, failing, returning
from tests.huey.storages import STORAGES, WITH_COPIES, ExpiringHuey
from tests.support.slow import slow_but
from tests.support.threads import run_at_once

SECRET = "a secret of sixteen bytes"


@pytest.fixture
def huey():
    return MemoryHuey("app")


def unknown_message(id="the id", **fields):
    return MsgpackSerializer().serialize(Message(id=id, name="jobs.unknown", args=(1,), kwargs={}, **fields))


UNREADABLE = {
    "a newer version": (b"\xc1q\x02\x00rest", "format 2"),
    "newer flags": (b"\xc1q\x01\x40rest", "flags"),
    "a pickle": (pickle.dumps({"a": 1}), "pickle"),
    "a value": (MsgpackSerializer(SECRET, queue="app").serialize({"a": 1}), "a task is expected"),
    "another secret": (
        MsgpackSerializer("another" + SECRET, queue="app").serialize(Message("the id", "jobs.unknown")),
        "signature does not match",
    ),
    "damaged": (b"\xff" * 20, "not a message"),
    "empty": (b"", "not a message"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_message_is_kept_and_the_next_one_is_taken(name, caplog):
    huey, (data, reason) = MemoryHuey("app", serializer=MsgpackSerializer(SECRET)), UNREADABLE[name]
    job = returning(huey, 1)
    huey.storage.enqueue(data)
    job()
    assert huey.dequeue().name == "job"
    (letter,) = dead_letters(huey)
    assert (letter.kind, letter.message, letter.task_id) == ("unreadable", data, None)
    assert reason in letter.reason
    assert abs((letter.at - dt.datetime.now(dt.UTC)).total_seconds()) < 60
    assert "is now dead letter" in caplog.text
    assert letter == dead_letters(huey).get(letter.id)


def test_in_a_test_an_unknown_task_names_what_run_consumer_takes(huey):
    with under_test():
        huey.storage.enqueue(unknown_message())
        assert huey.dequeue() is None
    (letter,) = dead_letters(huey)
    assert letter.reason.endswith(
        "in a test, name that module in aquila_huey, or in run_consumer(subprocess='jobs.huey')"
    )


ODD_TEXTS = ["\ud800x", "a\0b", "\0", "", "\n", "x" * 300, "é", "the id"]


def pickled_call(id="the id", name="jobs.unknown", **fields):
    return pickle.dumps(Message(id=id, name=name, args=(), kwargs={}, **fields))


@given(
    st.tuples(st.sampled_from([b"", b"\xc1q\x01\4", b"\xc1q\x01\7", b"\x80\x04"]), st.binary(max_size=60)).map(b"".join)
    | st.builds(pickled_call, st.sampled_from(ODD_TEXTS), st.sampled_from(ODD_TEXTS) | st.text(max_size=9))
)
def test_any_bytes_are_kept_as_a_dead_letter_and_nothing_is_raised(data):
    for serializer in (MsgpackSerializer(), _huey.serializer.Serializer()):
        huey = MemoryHuey("app", serializer=MsgpackSerializer())
        huey.serializer = serializer
        bury_unreadable(huey, data, HueyException("not known"), pytest.fail)
        (letter,) = dead_letters(huey)
        assert letter.message == data
        for text in (letter.id, letter.task_id or "", letter.task_name or ""):
            text.encode()  # A storage can.


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "\ud800x"},
        {"name": "\ud800x"},
        {"id": "a\0b"},
        {"priority": 2**70},
        {"on_complete": Message("\ud800x", "jobs.next")},
    ],
    ids=str,
)
@pytest.mark.parametrize("reads_pickles", [False, True])
def test_a_pickle_with_values_that_no_storage_can_hold_is_kept_and_not_enqueued_again(make, fields, reads_pickles):
    huey = make("sqlite")
    if reads_pickles:
        huey.serializer = _huey.serializer.Serializer()
    data = pickled_call(**fields)
    huey.storage.enqueue(data)
    assert huey.dequeue() is None
    assert [letter.message for letter in dead_letters(huey)] == [data]
    assert huey.pending_count() == 0


@pytest.mark.parametrize("kind", slow_but(["redis"], WITH_COPIES))
@pytest.mark.parametrize("keep", [False, True])
def test_nothing_is_lost_on_any_storage(kind, keep, make):
    huey = make(kind, keep_running=keep)
    huey.storage.enqueue(b"damaged")
    huey.storage.add_to_schedule(b"damaged too", dt.datetime(2026, 1, 1))
    assert huey.dequeue() is None
    assert huey.read_schedule(dt.datetime(2026, 1, 2)) == []
    assert [letter.message for letter in dead_letters(huey)] == [b"damaged", b"damaged too"]
    assert (huey.pending_count(), huey.scheduled_count()) == (0, 0)
    huey.tasks_in_hand.hand_back_rest()


def test_a_task_that_the_consumer_does_not_know_is_kept_and_nobody_waits_for_it(huey):
    follower = Message(id="the next", name="jobs.unknown", args=(), kwargs={})
    huey.storage.enqueue(unknown_message(on_complete=follower))
    assert huey.dequeue() is None
    (letter,) = dead_letters(huey)
    assert (letter.id, letter.kind, letter.task_id, letter.task_name) == (
        "the id", "unknown", "the id", "jobs.unknown",
    )  # fmt: skip
    assert "the module that imports the tasks" in letter.reason
    for id in ("the id", "the next"):
        with pytest.raises(TaskException, match="TaskError"):
            huey.result(id, blocking=True, timeout=60)


def test_a_task_that_was_renamed_is_told_from_a_consumer_without_tasks(huey):
    @huey.task()
    def new_name():
        """Has had another name."""

    module = new_name.task_class.__module__
    huey.storage.enqueue(MsgpackSerializer().serialize(Message(id="id", name=f"{module}.old_name", args=(), kwargs={})))
    huey.dequeue()
    (letter,) = dead_letters(huey)
    assert "if it was renamed, keep its name with @huey.task(name='old_name')" in letter.reason
    huey.task(name="old_name")(lambda: 7)
    dead_letters(huey).retry("id")
    assert huey.execute(huey.dequeue()) == 7


@pytest.mark.parametrize("kind", WITH_COPIES)
def test_a_retried_dead_letter_takes_the_stored_error_away(kind, make):
    huey, broken = make(kind), [True]

    @huey.task()
    def first(number):
        if broken:
            raise ValueError("out of order")
        return number

    @huey.task()
    def second(number):
        return number + 1

    before, after = list(huey.enqueue(first.s(1).then(second)))
    huey.execute(huey.dequeue())
    with pytest.raises(TaskException):
        huey.result(before.id, preserve=True)
    dead_letters(huey).retry(before.id)
    assert huey.result(before.id, preserve=True) is None
    broken.clear()
    huey.execute(huey.dequeue())
    huey.execute(huey.dequeue())
    assert (before.get(), after.get()) == (1, 2)


@pytest.mark.parametrize("knows_the_tasks", [True, False])
def test_a_retried_dead_letter_takes_the_errors_of_following_tasks_away(huey, knows_the_tasks):
    last = Message(id="the last", name="jobs.unknown", args=(), kwargs={})
    follower = Message(id="the next", name="jobs.unknown", args=(), kwargs={}, on_complete=last)
    huey.storage.enqueue(unknown_message(on_complete=follower))
    huey.dequeue()
    ids = ("the id", "the next", "the last")
    assert [huey.storage.has_data_for_key(id) for id in ids] == [True, True, True]
    if knows_the_tasks:
        huey._registry._registry["jobs.unknown"] = huey.task(name="unknown")(lambda *numbers: 1).task_class
    dead_letters(huey).retry("the id")
    assert [huey.storage.has_data_for_key(id) for id in ids] == [False, False, False]


def test_a_task_that_failed_for_good_is_kept_and_one_with_a_retry_is_not(huey):
    @huey.task(retries=1)
    def job(number):
        raise ValueError(f"no {number}")

    result = job(7)
    huey.execute(huey.dequeue())
    assert len(dead_letters(huey)) == 0
    huey.execute(huey.dequeue())
    (letter,) = dead_letters(huey)
    assert (letter.id, letter.kind, letter.reason) == (result.id, "failed", "ValueError: no 7")
    assert letter.task_name == f"{__name__}.job"
    assert 'raise ValueError(f"no {number}")' in letter.details


def test_a_task_that_was_cancelled_or_found_a_lock_has_not_failed(huey):
    @huey.task()
    def cancelled():
        raise CancelExecution(retry=False)

    @huey.task()
    @huey.lock_task("lock")
    def locked():
        """Is not reached."""

    huey.lock_task("lock").acquire()
    for job in (cancelled, locked):
        job()
        huey.execute(huey.dequeue())
    assert len(dead_letters(huey)) == 0


def test_a_retry_has_all_retries_again_and_the_same_id(huey):
    seen = []

    @huey.task(retries=1, expires=60)
    def job(number):
        seen.append([current_task().attempt, current_task().delivery, current_task().retries_left])
        if len(seen) < 4:
            raise ValueError
        return number

    result = job(7)
    for _ in range(2):
        huey.execute(huey.dequeue())
    letters = dead_letters(huey)
    with time_machine.travel(dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)):  # It expires a minute after that.
        assert letters.retry(result.id).reason == "ValueError"
        assert len(letters) == 0
        for _ in range(2):
            huey.execute(huey.dequeue())
    assert seen == [[1, 1, 1], [2, 1, 0], [1, 1, 1], [2, 1, 0]]
    assert huey.result(result.id) == 7
    with pytest.raises(TaskError, match="no dead letter"):
        letters.retry(result.id)


def test_a_retry_begins_with_the_first_delay_again(huey):
    job = failing(huey, retries=1, retry_delay=10, retry_backoff=3)
    with use_test_queue(huey):
        result = job()
        drain_queue(with_scheduled=True, raise_errors=False)
        dead_letters(huey).retry(result.id)
        assert [task.retry_delay for task in huey.pending()] == [10]


@pytest.mark.parametrize(("ago", "is_over"), [(59, False), (61, True), (-61, True)], ids=str)
def test_the_mark_of_a_process_that_was_killed_while_it_retried_runs_out(huey, ago, is_over, monkeypatch):
    huey.storage.enqueue(unknown_message())
    huey.dequeue()
    letters, state = dead_letters(huey), state_of(huey)
    now = state.now()
    monkeypatch.setattr(state, "now", lambda: now)
    marked = {**msgpack.unpackb(state.get(TABLE, "the id")), "retried_at": now - ago}
    state.put(TABLE, "the id", msgpack.packb(marked), order=now)
    with contextlib.nullcontext() if is_over else pytest.raises(TaskError, match="is being retried by somebody else"):
        letters.retry("the id")
    assert huey.pending_count() == is_over


def test_an_unreadable_message_is_retried_as_it_is(huey):
    huey.storage.enqueue(unknown_message(priority=3))
    huey.dequeue()
    dead_letters(huey).retry("the id")
    assert huey.storage.enqueued_items() == [unknown_message(priority=3)]

    @huey.task(name="unknown")
    def job(number):
        return number

    huey._registry._registry["jobs.unknown"] = job.task_class
    assert huey.execute(huey.dequeue()) == 1


def test_a_job_that_fails_again_at_once_keeps_its_new_letter(huey, monkeypatch):
    job = failing(huey, ValueError("again"))
    job()
    huey.execute(huey.dequeue())
    (letter,) = dead_letters(huey)
    enqueue = huey.storage.enqueue

    def enqueue_and_work(*message):
        enqueue(*message)
        huey.execute(huey.dequeue())  # as a worker that is nearer to the storage

    monkeypatch.setattr(huey.storage, "enqueue", enqueue_and_work)
    dead_letters(huey).retry(letter.id)
    assert [each.id for each in dead_letters(huey)] == [letter.id]


def test_a_retry_that_could_not_be_enqueued_can_be_tried_again(huey, monkeypatch):
    huey.storage.enqueue(b"\xff" * 20)
    assert huey.dequeue() is None
    (letter,) = dead_letters(huey)
    with monkeypatch.context() as patch:
        patch.setattr(huey.storage, "enqueue", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            dead_letters(huey).retry(letter.id)
    dead_letters(huey).retry(letter.id)
    assert huey.pending_count() == 1


def test_a_new_result_stays_where_it_is_not_known_whether_the_retry_was_enqueued(huey, monkeypatch):
    broken = [True]

    @huey.task()
    def job():
        if broken:
            raise ValueError("out of order")
        return 7

    result, enqueue = job(), huey.storage.enqueue
    huey.execute(huey.dequeue())
    broken.clear()

    def enqueue_and_lose_the_answer(*given):
        enqueue(*given)
        huey.execute(huey.dequeue())
        raise ConnectionError("no answer")

    monkeypatch.setattr(huey.storage, "enqueue", enqueue_and_lose_the_answer)
    with pytest.raises(ConnectionError):
        dead_letters(huey).retry(result.id)
    assert result.get() == 7


def test_a_retry_forgets_no_result_that_is_no_error(huey):
    """As where the process that retried was killed before it had removed the letter."""
    job = failing(huey, ValueError("out of order"))
    result = job()
    huey.execute(huey.dequeue())
    huey.put_result(result.id, 7)
    dead_letters(huey).retry(result.id)
    assert result.get() == 7


def test_of_two_that_retry_at_once_one_enqueues(make):
    huey = make("redis")
    huey.storage.enqueue(b"damaged")
    huey.dequeue()
    (letter,) = dead_letters(huey)
    barrier, ended = threading.Barrier(2), []

    def retry():
        barrier.wait()
        try:
            dead_letters(huey).retry(letter.id)
            ended.append("done")
        except TaskError:
            ended.append("refused")

    run_at_once([retry] * 2)
    assert sorted(ended) == ["done", "refused"]
    assert huey.pending_count() == 1


def test_dead_letters_are_listed_in_pages_and_dropped(huey):
    for number in range(450):
        huey.storage.enqueue(b"damaged %d" % number)
    assert huey.dequeue() is None
    letters = dead_letters(huey)
    assert len(letters) == 450
    assert {letter.message for letter in letters} == {b"damaged %d" % number for number in range(450)}
    assert len(letters.list(limit=30, offset=440)) == 10
    newest = letters.list(limit=1, newest_first=True)[0]
    assert letters.drop(newest.id)
    assert not letters.drop(newest.id)
    assert letters.get(newest.id) is None
    assert letters.drop_all() == 449
    assert len(letters) == 0


def test_a_loop_over_dead_letters_meets_each_once_whatever_it_does_with_them(huey, monkeypatch):
    monkeypatch.setattr("aquila.huey.delivery.dead_letters._PAGE", 3)
    letters = dead_letters(huey)

    def put(id):
        letters.put(DeadLetter(id, "failed", "", dt.datetime.now(dt.UTC), b"message"))

    for number in range(10):
        put(f"{number}")
    met = []
    for letter in letters:
        met.append(letter.id)
        letters.retry(letter.id) if len(met) % 2 else letters.drop(letter.id)
        put(f"again {letter.id}")
    assert met == [f"{number}" for number in range(10)]
    assert [letter.id for letter in letters] == [f"again {number}" for number in range(10)]


def test_dead_letters_are_bounded_in_number_and_age(huey):
    huey.keep_dead_letters = 10
    messages = [b"damaged %d" % number for number in range(12)]
    for message in messages:
        huey.storage.enqueue(message)
    huey.dequeue()
    assert [letter.message for letter in dead_letters(huey)] == messages[2:]
    with time_machine.travel(dt.datetime.now(dt.UTC) + dt.timedelta(days=31)):
        huey.storage.enqueue(b"damaged later")
        huey.dequeue()
    assert [letter.message for letter in dead_letters(huey)] == [b"damaged later"]


@pytest.mark.parametrize("kind", ["memory", "expiring"])
def test_a_member_of_a_chord_that_is_retried_is_counted_once(kind, huey, make_huey):
    if kind == "expiring":
        huey = make_huey("redis", {"redis": ExpiringHuey}, expire_time=1000)
    is_away = [True]

    @huey.task()
    def member(number):
        if number == 1 and is_away:
            raise ValueError("the provider is away")
        return number

    @huey.task()
    def total(values):
        return values

    result = huey.enqueue(chord([member.s(number) for number in (1, 2, 3)], total.s()))
    first, second, third = (huey.dequeue() for _ in range(3))
    huey.execute(first)
    is_away.clear()
    dead_letters(huey).retry(first.id)
    for task in (huey.dequeue(), second):
        huey.execute(task)
    assert huey.pending_count() == 0  # The third has not ended.
    if kind == "expiring":  # The values of the two that have ended do not expire before the third ends.
        values = [key for key in huey.storage.conn.scan_iter() if b".chord:" in key and b".r." in key]
        assert [huey.storage.conn.ttl(key) for key in values] == [-1, -1]
    huey.execute(third)
    huey.execute(huey.dequeue())
    assert result.get() == [1, 2, 3]


def enqueue_chord(huey, size, totals):
    """Enqueue a chord whose first member fails, is retried as a dead letter, and is enqueued again at the end."""
    is_away = [True]

    @huey.task()
    def member(number):
        if is_away:
            raise ValueError("the provider is away")
        return number

    @huey.task()
    def total(values):
        totals.append(values)

    huey.enqueue(chord([member.s(number) for number in range(size)], total.s()))
    first = huey.dequeue()
    huey.execute(first)
    is_away.clear()
    dead_letters(huey).retry(first.id)
    return [huey.dequeue() for _ in range(size)]


def execute_rest(huey):
    execute_all(huey)
    assert [key for key in huey.all_results() if "chord" in str(key)] == []


@pytest.mark.parametrize("kind", slow_but(["memory", "redis"], STORAGES))
def test_of_two_members_of_a_chord_that_end_at_one_moment_one_enqueues_the_callback(
    kind, make_aquila_huey, monkeypatch
):
    huey, totals = make_aquila_huey(kind), []
    *last, first = enqueue_chord(huey, 3, totals)
    huey.execute(first)
    count, read, met, barrier = huey.storage.incr, huey.get_raw, set(), threading.Barrier(2)

    def meet(place):
        if (me := (place, threading.current_thread())) not in met:
            met.add(me)
            barrier.wait(60)

    def count_together(key, amount=1):
        counted = count(key, amount)
        meet("counted")
        return counted

    def read_together(key, peek=False):
        found = read(key, peek=peek)
        if key.endswith(":2"):
            meet("read the last value")
        return found

    monkeypatch.setattr(huey.storage, "incr", count_together)
    monkeypatch.setattr(huey, "get_raw", read_together)
    run_at_once(partial(huey.execute, task) for task in last)
    execute_rest(huey)
    assert totals == [[0, 1, 2]]


def test_a_callback_is_not_enqueued_again_where_another_member_has_ended_its_chord_meanwhile(huey, monkeypatch):
    totals = []
    last, first = enqueue_chord(huey, 2, totals)
    read = huey.get_raw

    def read_and_end_meanwhile(key, peek=False):
        found = read(key, peek=peek)
        if key.endswith(":1"):
            monkeypatch.setattr(huey, "get_raw", read)
            huey.execute(first)
        return found

    monkeypatch.setattr(huey, "get_raw", read_and_end_meanwhile)
    huey.execute(last)
    execute_rest(huey)
    assert [value[1] for value in totals] == [1]


def test_a_periodic_task_that_fails_again_and_again_is_kept_once(huey):
    with use_test_queue(huey):

        @huey.periodic_task(crontab(minute="*"))
        def tick():
            raise ValueError

        for minute in range(3):
            with pytest.raises(ValueError):  # noqa: PT011
                run_periodic(dt.datetime(2026, 1, 1, 0, minute))
        assert [letter.id for letter in dead_letters(huey)] == [f"{__name__}.tick"]


HOSTILE = [
    b"\x81\xa2at\xa4noon",
    b"",
    b"null",
    b"\xc0",
    b"\x93\x01\x02\x03",
    b"\x81\x01\x02",
    b"\x81\xa4kind\xa4lost",
    b"\xff" * 100,
]


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_any_entry_among_the_dead_letters_breaks_nothing(huey, value):
    state_of(huey).put(TABLE, "x", value, order=1e300)
    (letter,) = dead_letters(huey)
    assert (letter.kind, letter.message) == ("unreadable", value)
    assert dead_letters(huey).get("x").message == value
    if value:
        assert dead_letters(huey).retry("x").message == value
    assert "not written by this version" in letter.reason


def test_a_huey_whose_storage_holds_none_says_so(caplog):
    class OtherHuey(classes.AquilaHuey):
        pass

    huey = OtherHuey("app", storage_class=BlackHoleStorage)
    with pytest.raises(ConfigError, match="Use a Huey class with one of these"):
        dead_letters(huey)

    job = failing(huey, ValueError("as it was"))
    with pytest.raises(ValueError, match="as it was"):
        job.call_local()
    message = huey.serialize_task(job.s())
    huey.execute(huey.deserialize_task(message))
    huey.storage.dequeue = iter([b"damaged", None]).__next__
    assert huey.dequeue() is None
    assert "is lost" in caplog.text


def test_where_the_storage_is_away_a_message_goes_back_to_the_queue(huey, monkeypatch):
    def refuse(self, letter):
        raise ConnectionError

    monkeypatch.setattr(DeadLetters, "put", refuse)
    huey.storage.enqueue(b"damaged")
    with pytest.raises(ConnectionError):
        huey.dequeue()
    assert huey.storage.enqueued_items() == [b"damaged"]
    job = failing(huey)
    huey.flush()
    result = job()
    huey.execute(huey.dequeue())  # The failure of the task is stored all the same.
    with pytest.raises(TaskException):
        result.get()


# In tests


def test_dead_letters_of_a_test_are_those_of_its_own_queue(huey):
    @huey.task()
    def job(number):
        raise ValueError(number)

    with use_test_queue(huey):
        with pytest.raises(ValueError, match="7"):
            perform_job(job, 7)
        assert [letter.reason for letter in dead_letters(huey)] == ["ValueError: 7"]
        job(8)
        drain_queue(raise_errors=False)
        assert [letter.reason for letter in dead_letters(huey)] == ["ValueError: 7", "ValueError: 8"]
        dead_letters(huey).retry(dead_letters(huey).list()[1].id)
        drain_queue(raise_errors=False)
        assert len(dead_letters(huey)) == 2
    assert len(dead_letters(huey)) == 0


def test_a_message_that_a_worker_cannot_read_fails_the_test(huey):
    with use_test_queue(huey):
        huey.storage.enqueue(b"damaged")
        with pytest.raises(MessageRejected, match="not a message"), run_consumer():
            pass
        assert len(dead_letters(huey)) == 1


def test_in_immediate_mode_what_cannot_be_serialized_is_kept_without_a_message():
    huey = MemoryHuey("app", immediate=True)

    @huey.task()
    def job(value):
        raise ValueError

    job(object())
    (letter,) = dead_letters(huey)
    assert isinstance(letter, DeadLetter)
    assert (letter.kind, letter.message) == ("failed", b"")
    with pytest.raises(TaskError, match="enqueue the task again"):
        dead_letters(huey).retry(letter.id)
