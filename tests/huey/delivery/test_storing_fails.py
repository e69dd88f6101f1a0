"""A storage that fails while it is told what became of a task loses no task, and takes no answer that has arrived."""

import contextlib
import contextvars
import datetime as dt
import itertools
import multiprocessing
import os
import threading

import pytest

from aquila.huey import current_task, dead_letters, instances, once, requeue_lost_tasks
from aquila.huey.delivery import kept_copies, tasks_in_hand
from aquila.huey.progress import patient_results, storage_patience
from tests.huey.sample_tasks import execute_all, failing, returning
from tests.huey.storages import Away, be_away
from tests.support.slow import slow_but


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(tasks_in_hand, "_PATIENCE_TO_STORE", 0.0)
    monkeypatch.setattr(kept_copies, "_PATIENCE_TO_ASK", 0.0)
    monkeypatch.setattr(patient_results, "PATIENCE", 0.0)


def count_copies(huey):
    in_hand = huey.tasks_in_hand
    return in_hand.kept.storage.count(in_hand.kept.life.id)


def test_a_retry_that_another_worker_has_taken_already_stays_in_its_hand(kept, monkeypatch):
    job = failing(kept, retries=1)
    job()
    taken, requeue = [], kept._requeue_task

    def requeue_and_take(*args):
        requeue(*args)
        taken.append(kept.dequeue())  # By a worker that waited for it.

    monkeypatch.setattr(kept, "_requeue_task", requeue_and_take)
    kept.execute(kept.dequeue())
    assert list(kept.tasks_in_hand._taken.values()) == taken
    for _ in range(3):
        kept.tasks_in_hand.kept.look_around()
    assert kept.pending_count() == 0
    assert count_copies(kept) == 1
    kept.tasks_in_hand.let_go(taken[0])


@pytest.mark.parametrize("step", ["move_to_queue", "move_to_schedule", "move_to_results"])
def test_a_task_of_which_cannot_be_stored_what_became_of_it_is_delivered_again(kept, step, monkeypatch):
    deliveries = []

    @kept.task(retries=1, retry_delay=60 if step == "move_to_schedule" else 0)
    def job():
        deliveries.append(current_task().delivery)
        if step != "move_to_results" and len(deliveries) == 1:
            raise ValueError
        return "done"

    result = job()
    with monkeypatch.context() as patch:
        patch.setattr(kept.tasks_in_hand.kept.storage, step, be_away)
        with pytest.raises(Away):
            kept.execute(kept.dequeue())
    assert kept.dequeue() is None
    assert count_copies(kept) == 1
    kept.tasks_in_hand.kept.look_around()
    kept.execute(kept.dequeue())
    assert deliveries == [1, 2]
    assert result.get() == "done"


