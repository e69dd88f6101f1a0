"""A storage that is away for a while ends no stream, and takes no answer with it that has arrived."""

import signal
import threading
import time

import pytest
from huey.consumer import ProcessEnvironment
from huey.exceptions import CancelExecution, TaskException, TaskTimeout
from hypothesis import given, settings
from hypothesis import strategies as st

import aquila
from aquila.errors import NotSerializable
from aquila.huey import MemoryHuey, RedisHuey, checkpoint, follow, once, partial_answer
from aquila.huey.progress import kept_progress, storage_patience, task_watch
from aquila.huey.testing import build_task
from tests.huey.programs import wait_until
from tests.huey.storages import Away
from tests.support.examples import examples
from tests.support.limits import with_a_limit_in_time
from tests.support.servers import redis_server
from tests.support.upstream import streamed, streaming, upstream


class UnsteadyHuey(MemoryHuey):
    """A Huey in memory whose storage answers only where ``answers()`` says so."""

    def __init__(self, answers=lambda: True):
        super().__init__("app")
        self.answers = answers
        for name in ("put_data", "peek_data", "peek_many", "delete_data"):
            setattr(self.storage, name, self._only_at_times(getattr(self.storage, name)))

    def _only_at_times(self, function):
        def call(*args, **kwargs):
            if not self.answers():
                raise Away("gone for a moment")
            return function(*args, **kwargs)

        return call


@pytest.fixture
def quick(monkeypatch):
    """Tries again at once."""
    for name in ("FIRST_DELAY", "LONGEST_DELAY"):
        monkeypatch.setattr(storage_patience, name, 0.001)


def run_task(huey, function, **options):
    """Execute a function as a task of a Huey, without a queue. Return the task and its value."""
    wrapper = huey.task(**options)(function)
    task = build_task(wrapper)
    try:
        return task, huey.execute(task)
    finally:
        wrapper.unregister()


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "huey.aquila"]


@pytest.fixture
def provider():
    with upstream(lambda path, body: streamed("one two three four five")) as server:
        yield server


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarms, by which worker processes end tasks")
@pytest.mark.parametrize("commit", [False, True], ids=["a query", "a transaction"])
def test_a_time_limit_within_a_query_ends_the_task_and_leaves_postgres_usable(commit, make_aquila_huey):
    huey = make_aquila_huey("postgres")

    @huey.task(retries=1, timeout=0.1)
    def ask():
        huey.storage.sql("select pg_sleep(600)", commit=commit)

    result = ask()
    huey._timeout_handler = ProcessEnvironment(signal.SIGTERM).timeout  # That of a worker process.
    huey.execute(huey.dequeue())
    assert huey.pending_count() == 1
    with pytest.raises(TaskException, match="TaskTimeout"):
        result.get()


# Streams


@given(pattern=st.lists(st.booleans(), max_size=8))
@settings(max_examples=examples(25), deadline=None)
def test_an_answer_arrives_whichever_calls_the_storage_leaves_unanswered(pattern):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("FIRST_DELAY", "LONGEST_DELAY"):
            patch.setattr(storage_patience, name, 0.001)
        remaining = iter(pattern)
        huey = UnsteadyHuey()

        def job():
            huey.answers = lambda: next(remaining, True)
            with aquila.stream("p", transport=streaming("one two three")) as stream:
                list(follow(stream, every=0.001))
            return stream.response.text

        task, value = run_task(huey, job)
        assert value == "one two three"
        assert huey.result(task.id) == "one two three"
        assert list(huey.all_results()) == []


def test_an_answer_that_has_arrived_is_not_failed_by_a_storage_that_is_gone(quick, monkeypatch, caplog, provider):
    monkeypatch.setattr(task_watch, "PATIENCE_WHEN_COMPLETE", 0.01)
    huey = UnsteadyHuey()
    arrived = []

    def job():
        huey.answers = lambda: False
        with aquila.stream("p", transport=provider.transport(), max_retries=0) as stream:
            list(follow(stream))
        arrived.append(stream.response.text)
        huey.answers = lambda: True

    run_task(huey, job)
    assert arrived == ["one two three four five"]
    away, not_stored = warnings(caplog)
    assert "the storage does not answer (Away: gone for a moment)" in away
    assert "its last text so far could not be stored" in not_stored


