"""Pruning, and tasks that a killed worker took with it."""

import datetime as dt
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import time_machine
from huey.api import chord
from huey.utils import Error

from aquila.errors import ConfigError, TaskError
from aquila.huey import (
    MemoryHuey,
    SqliteHuey,
    add_pruner,
    checkpoint,
    partial_answer,
    prune_results,
    requeue_lost_tasks,
)
from aquila.huey.lost_tasks import RUNNING_PREFIX
from aquila.huey.pruning import Pruned
from aquila.huey.testing import drain_queue, run_consumer, run_periodic, use_test_queue
from tests.support.slow import slow_but

DAY = dt.timedelta(days=1)


@pytest.fixture
def huey():
    huey = MemoryHuey("app")
    with use_test_queue(huey):
        yield huey


@pytest.fixture
def store(huey):
    """Store results, and what tasks leave behind, in the names of ``count`` tasks."""

    @huey.task()
    def job(fails):
        checkpoint("a", 1)
        if fails:
            raise ValueError
        return 1

    def store(count, fails=False):
        ids = [job(fails).id for _ in range(count)]
        drain_queue(raise_errors=False)
        return ids

    return store


def after(days):
    return time_machine.travel(dt.datetime.now(dt.UTC) + days * DAY)


def test_what_is_older_than_a_time_goes(huey, store):
    old = store(2)
    assert prune_results(huey, older_than=7 * DAY) == Pruned(0, 0)
    with after(6):
        new = store(1)
        assert prune_results(huey, older_than=7 * DAY) == Pruned(0, 0)
    with after(8):
        assert prune_results(huey, older_than=7 * DAY) == Pruned(2, 0)
    left = huey.all_results()
    assert new[0] in left
    assert not set(old) & set(left)


def test_the_oldest_beyond_a_number_go(huey, store):
    for day in range(4):
        with after(day):
            ids = store(1)
            prune_results(huey, keep=10)
    with after(4):
        assert prune_results(huey, keep=1) == Pruned(3, 0)
    assert ids[0] in huey.all_results()


def test_checkpoints_and_partial_answers_of_failed_tasks_go_too(huey, store):
    (failed,) = store(1, fails=True)
    huey.put(f"aquila.partial.{failed}", [1, "text"])
    prune_results(huey, older_than=DAY)
    with after(2):
        assert prune_results(huey, older_than=DAY) == Pruned(1, 2)
    assert partial_answer(huey, failed) is None
    assert set(huey.all_results()) == {"aquila.pruner"}


def test_what_is_no_result_is_left_alone(huey, store):
    @huey.task()
    def task():
        return 1

    task.revoke()
    huey.revoke_by_id("some")
    huey.lock_task("held").acquire()
    huey.put("chord:x:0", 1)
    huey.put(f"{RUNNING_PREFIX}x", 1)
    before = set(huey.all_results())
    prune_results(huey, older_than=DAY)
    with after(9):
        assert prune_results(huey, older_than=DAY) == Pruned(0, 0)
    assert set(huey.all_results()) - {"aquila.pruner"} == before


def test_a_result_that_was_fetched_is_forgotten(huey, store):
    (fetched,) = store(1)
    prune_results(huey, older_than=DAY)
    assert huey.result(fetched) == 1
    with after(2):
        assert prune_results(huey, older_than=DAY) == Pruned(0, 0)
        again = store(1)
        prune_results(huey, older_than=DAY)
    assert again[0] in huey.all_results()


def test_a_pruner_is_added_in_a_line(huey, store):
    add_pruner(huey, older_than=DAY)
    store(1)
    moment = dt.datetime(2026, 1, 1, 3, 5)
    assert len(run_periodic(moment)) == 1
    with after(2):
        run_periodic(moment)
    assert set(huey.all_results()) == {"aquila.pruner"}
    assert run_periodic(dt.datetime(2026, 1, 1, 3, 6)) == []


def test_pruning_needs_a_measure(huey):
    for call in (lambda: prune_results(huey), lambda: add_pruner(huey, older_than=None)):
        with pytest.raises(ConfigError, match="older_than="):
            call()


# Workers that are killed


APP = """
import os, sys, time
import httpx2
import aquila
from aquila.huey import SqliteHuey, checkpoint, follow

HERE = os.path.dirname(os.path.abspath(__file__))
huey = SqliteHuey("app", filename=os.path.join(HERE, "q.db"), keep_running=bool(os.environ.get("APP_KEEP")))

class Slow(httpx2.BaseTransport):
    # Two words, then silence.
    def handle_request(self, request):
        class Stream(httpx2.SyncByteStream):
            def __iter__(self):
                from tests.support.upstream import chat_chunks
                chunks = chat_chunks("one two three")
                yield from chunks[:3]
                if not os.path.exists(os.path.join(HERE, "go")):
                    time.sleep(60)
                yield from chunks[3:]
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Stream())

@huey.task(retries=1)
def job():
    checkpoint("begun", (checkpoint("begun") or 0) + 1)
    with aquila.stream("p", transport=Slow(), timeout=90) as stream:
        for event in follow(stream, every=0.02):
            pass
    return [stream.response.text, checkpoint("begun")]
"""


