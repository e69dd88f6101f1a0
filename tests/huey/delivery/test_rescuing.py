"""Tasks of consumers that are dead are taken over by others: by heartbeat, never by host name or process id."""

import contextlib
import os
import socket
import threading
import time

import pytest
from huey.api import chord
from huey.utils import Error

from aquila import huey as classes
from aquila.errors import ConfigError
from aquila.huey import checkpoint, current_task, dead_letters, list_consumers, requeue_lost_tasks
from aquila.huey.delivery.choosing_copies import copies_of
from aquila.huey.delivery.consumer_heartbeats import CONSUMERS
from aquila.huey.state import state_of
from tests.huey.live.conftest import consumer
from tests.huey.sample_tasks import execute_all, returning
from tests.huey.storages import CLASSES, WITH_COPIES
from tests.support.slow import slow_but
from tests.support.threads import run_at_once


@pytest.fixture(params=slow_but(["sqlite", "redis"], WITH_COPIES))
def huey(request, make):
    return make(request.param, keep_running=True)


@pytest.fixture
def kept(make):
    return make("sqlite", keep_running=True)


def lose(huey, task=None, *, owner="dead", seen=60.0):
    """Take a task out of the queue as a consumer does that dies in it. It was seen ``seen`` seconds ago."""
    if task is not None:
        huey.enqueue(task)
    state = state_of(huey)
    # Of a container that was restarted: the same host, the same process id.
    value = b'{"host": "%s", "pid": %d, "started": 1.0}' % (socket.gethostname().encode(), os.getpid())
    state.put(CONSUMERS, owner, value, order=state.now() - seen)
    assert copies_of(huey).take(owner, ()) is not None


class KilledError(BaseException):
    """Ends the code of a worker where the test lets it be killed."""


def kill(*args):
    raise KilledError


@contextlib.contextmanager
def killing(huey, target=None, name=""):
    """Let the worker be killed when it calls the function ``name`` of ``target``, or else when a task has ended."""
    with pytest.MonkeyPatch.context() as killed:
        killed.setattr(huey.tasks_in_hand.kept, "let_go", lambda copy: None)
        if target is None:
            yield
            return
        killed.setattr(huey.tasks_in_hand, "handle_execution_error", lambda *args: None)
        killed.setattr(target, name, kill)
        with pytest.raises(KilledError):
            yield


def test_the_tasks_of_dead_consumers_are_enqueued_again_and_those_of_others_are_not(huey):
    @huey.task()
    def job():
        return current_task().delivery

    dead, alive = job.s(), job.s()
    lose(huey, dead)
    lose(huey, alive, owner="alive", seen=1)
    assert requeue_lost_tasks(huey) == [dead.id]
    assert requeue_lost_tasks(huey) == []
    assert [entry.id for entry in list_consumers(huey)] == ["alive"]
    assert requeue_lost_tasks(huey, lost_after=0.5) == [alive.id]
    assert [task.id for task in huey.pending()] == [dead.id, alive.id]
    task = huey.deserialize_task(huey.storage.dequeue())
    assert huey.execute(task) == 2


def test_of_two_that_take_over_at_once_one_enqueues(huey):
    job = returning(huey, 1)
    tasks = [job.s() for _ in range(5)]
    for number, task in enumerate(tasks):
        lose(huey, task, owner=f"dead {number}")
    barrier, requeued = threading.Barrier(2), []

    def rescue():
        barrier.wait()
        requeued.extend(requeue_lost_tasks(huey))

    run_at_once([rescue] * 2)
    assert sorted(requeued) == sorted(task.id for task in tasks)
    assert huey.pending_count() == 5


def test_a_task_that_is_lost_again_and_again_is_given_up(kept):
    ran = []

    @kept.task()
    def killer():
        ran.append(1)

    @kept.task()
    def after(value):
        return value

    task = killer.s()
    follower = task.then(after).on_complete
    lose(kept, task)
    for _ in range(2):
        assert requeue_lost_tasks(kept) == [task.id]
        lose(kept)
    # A worker ends it, whose copy is there until that is done.
    assert requeue_lost_tasks(kept) == [task.id]
    kept.execute(kept.dequeue())
    assert ran == []
    for id in (task.id, follower.id):
        result = kept.get(id)
        assert isinstance(result, Error)
        assert "given up" in result.metadata["error"]
    (letter,) = dead_letters(kept)
    assert (letter.kind, letter.task_id) == ("lost", task.id)
    assert "not finished 3 times" in letter.reason


def test_losses_count_over_retries_and_deliveries_do_not(kept):
    @kept.task(retries=1)
    def job():
        if current_task().attempt == 1:
            assert current_task().delivery == 2
            raise ValueError
        return [current_task().attempt, current_task().delivery]

    lose(kept, job.s())
    requeue_lost_tasks(kept)
    task = kept.deserialize_task(kept.storage.dequeue())
    kept.execute(task)
    task = kept.deserialize_task(kept.storage.dequeue())
    assert task._aquila_losses == 1
    assert kept.execute(task) == [2, 1]