def test_an_outage_is_said_once_and_its_end_once_and_then_a_revocation_is_seen(quick, caplog, held):
    huey, seen, failures = UnsteadyHuey(), [], threading.Event()
    count = 0

    def answers():
        nonlocal count
        count += 1
        if 3 < count < 30:
            return False
        if count == 30:
            failures.set()
        return True

    @huey.task()
    def job():
        huey.answers = answers
        with aquila.stream("p", transport=held.transport(), timeout=60, max_retries=0) as stream:
            try:
                for event in follow(stream, every=0.001):
                    if isinstance(event, aquila.Chunk):
                        seen.append(event.text)
            except CancelExecution:
                seen.append("revoked")
                raise

    task = build_task(job)
    worker = threading.Thread(target=huey.execute, args=(task,))
    worker.start()
    assert failures.wait(60)
    wait_until(lambda: len(seen) == 3)
    huey.revoke(task)
    worker.join(60)
    assert seen == ["one ", "two ", "three ", "revoked"]
    away, back = warnings(caplog)
    assert "until the storage answers, no text so far is stored" in away
    assert "the storage answers again" in back


def test_the_watch_tries_less_and_less_often(monkeypatch):
    monkeypatch.setattr(storage_patience, "with_jitter", lambda delay: delay)
    outage = storage_patience.Outage("task 1", "")
    delays = [outage.note_failure(Away()) for _ in range(8)]
    assert delays == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    outage.note_answer()
    assert outage.note_failure(Away()) == 0.05


def test_two_threads_may_note_the_same_answer(monkeypatch):
    outage = storage_patience.Outage("an open page", "")
    outage.note_failure(Away())
    clock, others = time.monotonic, [outage.note_answer]

    def while_another_notes_it():
        if others:
            others.pop()()
        return clock()

    monkeypatch.setattr(storage_patience.time, "monotonic", while_another_notes_it)
    outage.note_answer()
    assert outage.note_failure(Away()) <= 0.05


def test_a_text_that_cannot_be_stored_is_no_outage(caplog, provider):
    huey = UnsteadyHuey()

    def job():
        huey.serializer._max_size = 20
        with aquila.stream("p", transport=provider.transport(), max_retries=0) as stream:
            list(follow(stream, every=60))
        huey.serializer._max_size = 1000
        return stream.response.text

    assert run_task(huey, job)[1] == "one two three four five"
    (warning,) = warnings(caplog)
    assert "its text so far is not stored: the message has" in warning


@pytest.fixture(scope="module")
def redis():
    with redis_server(is_durable=True) as server:
        yield server


def test_a_redis_that_restarts_is_asked_again(redis, held):
    huey = RedisHuey("restarts", url=redis.url)
    restarted, canceled = threading.Event(), threading.Event()
    huey.signal("canceled")(lambda *about: canceled.set())

    @huey.task()
    def job():
        with aquila.stream("p", transport=held.transport(), timeout=60, max_retries=0) as stream:
            for event in follow(stream, every=0.01):
                if getattr(event, "text", "") == "two ":
                    redis.stop()
                    redis.start()
                    restarted.set()

    task = build_task(job)
    worker = threading.Thread(target=huey.execute, args=(task,))
    worker.start()
    assert restarted.wait(60)
    wait_until(lambda: partial_answer(huey, task) == "one two three ")
    huey.revoke(task)
    assert canceled.wait(60)
    worker.join(60)


def test_a_redis_that_hangs_holds_up_neither_a_time_limit_nor_the_end(redis, held, monkeypatch):
    monkeypatch.setattr(task_watch, "PATIENCE", 0.1)
    huey = RedisHuey("hangs", url=redis.url)

    def scenario(limit):
        frozen, ended = threading.Event(), threading.Event()
        outcome = []

        @huey.task(timeout=limit, name=f"job_{limit}")
        def job():
            with aquila.stream("p", transport=held.transport(), timeout=60, max_retries=0) as stream:
                try:
                    for event in follow(stream, every=0.01):
                        if getattr(event, "text", "") == "three ":
                            redis.freeze()
                            frozen.set()
                except TaskTimeout:
                    outcome.append("timeout")
                    raise
                finally:
                    ended.set()

        worker = threading.Thread(target=huey.execute, args=(build_task(job),))
        worker.start()
        try:
            assert ended.wait(60), "the watch waits for the storage"
        finally:
            redis.thaw()
            worker.join(60)
        assert frozen.is_set()
        assert outcome == ["timeout"]

    with_a_limit_in_time(scenario, 0.3)


def test_a_text_that_a_slow_storage_stores_after_the_end_is_removed(quick):
    huey = UnsteadyHuey()
    task = build_task(huey.task()(lambda: None))
    kept = kept_progress.KeptProgress(huey, task, is_first=True)
    kept.delete()
    kept.store_partial([1, "late"])
    assert partial_answer(huey, task) is None


# Checkpoints


def test_a_checkpoint_waits_for_a_storage_that_comes_back(quick):
    answers = iter([False] * 5 + [True, False, False, True])
    huey = UnsteadyHuey()

    def job():
        huey.answers = lambda: next(answers, True)
        checkpoint("part", 1)
        raise ValueError

    task, _ = run_task(huey, job)
    assert huey.get(kept_progress.CHECKPOINTS_PREFIX + task.id, peek=True) == {"part": 1}


