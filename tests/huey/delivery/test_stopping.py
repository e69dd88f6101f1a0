"""A consumer that is stopped: SIGTERM hands its tasks back, SIGINT lets them end, SIGKILL leaves them to others.

Each consumer is ``huey_consumer``, a program of its own, as in a container.
"""

import contextlib
import contextvars
import itertools
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from types import SimpleNamespace

import pytest

from aquila import huey as classes
from aquila.huey import list_consumers
from aquila.huey.delivery import tasks_in_hand
from tests.huey.programs import PATIENCE, START, declare_for_program, environment_of, wait_until
from tests.support.slow import nightly_but, slow_but

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="signals and forks")

APP = """
import sys
if "greenlet" in sys.argv:
    from gevent import monkey; monkey.patch_all()
import os, time
from aquila import huey as classes
from aquila.huey import checkpoint, current_task

HERE = os.path.dirname(os.path.abspath(__file__))
kind, queue, options = {made!r}
huey = getattr(classes, kind)(queue, **options)

@huey.task()
def job(name, seconds=0):
    checkpoint("begun", (checkpoint("begun") or 0) + 1)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not os.path.exists(os.path.join(HERE, "go")):
        time.sleep(0.01)
    return [current_task().delivery, checkpoint("begun"), name]
"""


@pytest.fixture
def app(tmp_path, request):
    """Make the module of an application, and return its Huey and what starts consumers of it."""
    running, hueys = [], []

    def make(kind, **options):
        names = {"redis": "RedisHuey", "priorities": "PriorityRedisHuey", "postgres": "PostgresHuey"}
        if kind == "sqlite":
            options["filename"] = str(tmp_path / "queue.db")
        elif kind == "postgres":
            options["dsn"] = request.getfixturevalue("postgres_dsn")
        else:
            options["url"] = request.getfixturevalue("redis_url")
        name = names.get(kind, "SqliteHuey")
        # Each has its own: a worker that was killed a moment ago may still be given what is enqueued next.
        queue = f"q{uuid.uuid4().hex[:8]}"
        (tmp_path / "stopped_app.py").write_text(APP.format(made=(name, queue, options)))
        huey = getattr(classes, name)(queue, **options)
        huey.flush()
        hueys.append(huey)

        @huey.task(name="job")
        def job(name, seconds=0):
            """Of which only the message is needed here."""

        declare_for_program(huey, "stopped_app", job)

        def start(worker_type="thread", workers=1, around=()):
            options = ["-n", "-k", worker_type, "-w", str(workers), "-d", "0.01", "-m", "0.05"]
            command = [*around, sys.executable, "-c", START, "stopped_app.huey", *options]
            environment = environment_of(tmp_path)
            with (tmp_path / f"log{len(running)}").open("wb") as log:
                process = subprocess.Popen(command, env=environment, stderr=log, start_new_session=True)
            running.append(process)
            return process

        return SimpleNamespace(huey=huey, job=job, start=start, go=(tmp_path / "go").touch)

    yield make
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for huey in hueys:
        huey.storage.close()
        if hasattr(huey.storage, "pool"):  # Of Redis, which Huey leaves to the garbage collector.
            huey.storage.pool.disconnect()


def wait_until_it_runs(app, *results):
    wait_until(lambda: all(app.huey.get(f"aquila.checkpoints.{result.id}", peek=True) for result in results))


WORKERS = ["thread", "process", "greenlet"]
STORAGES = ["sqlite", "redis", "priorities", "postgres"]
QUICK = ("sqlite", "thread", False)
WAYS = [(storage, kind, keep) for storage in STORAGES for kind in WORKERS for keep in (False, True)]
# Each storage, each kind of worker, and both with and without `keep_running`.
BY_DAY = [("redis", "process", True), ("priorities", "greenlet", False), ("postgres", "thread", True)]


@pytest.mark.parametrize("way", [QUICK, *nightly_but(BY_DAY, [way for way in WAYS if way != QUICK])], ids=str)
def test_sigterm_hands_running_tasks_back_and_they_are_enqueued_once(app, way):
    storage, worker_type, keep = way
    app = app(storage, keep_running=keep)
    results = [app.job(f"job {number}", 600) for number in range(2)]
    process = app.start(worker_type, workers=4)  # Two of them are idle, and must not get what is handed back.
    wait_until_it_runs(app, *results)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert {task.id for task in app.huey.pending()} == {result.id for result in results}
    assert app.huey.pending_count() == 2
    assert not list_consumers(app.huey) or worker_type == "process"
    app.go()
    app.start(worker_type)
    for number, result in enumerate(results):
        assert result.get(blocking=True, timeout=PATIENCE) == [2, 2, f"job {number}"]
    assert app.huey.pending_count() == 0