@pytest.fixture
def app(tmp_path, monkeypatch):
    (tmp_path / "killed_app.py").write_text(APP)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "killed_app", raising=False)

    def make(keep):
        monkeypatch.setenv("APP_KEEP", "1" if keep else "")
        import killed_app

        return killed_app

    yield make
    sys.modules.pop("killed_app", None)


@pytest.mark.parametrize("keep", slow_but([False], [False, True]), ids=["default", "keep_running"])
@pytest.mark.parametrize(
    "how", slow_but([signal.SIGKILL], [signal.SIGKILL, signal.SIGTERM]), ids=["SIGKILL", "SIGTERM"]
)
@pytest.mark.slow
def test_a_worker_that_is_killed_in_mid_stream(app, how, keep, tmp_path):
    module = app(keep)
    huey = module.huey
    with use_test_queue(huey, storage="own"):
        result = module.job()
        dies = pytest.raises(TaskError, match="ended with code")
        with dies, run_consumer(subprocess="killed_app.huey", timeout=240) as consumer:
            consumer.wait_for(lambda: partial_answer(huey, result) == "one two ")
            consumer.process.send_signal(how)
            consumer.wait_for(lambda: False)
        # What there was of the answer and the checkpoints are kept in either case; the task only on request.
        assert partial_answer(huey, result) == "one two "
        assert huey.get(f"aquila.checkpoints.{result.id}", peek=True) == {"begun": 1}
        assert huey.pending_count() == 0
        assert (RUNNING_PREFIX + result.id in huey.all_results()) == keep
        if keep:
            (tmp_path / "go").touch()
            with run_consumer(subprocess="killed_app.huey", timeout=240) as consumer:
                assert consumer.wait(result) == ["one two three", 2]
            assert not [key for key in huey.all_results() if key.startswith("aquila.")]
    huey.storage.close()


@pytest.fixture
def kept(tmp_path):
    huey = SqliteHuey("app", filename=str(tmp_path / "q.db"), keep_running=True)
    yield huey
    huey.storage.close()


def lose(huey, task, *, host=None, pid=None, age=0.0):
    """Take a task out of the queue as a worker does that dies in it."""
    huey.enqueue(task)
    huey.dequeue()
    data, *_ = huey.get(RUNNING_PREFIX + task.id, peek=True)
    huey.put(RUNNING_PREFIX + task.id, [data, host or socket.gethostname(), pid or dead_pid(), time.time() - age])


def dead_pid():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_only_the_tasks_of_dead_workers_are_enqueued_again(kept):
    @kept.task()
    def job():
        return 1

    tasks = {name: job.s(id=name) for name in ("dead", "alive", "elsewhere, recent", "elsewhere, long ago")}
    lose(kept, tasks["dead"])
    lose(kept, tasks["alive"], pid=os.getpid())
    lose(kept, tasks["elsewhere, recent"], host="another")
    lose(kept, tasks["elsewhere, long ago"], host="another", age=4000)
    assert requeue_lost_tasks(kept) == ["dead", "elsewhere, long ago"]
    assert requeue_lost_tasks(kept) == []
    assert requeue_lost_tasks(kept, lost_after=0) == ["elsewhere, recent"]
    assert sorted(task.id for task in kept.pending()) == ["dead", "elsewhere, long ago", "elsewhere, recent"]


def test_a_task_that_is_lost_again_and_again_is_given_up(kept):
    @kept.task()
    def killer():
        return 1

    task = killer.s()
    lose(kept, task)
    assert requeue_lost_tasks(kept) == [task.id]
    for expected in ([task.id], []):
        again = kept.dequeue()
        data, *_ = kept.get(RUNNING_PREFIX + again.id, peek=True)
        kept.put(RUNNING_PREFIX + again.id, [data, socket.gethostname(), dead_pid(), time.time()])
        assert requeue_lost_tasks(kept) == expected
    result = kept.get(task.id)
    assert isinstance(result, Error)
    assert "given up" in result.metadata["error"]


def test_giving_up_a_member_completes_its_chord(kept):
    @kept.task()
    def killer():
        return 1

    @kept.task()
    def total(values):
        return len(values)

    kept.enqueue(chord([killer.s()], total))
    for _ in range(3):
        task = kept.dequeue()
        data, *_ = kept.get(RUNNING_PREFIX + task.id, peek=True)
        kept.put(RUNNING_PREFIX + task.id, [data, socket.gethostname(), dead_pid(), time.time()])
        requeue_lost_tasks(kept)
    assert kept.dequeue().name == "total"


def test_what_ends_is_let_go_however_it_ends(kept):
    @kept.task(retries=1, retry_delay=60)
    def job(how):
        if how == "fail":
            raise ValueError
        return 1

    job("fine")
    job("fail")
    job.schedule(("later",), delay=60)
    for _ in range(3):
        kept.execute(kept.dequeue())
    assert not [key for key in kept.all_results() if key.startswith(RUNNING_PREFIX)]
    assert kept.scheduled_count() == 2


def test_nothing_is_kept_without_the_setting(huey):
    @huey.task()
    def job():
        return [key for key in huey.all_results() if key.startswith(RUNNING_PREFIX)]

    job()
    assert huey.execute(huey.dequeue()) == []