def test_a_checkpoint_that_cannot_be_stored_fails_nothing_and_is_stored_later(quick, monkeypatch, caplog):
    monkeypatch.setattr(kept_progress, "PATIENCE_TO_STORE", 0.01)
    huey, calls = UnsteadyHuey(), []

    def job():
        once("first", lambda: calls.append(1) or "paid for")
        huey.answers = lambda: False
        assert once("second", lambda: calls.append(2) or "paid too") == "paid too"
        assert once("second", lambda: calls.append(3)) == "paid too"
        assert len(warnings(caplog)) == 1
        huey.answers = lambda: True
        raise ValueError

    task, _ = run_task(huey, job)
    assert calls == [1, 2]
    assert "goes on, and its checkpoints could not be stored (Away: gone" in warnings(caplog)[0]
    stored = huey.get(kept_progress.CHECKPOINTS_PREFIX + task.id, peek=True)
    assert stored == {"first": "paid for", "second": "paid too"}


def test_a_checkpoint_waits_no_longer_than_its_task_has_time(monkeypatch):
    waits = []
    monkeypatch.setattr(kept_progress, "ask_until_answered", lambda ask, patience: waits.append(patience) or ask())
    run_task(MemoryHuey("app"), lambda: checkpoint("part", 1), timeout=4)
    loading, storing, _ = waits  # The last wait is for removing it when the task has ended.
    assert max(loading, storing) <= 4


def test_a_task_does_not_begin_anew_because_it_cannot_read_what_it_kept(quick, monkeypatch):
    monkeypatch.setattr(kept_progress, "PATIENCE_TO_LOAD", 0.01)
    huey, calls, raised = UnsteadyHuey(), [], []

    def job():
        huey.answers = lambda: False
        try:
            once("part", lambda: calls.append(1))
        except Away as error:
            raised.append(error)
        huey.answers = lambda: True

    run_task(huey, job)
    assert calls == []
    assert "cannot go on without the progress that it may have kept" in raised[0].__notes__[0]


def test_a_value_that_cannot_be_serialized_is_not_tried_again():
    huey, asked = UnsteadyHuey(), []

    def job():
        huey.answers = lambda: asked.append(1) or True
        with pytest.raises(NotSerializable):
            checkpoint("part", {1, 2})
        return len(asked)

    assert run_task(huey, job)[1] == 1


def test_a_result_waits_for_a_storage_that_comes_back(quick):
    huey = UnsteadyHuey()

    def job():
        answers = iter([False] * 6 + [True, False, False])
        huey.answers = lambda: next(answers, True)
        return "paid for"

    task, _ = run_task(huey, job)
    assert huey.result(task.id) == "paid for"


def test_a_task_begins_though_the_storage_is_away_for_a_moment(quick):
    huey = UnsteadyHuey()
    task = build_task(huey.task()(lambda: "done"))
    answers = iter([False, False, False])
    huey.answers = lambda: next(answers, True)
    assert huey.execute(task) == "done"
    assert huey.result(task.id) == "done"


def test_a_question_whether_a_task_is_revoked_does_not_wait_for_the_storage(quick):
    huey = UnsteadyHuey()
    task = build_task(huey.task()(lambda: "done"))
    answers = iter([False])
    huey.answers = lambda: next(answers, True)
    with pytest.raises(Away):
        huey.is_revoked(task)


def test_checkpoints_that_cannot_be_deleted_fail_no_task(quick, monkeypatch, caplog):
    monkeypatch.setattr(kept_progress, "PATIENCE_TO_STORE", 0.01)
    huey = UnsteadyHuey()
    signals = []
    huey.signal()(lambda name, task, error=None: signals.append(name))

    @huey.post_execute()
    def leave(task, value, error):
        huey.answers = lambda: True

    def job():
        checkpoint("part", 1)
        huey.storage.delete_data, delete = fail, huey.storage.delete_data
        huey.delete = delete

    def fail(key):
        raise Away

    run_task(huey, job)
    assert signals == ["executing", "complete"]
    assert "its checkpoints stay until they are pruned" in warnings(caplog)[0]


# Readers


def test_a_reader_of_a_text_so_far_asks_again_and_then_raises(quick, monkeypatch):
    answers = iter([False, False])
    huey = UnsteadyHuey(lambda: next(answers, True))
    assert partial_answer(huey, "nobody") is None
    monkeypatch.setattr("aquila.huey.progress.checkpoints.PATIENCE_TO_READ", 0.01)
    huey.answers = lambda: False
    with pytest.raises(Away):
        partial_answer(huey, "nobody")