def test_a_task_that_was_revoked_before_it_is_given_up_is_left_to_a_worker(huey):
    task = returning(huey, 1, name="killer").s()
    task._aquila_losses = 2
    lose(huey, task)
    huey.revoke(task, revoke_once=True)
    assert requeue_lost_tasks(huey) == [task.id]
    huey.execute(huey.dequeue())
    assert (huey.get(task.id), len(dead_letters(huey)), huey.is_revoked(task)) == (None, 0, False)


def test_a_chord_ends_whose_member_was_given_up_by_a_process_that_was_killed(huey):
    killer = returning(huey, 1, name="killer")

    @huey.task()
    def total(values):
        return len(values)

    def work():
        """Rescue, and execute what is in the queue."""
        requeue_lost_tasks(huey, lost_after=0)
        execute_all(huey)

    result = huey.enqueue(chord([killer.s()], total))
    for _ in range(2):
        lose(huey)
        requeue_lost_tasks(huey)
    lose(huey)
    with killing(huey, huey, "_check_chord"):
        work()
    work()
    assert result.get() == 1


def test_a_task_follows_once_though_the_worker_was_killed_right_after_it_was_enqueued(huey):
    first = returning(huey, 1, name="first")

    @huey.task(unique=True)
    def second(number):
        return number + 1

    result = list(huey.enqueue(first.s().then(second)))[-1]
    with killing(huey):
        huey.execute(huey.dequeue())
    assert requeue_lost_tasks(huey, lost_after=0) == []
    huey.execute(huey.dequeue())
    assert result.get() == 2
    assert huey.pending_count() == 0


def test_a_task_that_follows_is_enqueued_with_its_own_priority(kept):
    first, second, other = (
        kept.task(name=name, priority=of)(lambda *given: 1)
        for name, of in {"first": 0, "second": 2, "other": 1}.items()
    )
    kept.enqueue(first.s().then(second))
    task = kept.dequeue()
    other()
    kept.execute(task)
    assert [task.name.rpartition(".")[2] for task in kept.pending()] == ["second", "other"]


def test_a_task_that_follows_is_signalled_as_enqueued(kept):
    first, second = (kept.task(name=name)(lambda *given: 1) for name in ("first", "second"))
    names = []
    kept.signal("enqueued")(lambda signal, task: names.append(task.name.rpartition(".")[2]))
    kept.enqueue(first.s().then(second))
    kept.execute(kept.dequeue())
    assert names == ["first", "second"]


@pytest.mark.parametrize("step", ["stored", "counted"])
def test_a_member_whose_worker_was_killed_at_its_end_is_counted_once(kept, monkeypatch, step):
    @kept.task()
    def member(number):
        return number

    @kept.task()
    def total(values):
        return values

    result = kept.enqueue(chord([member.s(number) for number in (1, 2, 3)], total.s()))
    first = kept.dequeue()
    with killing(kept), monkeypatch.context() as patch:
        if step == "stored":
            patch.setattr(kept.storage, "incr", lambda key, amount=1: amount)
        kept.execute(first)
    assert requeue_lost_tasks(kept, lost_after=0) == [first.id]
    second, third, again = (kept.dequeue() for _ in range(3))
    kept.execute(again)
    kept.execute(second)
    assert kept.pending_count() == 0  # The third has not ended.
    kept.execute(third)
    kept.execute(kept.dequeue())
    assert result.get() == [1, 2, 3]


def test_a_chord_ends_whose_last_worker_was_killed_before_it_enqueued_the_callback(huey):
    @huey.task()
    def member(number):
        return number

    @huey.task()
    def total(values):
        return values

    result = huey.enqueue(chord([member.s(number) for number in (1, 2)], total.s()))
    huey.execute(huey.dequeue())
    last = huey.dequeue()
    with killing(huey, huey.tasks_in_hand.kept.storage, "move_to_queue"):
        huey.execute(last)
    assert requeue_lost_tasks(huey, lost_after=0) == [last.id]
    huey.execute(huey.dequeue())
    huey.execute(huey.dequeue())
    assert result.get() == [1, 2]
    assert [key for key in huey.all_results() if "chord" in str(key)] == []


@pytest.mark.parametrize("last", ["completes", "fails", "fails before a task follows"])
def test_the_callback_of_a_chord_runs_once_though_the_last_worker_was_killed_right_after_it_was_enqueued(huey, last):
    totals = []

    @huey.task()
    def member(number):
        if number == 2 and last != "completes":
            raise ValueError
        return number

    @huey.task(unique=last != "completes")
    def total(values):
        totals.append(len(values))

    ending = member.s(2).then(member) if "follows" in last else member.s(2)
    huey.enqueue(chord([member.s(1), ending], total.s()))
    huey.execute(huey.dequeue())
    with killing(huey, huey.storage, "delete_counter"):
        huey.execute(huey.dequeue())
    assert requeue_lost_tasks(huey, lost_after=0) == []
    execute_all(huey)
    assert totals == [2]