@pytest.mark.parametrize("step", ["move_to_queue", "move_to_results"])
def test_an_outcome_that_was_stored_before_its_connection_broke_is_that_of_the_task(kept, step, monkeypatch, caplog):
    monkeypatch.setattr(storage_patience, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(patient_results, "PATIENCE", 60.0)
    monkeypatch.setattr(tasks_in_hand, "_PATIENCE_TO_STORE", 60.0)
    executed = []

    @kept.task(retries=1, unique=True)
    def job():
        once("work", lambda: executed.append(1))
        if step == "move_to_queue" and current_task().attempt == 1:
            raise ValueError
        return "done"

    result = job()
    copies, calls = kept.tasks_in_hand.kept.storage, []
    move = getattr(copies, step)

    def answer_late(*args):
        calls.append(move(*args))
        return be_away() if len(calls) == 1 else calls[-1]

    monkeypatch.setattr(copies, step, answer_late)
    execute_all(kept)
    assert calls[:2] == [True, False]
    assert "taken over" not in caplog.text
    assert executed == [1]
    assert [key for key in kept.all_results() if "checkpoints" in str(key)] == []
    assert result.get() == "done"
    job()
    assert kept.pending_count() == 1  # The claim of the first one is gone.


def test_a_task_that_could_not_be_delivered_again_counts_as_lost_when_it_is(kept, monkeypatch):
    job = returning(kept, "done")
    job()
    copies = kept.tasks_in_hand.kept
    with monkeypatch.context() as patch:
        patch.setattr(copies.storage, "move_to_results", be_away)
        with pytest.raises(Away):
            kept.execute(kept.dequeue())
        patch.setattr(copies.storage, "move_to_queue", be_away)
        with pytest.raises(Away):
            copies.look_around()
    copies.look_around()
    assert [task._aquila_losses for task in kept.pending()] == [1]


@pytest.mark.parametrize("step", ["move_to_queue", "move_to_schedule"])
def test_a_retry_waits_for_a_storage_that_comes_back(kept, step, monkeypatch):
    monkeypatch.setattr(storage_patience, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(tasks_in_hand, "_PATIENCE_TO_STORE", 60.0)
    job = failing(kept, retries=1, retry_delay=60 if step == "move_to_schedule" else 0)
    job()
    copies, failures = kept.tasks_in_hand.kept.storage, [Away, Away]
    move = getattr(copies, step)
    monkeypatch.setattr(copies, step, lambda *args: be_away() if failures and failures.pop() else move(*args))
    kept.execute(kept.dequeue())
    assert kept.pending_count() + kept.scheduled_count() == 1


def test_a_task_that_can_never_be_stored_is_given_up(kept, monkeypatch):
    executed = []

    @kept.task()
    def job():
        executed.append(1)

    @kept.post_execute()
    def forget_error(task, value, error):
        raise KeyboardInterrupt  # As a worker that is stopped after the code of its task.

    job()
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            kept.execute(kept.dequeue())
        kept.tasks_in_hand.kept.look_around()
    kept.execute(kept.dequeue())
    assert (len(executed), kept.dequeue()) == (3, None)
    assert [letter.kind for letter in dead_letters(kept)] == ["lost"]
    assert count_copies(kept) == 0


def test_dropped_tasks_are_enqueued_again_when_the_last_worker_ends(kept, monkeypatch):
    job = returning(kept, 1)
    job()
    with monkeypatch.context() as patch:
        patch.setattr(kept.tasks_in_hand.kept.storage, "move_to_results", be_away)
        with pytest.raises(Away):
            kept.execute(kept.dequeue())
    kept.tasks_in_hand.kept.leave_worker()
    (task,) = kept.pending()
    assert task._aquila_deliveries == 1


@pytest.mark.parametrize("most", [3, 1000])
def test_messages_that_no_worker_received_outlive_the_consumer_however_many_they_are(kept, most, monkeypatch):
    """The storage has given them to this consumer, and its answer was lost, as when a connection breaks."""
    monkeypatch.setattr(kept_copies, "_MOST_AT_ONCE", most)
    job = returning(kept, 1)
    for _ in range(150):
        kept.add_schedule(job.task_class(eta=dt.datetime(2020, 1, 1)))
    copies = kept.tasks_in_hand.kept
    copies.life.beat()
    assert len(copies.storage.take_due(copies.life.id, dt.datetime(2100, 1, 1))) == 150
    copies.leave_worker()
    requeue_lost_tasks(kept, lost_after=0)
    assert kept.pending_count() == 150


def test_a_consumer_may_follow_one_whose_end_the_storage_has_refused(kept, monkeypatch):
    job = returning(kept, 1)
    job()
    assert kept.execute(kept.dequeue()) == 1
    with monkeypatch.context() as patch:
        patch.setattr(kept.tasks_in_hand.kept, "forget_finished", be_away)
        with pytest.raises(Away):
            kept.notify_interrupted_tasks()
    job()
    assert kept.execute(kept.dequeue()) == 1


def test_a_task_is_no_longer_in_hand_although_its_scope_could_not_be_left(make, monkeypatch):
    huey = make("sqlite")
    job = returning(huey, 1)
    task = job.s()
    task._aquila_scope = None  # Without a reference the task executes in a scope of its own.
    huey.enqueue(task)
    monkeypatch.setattr(instances, "leave_task_scope", be_away)
    with pytest.raises(Away):
        huey.execute(huey.dequeue())
    assert not huey.tasks_in_hand.has_any


def read_due(huey):
    return huey.read_schedule(dt.datetime(2100, 1, 1))


def test_a_due_task_that_cannot_be_enqueued_is_not_stuck(kept, monkeypatch):
    job = returning(kept, 1)
    kept.add_schedule(job.task_class(eta=dt.datetime(2020, 1, 1)))
    (task,) = read_due(kept)
    with monkeypatch.context() as patch:
        patch.setattr(kept.tasks_in_hand.kept.storage, "move_to_queue", be_away)
        with pytest.raises(Away):
            kept.enqueue(task)
    for _ in range(2):
        kept.tasks_in_hand.kept.look_around()
    assert kept.pending_count() == 1
    assert count_copies(kept) == 0


def test_without_copies_a_due_task_that_cannot_be_enqueued_is_due_again(make, monkeypatch):
    huey = make("sqlite")
    job = returning(huey, 1)
    huey.add_schedule(job.task_class(eta=dt.datetime(2020, 1, 1)))
    (task,) = read_due(huey)
    with monkeypatch.context() as patch:
        patch.setattr(huey.storage, "enqueue", be_away)
        with pytest.raises(Away):
            huey.enqueue(task)
    assert read_due(huey) == [task]
    huey.enqueue(task)
    assert read_due(huey) == []
    huey.notify_interrupted_tasks()
    assert huey.pending_count() == 1  # What is enqueued is in hand no more, and not handed back.


def test_an_answer_that_has_arrived_counts_though_the_storage_is_away_for_a_moment(kept, monkeypatch):
    paid = returning(kept, "answer", name="paid")
    result = paid()
    task = kept.dequeue()
    kept.tasks_in_hand.kept.life._last_beat = float("-inf")  # For long no heartbeat has got through.
    monkeypatch.setattr(kept.tasks_in_hand.kept.storage, "has", be_away)
    kept.execute(task)
    assert result.get() == "answer"


def test_an_answer_of_a_task_that_was_taken_over_does_not_count(kept, caplog):
    after = []

    @kept.task()
    def paid():
        kept.tasks_in_hand.kept.storage.forget(
            kept.tasks_in_hand.kept.storage.list_copies(kept.tasks_in_hand.kept.life.id)[0]
        )
        kept.tasks_in_hand.kept.life._last_beat = float("-inf")
        return "answer"

    kept.signal("complete")(lambda *about: after.append(about))
    result = paid()
    kept.execute(kept.dequeue())
    assert (result.get(), after) == (None, [])
    assert "was taken over by another consumer" in caplog.text


def test_a_finished_copy_is_removed_although_no_next_task_is_taken(kept):
    @kept.task()
    def job():
        """Leaves no result, and so its copy."""

    class Paused:
        def is_paused(self):
            return True

    for forget in (kept.dequeue, kept.tasks_in_hand.kept.leave_worker):
        job()
        task = kept.dequeue()
        kept.execute(task)
        assert count_copies(kept) == 1
        if forget == kept.dequeue:
            kept.publisher = Paused()
        kept.tasks_in_hand._taking.add(-1)  # The scheduler reads the schedule.
        forget()
        kept.tasks_in_hand._taking.discard(-1)
        kept.publisher = None
        assert count_copies(kept) == 0


def test_a_finished_copy_is_removed_although_the_storage_failed_when_the_next_task_was_to_be_taken(kept, monkeypatch):
    @kept.task()
    def job():
        """Leaves no result, and so its copy."""

    job()
    kept.execute(kept.dequeue())
    with monkeypatch.context() as patch:
        patch.setattr(kept.tasks_in_hand.kept.storage, "take", be_away)
        with pytest.raises(Away):
            kept.dequeue()
    assert count_copies(kept) == 1
    assert kept.dequeue() is None
    assert count_copies(kept) == 0


class Struck(set):
    """The tasks that Huey has in flight. Once a signal strikes as one is added, or as it is taken out."""

    def __init__(self, step):
        self.step = step

    def strike(self, step):
        if self.step == step:
            self.step = None
            raise KeyboardInterrupt

    def add(self, task):
        self.strike("add")
        super().add(task)

    def discard(self, task):
        super().discard(task)
        self.strike("discard")


@pytest.mark.parametrize("keep_running", [False, True])
@pytest.mark.parametrize("step", ["is_revoked", "add", "enter", "code", "discard"])
def test_an_interrupt_loses_no_task_wherever_it_strikes(make, step, keep_running, monkeypatch):
    huey = make("sqlite", keep_running=keep_running)

    @huey.task(timeout=600)
    def job():
        in_flight.strike("code")
        return "done"

    huey._tasks_in_flight = in_flight = Struck(step)
    for name, method in (("enter", "_enclose_code"), ("is_revoked", "is_revoked")):
        original = getattr(huey, method)
        monkeypatch.setattr(
            huey, method, lambda *args, name=name, original=original: (in_flight.strike(name), original(*args))[1]
        )
    result = job()
    task = huey.dequeue()
    if step == "is_revoked":
        with pytest.raises(KeyboardInterrupt):
            huey.execute(task)
    else:
        assert huey.execute(task) is None
    huey.notify_interrupted_tasks()
    assert (huey.pending_count(), huey.tasks_in_hand.has_any) == (1, False)
    huey.execute(huey.dequeue())
    assert (result.get(), huey.pending_count()) == ("done", 0)


def test_an_interrupted_task_is_handed_back_with_the_arguments_that_it_came_with(make):
    huey = make("sqlite")

    @huey.task()
    def job(items):
        items.append("changed by the code")
        raise KeyboardInterrupt

    job(["as it came"])
    huey.execute(huey.dequeue())
    huey.notify_interrupted_tasks()
    assert [task.args for task in huey.pending()] == [(["as it came"],)]


def test_an_interrupted_task_that_was_taken_over_is_not_handed_back(kept):
    @kept.task()
    def job():
        """Executes elsewhere meanwhile."""
        copies, life = kept.tasks_in_hand.kept.storage, kept.tasks_in_hand.kept.life
        copies.forget(*copies.list_copies(life.id))
        life._last_beat = float("-inf")

    enqueued = []
    job()
    kept.signal("enqueued")(lambda *about: enqueued.append(about))
    kept.execute(kept.dequeue())
    assert (kept.pending_count(), enqueued) == (0, [])


@pytest.mark.parametrize("delay", [0, 60])
def test_a_retry_that_the_storage_refused_is_stored_when_the_process_stops(make, delay, monkeypatch):
    huey = make("sqlite")
    job = failing(huey, retries=2, retry_delay=delay)
    job()
    with monkeypatch.context() as patch:
        patch.setattr(huey.storage, "enqueue", be_away)
        patch.setattr(huey.storage, "add_to_schedule", be_away)
        with pytest.raises(Away):
            huey.execute(huey.dequeue())
    for _ in range(2):
        huey.notify_interrupted_tasks()
        (task,) = huey.scheduled() if delay else huey.pending()
        assert task.retries == 1


def test_a_retry_that_the_storage_refuses_while_the_process_stops_is_stored_at_its_end(make, monkeypatch):
    huey = make("sqlite")
    is_storing, is_waited_for, waits = threading.Event(), threading.Event(), []
    enqueue, wait = huey.storage.enqueue, huey.tasks_in_hand._wait_until
    job = failing(huey, retries=1)

    def refuse_once(*args):
        monkeypatch.setattr(huey.storage, "enqueue", enqueue)
        is_storing.set()
        is_waited_for.wait(60)
        raise Away

    def wait_and_tell(condition):
        waits.append(condition)
        if len(waits) == 2:  # First for threads that take a message, then for those that store an outcome.
            is_waited_for.set()
        wait(condition)

    def work():
        with pytest.raises(Away):
            huey.execute(task)
        huey.storage.close()

    job()
    task = huey.dequeue()
    monkeypatch.setattr(huey.storage, "enqueue", refuse_once)
    monkeypatch.setattr(huey.tasks_in_hand, "_wait_until", wait_and_tell)
    worker = threading.Thread(target=work)
    worker.start()
    assert is_storing.wait(60)
    huey.notify_interrupted_tasks()
    worker.join()
    assert [again.retries for again in huey.pending()] == [0]


def test_a_due_task_that_the_storage_refused_is_handed_back_once(make, monkeypatch):
    huey = make("sqlite")
    job = returning(huey, 1)
    huey.add_schedule(job.task_class(eta=dt.datetime(2020, 1, 1)))
    (task,) = read_due(huey)
    with monkeypatch.context() as patch:
        patch.setattr(huey.storage, "enqueue", be_away)
        with pytest.raises(Away):
            huey.enqueue(task)
    huey.notify_interrupted_tasks()
    assert huey.pending_count() == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize(
    ("delay", "goes_on"),
    slow_but([(0, True), (60, False)], itertools.product([0, 60], [True, False]), of_several_names=True),
)
def test_a_retry_that_the_storage_refused_is_handed_back_by_a_forked_worker(make, delay, goes_on, monkeypatch):
    huey = make("sqlite")
    job = failing(huey, retries=2, retry_delay=delay)

    def work():
        worker = huey.create_consumer(worker_type="process")._create_worker()
        worker.initialize()
        with monkeypatch.context() as patch:
            patch.setattr(huey.storage, "enqueue", be_away)
            patch.setattr(huey.storage, "add_to_schedule", be_away)
            for _ in range(3):
                worker.loop()
        if goes_on:
            monkeypatch.setattr(huey.storage, "dequeue", lambda: None)
            worker.loop()
            os._exit(0)
        worker.shutdown()

    job()
    huey.storage.close()
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    (task,) = huey.scheduled() if delay else huey.pending()
    assert task.retries == 1


def test_a_greenlet_that_is_interrupted_within_a_transaction_loses_no_task(make):
    huey = make("postgres")

    @huey.task()
    def job():
        with huey.storage.db(commit=True) as cursor:
            with contextlib.suppress(Exception):
                cursor.execute("select 1 / 0")  # psycopg cancels the statement in which an interrupt strikes.
            raise KeyboardInterrupt

    def work():
        tasks_in_hand.stop_flag.set(flag)
        task = huey.dequeue()
        flag.set()
        huey.execute(task)

    flag, result = threading.Event(), job()
    contextvars.copy_context().run(work)
    huey.notify_interrupted_tasks()
    assert [task.id for task in huey.pending()] == [result.id]
