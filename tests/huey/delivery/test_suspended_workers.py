"""A worker that was suspended, and whose tasks others have taken over meanwhile, leaves nothing when it goes on."""

from huey.exceptions import CancelExecution

from aquila.huey import checkpoint, current_task, dead_letters
from aquila.huey.live import publish_jobs, subscribe
from aquila.huey.progress.task_watch import TaskWatch


def take_over(huey):
    """Take over all tasks in hand, as another consumer does. This one only notices it when it stores their outcome."""
    kept = huey.tasks_in_hand.kept
    for copy in kept.storage.list_copies(kept.life.id):
        assert kept.storage.move_to_queue(copy, copy.data, None)


def suspend(huey):
    """Let another consumer take over all tasks in hand, and send the next heartbeat: the process goes on."""
    kept = huey.tasks_in_hand.kept
    take_over(huey)
    kept.life._last_beat = float("-inf")
    kept.life.beat()


def test_what_follows_a_task_that_was_taken_over_is_enqueued_by_the_other_consumer_alone(kept):
    @kept.task()
    def first():
        suspend(kept)
        return 1

    @kept.task()
    def second(number):
        """Is to follow once."""

    kept.enqueue(first.s().then(second))
    kept.execute(kept.dequeue())
    assert [task.name for task in kept.pending()] == ["first"]


def test_a_machine_that_slept_is_seen_by_the_clock_of_the_storage(kept, monkeypatch):
    life = kept.tasks_in_hand.kept.life
    state = life._state

    @kept.task()
    def job():
        take_over(kept)
        now = state.now()
        monkeypatch.setattr(type(state), "now", lambda self: now + kept.lost_after)
        life.beat()

    @kept.task()
    def second(number):
        """Is to follow once."""

    kept.enqueue(job.s().then(second))
    kept.execute(kept.dequeue())
    assert [task.name for task in kept.pending()] == ["job"]


def test_that_a_task_was_taken_over_is_logged_once(kept, caplog):
    @kept.task()
    def job():
        suspend(kept)
        kept.tasks_in_hand.kept.look_around()
        kept.tasks_in_hand.kept.look_around()

    job()
    kept.execute(kept.dequeue())
    assert caplog.text.count("was taken over by another consumer") == 1


def test_a_due_task_that_is_enqueued_during_a_look_after_a_pause_was_not_taken_over(kept, monkeypatch, caplog):
    @kept.task()
    def job():
        """Is due."""

    job.schedule(delay=-1)
    kept.add_schedule(kept.dequeue())
    (due,) = kept.read_schedule()
    copies = kept.tasks_in_hand.kept
    copies.life._last_beat = float("-inf")
    copies.life.beat()
    move = copies.storage.move_to_queue

    def move_and_look(*args):
        moved = move(*args)
        copies.look_around()
        return moved

    monkeypatch.setattr(copies.storage, "move_to_queue", move_and_look)
    kept.enqueue(due)
    assert kept.pending_count() == 1
    assert "was taken over" not in caplog.text


def test_a_consumer_that_ends_does_not_wait_for_the_code_of_a_task_that_was_taken_over(kept):
    @kept.task()
    def job():
        """Executes until the consumer ends."""

    job()
    kept.dequeue()
    suspend(kept)
    kept.tasks_in_hand.kept.look_around()
    began = kept.tasks_in_hand.kept.life
    kept.notify_interrupted_tasks()
    assert began._ended.is_set()
    assert kept.pending_count() == 1


def test_a_failure_of_a_task_that_was_taken_over_is_no_dead_letter(kept):
    @kept.task()
    def job():
        suspend(kept)
        raise ValueError

    job()
    kept.execute(kept.dequeue())
    assert len(dead_letters(kept)) == 0
    assert kept.pending_count() == 1


def test_a_message_that_was_taken_over_on_its_way_to_a_worker_is_not_executed(kept, monkeypatch):
    @kept.task()
    def job():
        """Executes elsewhere."""

    job()
    copies = kept.tasks_in_hand.kept.storage
    take = copies.take

    def take_and_be_suspended(*args):
        copy = take(*args)
        suspend(kept)
        return copy

    monkeypatch.setattr(copies, "take", take_and_be_suspended)
    assert kept.dequeue() is None
    assert kept.pending_count() == 1


def test_the_checkpoints_of_the_other_execution_stay(kept):
    @kept.task()
    def job():
        checkpoint("step", 1)
        take_over(kept)
        return 1

    result = job()
    kept.execute(kept.dequeue())
    assert kept.storage.has_data_for_key(f"aquila.checkpoints.{result.id}")


def test_a_stream_whose_task_was_taken_over_ends_and_stores_no_text(kept):
    stored, reasons = [], []

    @kept.task()
    def write():
        watch = TaskWatch(current_task(), 60.0, store=lambda: stored.append("text"), end_stream=lambda: None)
        watch._ask_once()
        suspend(kept)
        kept.tasks_in_hand.kept.look_around()
        watch._ask_once()
        try:
            watch.raise_if_ended()
        except CancelExecution as error:
            reasons.append(str(error))

    write()
    kept.execute(kept.dequeue())
    assert (stored, reasons) == (["text"], ["taken over by another consumer"])


def test_the_end_of_a_job_is_published_by_the_execution_that_counts(kept):
    publish_jobs(kept, every=0.001)

    @kept.task()
    def job():
        if not executions:
            executions.append("first")
            take_over(kept)
            kept.execute(kept.dequeue())  # The other consumer is faster.
            return 1
        executions.append("second")
        return 2

    executions = []
    result = job()
    kept.execute(kept.dequeue())
    kept.publisher.store.flush()
    assert (executions, result.get()) == (["first", "second"], 2)
    ends = {event.run[-1:]: event.kind for event in subscribe(kept, result, timeout=60) if event.kind != "text"}
    assert ends == {"": "queued", "1": "interrupted", "2": "done"}