def test_a_chord_ends_whose_last_member_was_taken_over_while_its_worker_was_about_to_enqueue_the_callback(
    huey, monkeypatch
):
    totals, taken_over = [], []

    @huey.task()
    def member(number):
        return number

    @huey.task(unique=True)
    def total(values):
        totals.append(values)

    huey.enqueue(chord([member.s(1), member.s(2)], total.s()))
    huey.execute(huey.dequeue())
    last = huey.dequeue()
    kept = huey.tasks_in_hand.kept.storage
    move = kept.move_to_queue

    def suspended(*arguments):
        monkeypatch.setattr(kept, "move_to_queue", move)
        taken_over.extend(requeue_lost_tasks(huey, lost_after=0))
        return move(*arguments)

    monkeypatch.setattr(kept, "move_to_queue", suspended)
    huey.execute(last)
    assert taken_over == [last.id]
    execute_all(huey)
    assert totals == [[1, 2]]
    assert [key for key in huey.all_results() if "chord" in str(key)] == []


def test_a_copy_that_nobody_can_read_becomes_a_dead_letter(kept):
    kept.storage.enqueue(b"\x80pickle")
    lose(kept)
    assert requeue_lost_tasks(kept) == []
    assert [(letter.kind, letter.message) for letter in dead_letters(kept)] == [("unreadable", b"\x80pickle")]
    assert not list_consumers(kept)


def test_a_task_that_was_delivered_before_reads_its_checkpoints_and_leaves_none(kept):
    @kept.task()
    def job():
        return [current_task().delivery, checkpoint("begun")]

    task = job.s()
    lose(kept, task)
    kept.put(f"aquila.checkpoints.{task.id}", {"begun": "before"})
    kept.put(f"aquila.partial.{task.id}", [1, "text"])
    requeue_lost_tasks(kept)
    assert kept.execute(kept.deserialize_task(kept.storage.dequeue())) == [2, "before"]
    assert list(kept.all_results()) == [task.id]


def test_every_consumer_takes_over_while_it_runs(make_huey):
    """Not only when it starts: another one dies later."""
    huey = make_huey("redis", CLASSES, keep_running=True, read_timeout=0.02)
    huey.lost_after = 0.06  # Its thread looks around six times as often.

    @huey.task()
    def job():
        return current_task().delivery

    with consumer(huey):
        result = job()
        assert result.get(blocking=True, timeout=60) == 1
        lost = job.s()
        data = huey.serialize_task(lost)
        state = state_of(huey)
        huey.storage.conn.lpush(copies_of(huey)._key_of("dead"), data)
        state.put(CONSUMERS, "dead", b"{}", order=state.now() - 60)
        assert huey.result(lost.id, blocking=True, timeout=60) == 2


def test_a_consumer_shows_that_it_lives_as_long_as_it_does(kept):
    shown = []

    @kept.task()
    def job():
        shown.extend(list_consumers(kept))

    before = state_of(kept).now()
    kept._enter_worker()
    job()
    kept.execute(kept.dequeue())
    (entry,) = shown
    assert (entry.pid, entry.host) == (os.getpid(), socket.gethostname())
    assert before <= entry.started <= entry.seen <= time.time()
    assert entry.id not in (entry.host, str(entry.pid))
    kept._leave_worker()
    assert list_consumers(kept) == []


def test_lost_after_of_the_huey_decides_when_a_consumer_is_dead(make):
    huey = make("sqlite", keep_running=True, lost_after=300)

    @huey.task()
    def job():
        """Is not executed."""

    lose(huey, job.s())
    assert requeue_lost_tasks(huey) == []
    assert len(requeue_lost_tasks(huey, lost_after=30)) == 1


@pytest.mark.parametrize("value", [0, -1, 0.5, float("nan"), float("inf"), True, "30", None])
def test_a_time_after_which_nobody_or_everybody_would_be_dead_is_refused(value):
    with pytest.raises(ConfigError, match="lost_after= must be a number of seconds from 1"):
        classes.MemoryHuey("app", lost_after=value)


def test_nothing_is_kept_without_the_setting(make):
    huey = make("sqlite")

    shown = []

    @huey.task()
    def job():
        shown.append(list_consumers(huey))
        shown.append(huey.storage.sql("select * from aquila_state", results=True))

    job()
    huey.execute(huey.dequeue())
    assert shown == [[], []]
    assert requeue_lost_tasks(classes.MemoryHuey("app")) == []