@pytest.mark.parametrize("way", slow_but([], [("sqlite", kind) for kind in WORKERS]), ids=str)
def test_sigint_lets_running_tasks_end(app, way):
    storage, worker_type = way
    app = app(storage)
    result = app.job("job", 600)
    process = app.start(worker_type)
    wait_until_it_runs(app, result)
    process.send_signal(signal.SIGINT)
    app.go()
    assert process.wait(PATIENCE) == 0
    assert result.get() == [1, 1, "job"]
    assert app.huey.pending_count() == 0


@pytest.mark.parametrize(
    "way",
    nightly_but(
        [("sqlite", "process"), ("redis", "thread"), ("priorities", "process"), ("postgres", "greenlet")],
        list(itertools.product(STORAGES, WORKERS)),
    ),
    ids=str,
)
def test_a_killed_consumer_is_taken_over_by_one_that_runs(app, way):
    storage, worker_type = way
    app = app(storage, keep_running=True, lost_after=3.0)
    results = [app.job(f"job {number}", 600) for number in range(2)]
    process = app.start(worker_type, workers=2)
    wait_until_it_runs(app, *results)
    known = [entry.id for entry in list_consumers(app.huey)]
    other = app.start(worker_type)
    wait_until(lambda: {entry.id for entry in list_consumers(app.huey)} - set(known))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    app.go()
    assert app.huey.pending_count() == 0
    for number, result in enumerate(results):
        assert result.get(blocking=True, timeout=PATIENCE) == [2, 2, f"job {number}"]
    wait_until(lambda: not {entry.id for entry in list_consumers(app.huey)} & set(known))
    assert other.poll() is None


CONTAINER = ["unshare", "--pid", "--fork", "--mount-proc", "--uts", "sh", "-c", 'hostname box && exec "$0" "$@"']
"""What a container is to a consumer: it is process 1 of a host whose name stays the same."""


@pytest.fixture
def container():
    if shutil.which("unshare") is None or subprocess.call([*CONTAINER, "true"], stderr=subprocess.DEVNULL) != 0:
        pytest.skip("no namespaces of processes can be made here")
    return CONTAINER


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "options"),
    [(signal.SIGKILL, {"keep_running": True, "lost_after": 1.0}), (signal.SIGTERM, {"keep_running": False})],
    ids=["killed", "stopped"],
)
def test_a_container_that_ended_takes_its_task_up_again_when_it_is_restarted(app, container, end, options):
    app = app("redis", **options)
    result = app.job("job", 600)
    process = app.start(around=container)
    wait_until_it_runs(app, result)
    if options["keep_running"]:
        assert [(entry.host, entry.pid) for entry in list_consumers(app.huey)] == [("box", 1)]
    os.killpg(process.pid, end)
    process.wait(PATIENCE)
    app.go()
    app.start(around=container)
    assert result.get(blocking=True, timeout=PATIENCE) == [2, 2, "job"]


@pytest.mark.slow
def test_a_consumer_that_was_paused_stores_no_result_of_what_was_taken_over(app):
    app = app("redis", keep_running=True, lost_after=1.0)
    result = app.job("job", 600)
    paused = app.start()
    wait_until_it_runs(app, result)
    os.kill(paused.pid, signal.SIGSTOP)
    app.start()
    wait_until(lambda: app.huey.get(f"aquila.checkpoints.{result.id}", peek=True) == {"begun": 2})
    os.kill(paused.pid, signal.SIGCONT)
    app.go()
    assert result.get(blocking=True, timeout=PATIENCE)[0] == 2
    paused.send_signal(signal.SIGINT)
    assert paused.wait(PATIENCE) == 0
    assert app.huey.result(result.id) is None  # it was stored once, and read


def test_the_process_of_a_scheduler_leaves_no_consumer_behind(monkeypatch, tmp_path):
    huey = classes.SqliteHuey("jobs", filename=str(tmp_path / "queue.db"), keep_running=True)
    scheduler = huey.create_consumer(workers=1)._create_scheduler()
    monkeypatch.setattr(multiprocessing, "parent_process", object)  # as in a fork
    huey.read_schedule()
    assert len(list_consumers(huey)) == 1
    scheduler.shutdown()
    assert list_consumers(huey) == []


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("readable", [True, False])
def test_a_message_that_comes_when_its_worker_has_been_told_to_stop_goes_back(
    make_aquila_huey, keep, readable, monkeypatch
):
    huey = make_aquila_huey("sqlite", keep_running=keep)
    if readable:
        huey.task()(lambda: 1)()
    else:
        huey.storage.enqueue(b"no message")
    source, name = (huey.tasks_in_hand.kept.storage, "take") if keep else (huey.storage, "dequeue")
    take, is_told = getattr(source, name), threading.Event()

    def take_while_it_is_told(*arguments):
        is_told.set()
        return take(*arguments)

    monkeypatch.setattr(source, name, take_while_it_is_told)
    context = contextvars.copy_context()
    context.run(tasks_in_hand.stop_flag.set, is_told)
    assert context.run(huey.dequeue) is None
    assert (huey.pending_count(), huey.tasks_in_hand.has_any) == (1, False)
