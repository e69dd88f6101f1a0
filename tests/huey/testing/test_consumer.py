"""run_consumer: real consumers, on every storage and with every kind of worker."""

import contextlib
import gc
import importlib.util
import itertools
import multiprocessing
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from huey import MemoryHuey, SqliteHuey
from huey.api import chord

import aquila.huey
from aquila.errors import ConfigError, RemoteTaskError, TaskError
from aquila.huey.delivery.consumer import AquilaWorker
from aquila.huey.testing import (
    RunningConsumer,
    all_enqueued,
    drain_queue,
    refute_enqueued,
    run_consumer,
    use_test_queue,
)
from aquila.huey.testing.consumers import consumer_runs
from aquila.huey.testing.consumers.consumer_delays import QuickScheduler
from aquila.huey.testing.consumers.worker_errors import WorkerErrors
from tests.huey.sample_tasks import failing, returning

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
needs_gevent = pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")

PLACES = [
    *(("thread", kind) for kind in ("memory", "file", "redis")),
    *(pytest.param("thread", kind, marks=pytest.mark.slow) for kind in ("sqlite", "postgres")),
    pytest.param("process", "sqlite", marks=needs_fork),
    *(pytest.param("process", kind, marks=[needs_fork, pytest.mark.slow]) for kind in ("file", "redis", "postgres")),
    pytest.param("greenlet", "memory", marks=needs_gevent),
    *(pytest.param("greenlet", kind, marks=[needs_gevent, pytest.mark.slow]) for kind in ("sqlite", "redis")),
]


@pytest.mark.parametrize(("worker_type", "kind"), PLACES)
def test_tasks_run_to_their_end_whatever_they_enqueue(worker_type, kind, make_huey):
    huey = make_huey(kind)

    @huey.task()
    def add(a, b):
        return a + b

    @huey.task()
    def nest(n):
        add(n, n, id=f"nested {n}")
        return n

    @huey.task(retries=2, retry_delay=0.02, context=True)
    def flaky(task=None):
        if task.retries:
            raise ValueError("again")
        return "at last"

    @huey.task()
    def total(values):
        return sum(values)

    with use_test_queue(huey, storage="own"), run_consumer(worker_type, workers=2) as consumer:
        pipeline = huey.enqueue(add.s(1, 2).then(add, 10))
        both = huey.enqueue(chord([add.s(1, 1), add.s(2, 2)], total))
        retried, later, parent = flaky(), add.schedule((5, 5), delay=0.05), nest(7)
        assert consumer.wait(*pipeline) == [3, 13]
        assert consumer.wait(both.callback, later, parent) == [6, 10, 7]
        assert consumer.wait_for(lambda: huey.get("nested 7", peek=True)) == 14
        assert consumer.wait(retried) == "at last"
        consumer.wait_until_empty(scheduled=True)


def test_a_worker_that_ends_closes_the_connection_by_which_it_listens_and_no_other(make_huey, monkeypatch):
    """Workers that end at once would both close the one that they share, and one of them would fail."""
    huey, listening = make_huey("postgres"), []

    @huey.task()
    def double(n):
        return 2 * n

    with use_test_queue(huey, storage="own"):
        connect = huey.storage._connect
        monkeypatch.setattr(huey.storage, "_connect", lambda: listening.append(connect()) or listening[-1])
        with run_consumer(workers=2) as consumer:
            assert consumer.wait(double(2)) == 4
            consumer.wait_for(lambda: len(listening) == 2)
            shared = huey.storage.conn
        assert not shared.closed
        assert [each.closed for each in listening] == [True, True]


def test_a_consumer_works_on_a_server_that_waits_for_whole_seconds_alone(make_huey, monkeypatch):
    """As Redis did before version 6."""
    redis = pytest.importorskip("redis")
    huey = make_huey("redis")
    connection = huey.storage.conn
    about, take = connection.info("server"), connection.brpop

    def take_as_before(keys, timeout=0):
        if timeout != int(timeout):
            raise redis.ResponseError("timeout is not an integer or out of range")
        return take(keys, timeout)

    monkeypatch.setattr(connection, "info", lambda section: {**about, "redis_version": "5.0.6"})
    monkeypatch.setattr(connection, "brpop", take_as_before)

    @huey.task()
    def double(n):
        return 2 * n

    with use_test_queue(huey, storage="own"), run_consumer("thread") as consumer:
        assert consumer.wait(double(2)) == 4


@needs_fork
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_a_consumer_of_processes_leaves_no_descriptor_open(make_huey):
    """A test suite has hundreds of them in one process, which may have a thousand descriptors."""
    huey = make_huey("sqlite")

    @huey.task()
    def double(n):
        return 2 * n

    def run():
        with use_test_queue(huey, storage="own"), run_consumer("process") as consumer:
            assert consumer.wait(double(1)) == 2
        gc.collect()
        return {os.readlink(path) for path in find_descriptors() if os.path.islink(path)}

    def find_descriptors():
        return [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]

    assert {target for target in run() ^ run() if target.startswith(("pipe:", "socket:"))} == set()


@needs_fork
@pytest.mark.parametrize("worker_type", ["thread", "process"])
def test_a_task_that_fails_for_good_fails_the_block(worker_type, make_huey):
    huey = make_huey("sqlite")
    fail = failing(huey, ValueError("boom"), name="fail", retries=1)
    expected = ValueError if worker_type == "thread" else RemoteTaskError
    with use_test_queue(huey, storage="own"):
        with pytest.raises(expected, match="boom"), run_consumer(worker_type):
            fail()
        with run_consumer(worker_type, raise_errors=False) as consumer:
            result = fail()
            with pytest.raises(RemoteTaskError, match=r"ValueError\('boom'\)\nTraceback"):
                consumer.wait_for(lambda: not huey.pending_count()) and consumer.wait(result)
        assert len(consumer.errors) == 1


def test_a_task_that_fails_after_a_block_within_fails_the_block(huey):
    fail = huey.task(name="fail")(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError), run_consumer():
        with run_consumer():
            pass
        fail()


@needs_fork
@pytest.mark.parametrize("worker_type", ["thread", "process"])
def test_an_error_that_a_worker_only_logs_fails_the_block(worker_type, make_huey):
    huey = make_huey("sqlite")

    @huey.task()
    def unstorable():
        return threading.Lock()

    @huey.task()
    def failing():
        pytest.fail("in the task")

    fine = returning(huey, 1, name="fine")
    for task, message in [(unstorable, "pickle"), (failing, "in the task")]:
        fails = pytest.raises((TypeError, pytest.fail.Exception, RemoteTaskError), match=message)
        with use_test_queue(huey, storage="own"), fails, run_consumer(worker_type) as consumer:
            task()
            assert consumer.wait(fine()) == 1  # The worker is still there.
    fails = pytest.raises((pickle.UnpicklingError, RemoteTaskError))
    with use_test_queue(huey, storage="own"), fails, run_consumer(worker_type):
        huey.storage.enqueue(b"not a pickle")


def test_waiting_takes_whatever_enqueueing_has_returned(huey):
    @huey.task()
    def add(a, b):
        return a + b

    @huey.task()
    def total(numbers):
        return sum(numbers)

    with run_consumer() as consumer:
        result = add(2, 3)
        assert [consumer.wait(result) for _ in range(2)] == [5, 5]  # It stays where it is.
        assert result.get() == 5
        pipeline = huey.enqueue(add.s(1, 2).then(add, 10))
        mapped = add.map([(1, 1), (2, 2)])
        both = huey.enqueue(chord([add.s(3, 4), add.s(5, 6)], total.s()))
        assert consumer.wait(pipeline) == [3, 13]
        assert consumer.wait(mapped, both) == [[2, 4], 18]


def test_the_end_of_the_block_waits_for_what_is_executing_and_for_what_that_enqueues(huey):
    started, go = threading.Event(), threading.Event()
    done = []

    @huey.task()
    def second():
        done.append("second")

    @huey.task()
    def first():
        started.set()
        go.wait(60)
        second()
        done.append("first")

    with run_consumer():
        first()
        started.wait(60)
        go.set()
    assert sorted(done) == ["first", "second"]


def test_without_draining_the_rest_stays(huey, monkeypatch):
    started, go = threading.Event(), threading.Event()
    stop = consumer_runs._TestConsumer.stop

    @huey.task()
    def wait():
        started.set()
        go.wait(60)

    def let_go_and_stop(consumer, graceful=False):
        consumer.stop_flag.set()
        go.set()
        stop(consumer, graceful)

    monkeypatch.setattr(consumer_runs._TestConsumer, "stop", let_go_and_stop)
    with run_consumer(drain=False):
        wait()
        wait()
        assert started.wait(60)
    assert len(all_enqueued(wait)) == 1


def test_a_task_that_enqueues_itself_ends_the_run_with_an_error_after_the_longest_wait(huey, monkeypatch):
    monkeypatch.setattr(consumer_runs, "machine_seconds", itertools.count(0, 9).__next__)
    runs = []

    @huey.task(name="again")
    def again():
        runs.append(1)
        if len(runs) < 100_000:  # so that the test ends where nothing else ends the run
            again()

    with pytest.raises(TaskError, match=r"for 30 s after the block .*: a task enqueues itself"), run_consumer():
        again()


@pytest.mark.skipif(sys.platform == "win32", reason="a program is told to end by a signal")
@pytest.mark.parametrize(("drain", "started"), [(True, 3), (False, 1)])
def test_what_is_enqueued_while_a_program_ends_is_left_to_another_program(make_huey, monkeypatch, drain, started):
    huey, programs = make_huey("file"), []
    enqueued_late = returning(huey, name="enqueued_late")

    @contextlib.contextmanager
    def run_program(running, command, folder):
        programs.append(command)
        drain_queue()
        yield
        if len(programs) < 3:
            enqueued_late()

    monkeypatch.setattr(consumer_runs, "_program", run_program)
    with use_test_queue(huey, storage="own"):
        with run_consumer(subprocess="app.huey", drain=drain, timeout=5):
            pass
        assert len(programs) == started


@needs_fork
@pytest.mark.parametrize(
    ("die", "how"),
    [(lambda: os._exit(9), "has ended with code 9"), (lambda: os.kill(os.getpid(), 9), "was killed by SIGKILL")],
    ids=["exit", "kill"],
)
def test_a_worker_process_that_dies_ends_a_wait_at_once(make_huey, die, how):
    huey = make_huey("sqlite")
    task = huey.task(name="die")(die)
    with (
        use_test_queue(huey, storage="own"),
        pytest.raises(TaskError, match=f"a worker process {how}, and no other one takes over the task"),
        run_consumer("process", timeout=240) as consumer,
    ):
        consumer.wait(task())


@pytest.mark.parametrize(("keep_running", "raise_errors"), [(True, True), (False, False)])
def test_a_wait_goes_on_if_another_worker_does(keep_running, raise_errors):
    huey = aquila.huey.MemoryHuey("app", keep_running=keep_running)
    task = returning(huey, 7)
    died = SimpleNamespace(exitcode=-9, is_alive=lambda: False)
    lives = SimpleNamespace(exitcode=None, is_alive=lambda: True)
    with use_test_queue(huey), run_consumer(raise_errors=raise_errors) as consumer:
        consumer.worker_processes = [died, lives]
        assert consumer.wait(task()) == 7
        consumer.worker_processes = [died]
        with pytest.raises(TaskError, match="killed by SIGKILL"):
            consumer.wait_for(bool)
        consumer.worker_processes = [SimpleNamespace(exitcode=-40, is_alive=lambda: False)]  # a real-time signal
        with pytest.raises(TaskError, match="killed by signal 40"):
            consumer.wait_for(bool)
        consumer.worker_processes = []


@needs_fork
@pytest.mark.parametrize("stuck", [QuickScheduler, AquilaWorker])
def test_a_process_that_does_not_end_is_killed(stuck, make_huey, monkeypatch):
    began, never = multiprocessing.get_context("fork").Event(), threading.Event()
    monkeypatch.setattr(stuck, "loop", lambda *arguments: began.set() or never.wait())
    with (
        use_test_queue(make_huey("file"), storage="own"),
        pytest.raises(TaskError, match=r"did not end within 0\.2 s"),
        run_consumer(worker_type="process", timeout=0.2),
    ):
        assert began.wait(60)
    assert multiprocessing.active_children() == []


def test_a_task_that_does_not_end_is_named(huey):
    started, go, interrupted = threading.Event(), threading.Event(), []
    huey.signal("interrupted")(lambda name, task: interrupted.append(task.name))

    @huey.task()
    def stuck():
        started.set()
        go.wait(60)

    try:
        ends = pytest.raises(TaskError, match=r"did not end within 0\.1 s; still executing: .*stuck")
        with ends, run_consumer(timeout=0.1):
            stuck()
            assert started.wait(60)
        assert interrupted == ["stuck"]
    finally:
        go.set()


def test_waiting_for_a_result_names_what_still_executes(huey):
    started, go = threading.Event(), threading.Event()

    @huey.task()
    def stuck():
        started.set()
        go.wait(60)
        return 1

    with run_consumer() as consumer:
        try:
            result = stuck()
            assert started.wait(60)
            with pytest.raises(TaskError, match=r"did not come within 0 s .*; still executing: .*stuck: .{36}$"):
                consumer.wait(result, timeout=0)
        finally:
            go.set()


def test_waits_end_although_a_test_has_stopped_its_clock(huey, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 1.0)  # as freezegun does
    refute_enqueued(huey=huey, timeout=0.01)
    with pytest.raises(TaskError, match=r"the condition did not come within 0\.01 s"):
        RunningConsumer(huey, 0.01, WorkerErrors(tmp_path / "errors")).wait_for(lambda: False)


def test_waiting_for_a_result_names_the_error_that_a_retry_is_to_follow(huey):
    fails = failing(huey, ValueError("no such ticket"), name="fails", retries=1, retry_delay=600)
    with run_consumer(raise_errors=False) as consumer:
        result = fails()
        consumer.wait_for(huey.scheduled_count)
        with pytest.raises(
            TaskError, match=r"scheduled: 1\); a retry is to follow its last error, ValueError\('no such"
        ):
            consumer.wait(result, timeout=0)


def test_waiting_for_a_result_says_that_none_is_not_stored(huey):
    ended = threading.Event()
    huey.post_execute("ended")(lambda *arguments: ended.set())

    @huey.task()
    def forgets_to_return():
        """Returns None."""

    with run_consumer() as consumer:
        result = forgets_to_return()
        assert ended.wait(60)
        consumer.wait_for(lambda: not huey._tasks_in_flight)
        late = r"the result of .*forgets_to_return: .* did not come within 0 s \(pending: 0, scheduled: 0\)"
        with pytest.raises(TaskError, match=f"{late}.*it has returned None, which is not stored"):
            consumer.wait(result, timeout=0)


def test_waiting_for_a_result_names_what_failed_and_guesses_no_more(huey):
    @huey.task()
    def job():
        """Its message is damaged."""

    with run_consumer(raise_errors=False) as consumer:
        huey.storage.enqueue(b"damaged")
        consumer.wait_for(lambda: consumer.errors)
        with pytest.raises(TaskError, match=r"\(pending: 0, scheduled: 0\)\. A worker failed: "):
            consumer.wait(huey._result_handle(job.s()), timeout=0)


@pytest.mark.parametrize(("name", "advises"), [("jobs", True), ("jobs-gw77", False)])
def test_waiting_says_that_workers_of_xdist_may_share_the_storage(tmp_path, monkeypatch, name, advises):
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw77")  # no worker of this run, whose name `tmp_path` has
    huey = SqliteHuey("jobs", filename=tmp_path / f"{name}.db")
    late = pytest.raises(TaskError, match="the condition did not come")
    with use_test_queue(huey, storage="own"), run_consumer() as consumer, late as error:
        consumer.wait_for(lambda: False, timeout=0.02)
    assert ("other workers of pytest-xdist" in str(error.value).lower()) is advises


def test_an_empty_queue_may_have_a_schedule_unless_that_is_to_be_empty_too(huey):
    task = returning(huey, 1, name="task")

    with run_consumer() as consumer:
        task.schedule(delay=3600)
        consumer.wait_until_empty()
        with pytest.raises(TaskError, match=r"an empty queue did not come .* \(pending: 0, scheduled: 1\)"):
            consumer.wait_until_empty(scheduled=True, timeout=0.02)


def test_pytest_keeps_its_signal_handlers_and_huey_its_timeouts(huey):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with run_consumer():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert huey._timeout_handler is None
    assert not [thread for thread in threading.enumerate() if thread.name in ("Worker-1", "Scheduler")]


def test_it_runs_off_the_main_thread_too(make_huey):
    huey, values = make_huey("memory"), []
    task = returning(huey, 5, name="task")

    def run():
        with run_consumer(huey=huey) as consumer:
            values.append(consumer.wait(task()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert values == [5]


def test_periodic_tasks_run_only_on_request(huey):
    ran = threading.Event()
    task = returning(huey, 5, name="task")

    @huey.periodic_task(lambda moment: True)
    def periodic():
        ran.set()

    with run_consumer() as consumer:
        consumer.wait(task())
    assert not ran.is_set()
    with run_consumer(periodic=True):
        assert ran.wait(60)


@pytest.mark.parametrize("arguments", [{"worker_type": "process"}, {"subprocess": "app.huey"}])
def test_workers_that_could_never_see_the_queue_are_refused(arguments):
    for huey in (MemoryHuey(), SqliteHuey(filename=":memory:", create_tables=False)):
        with pytest.raises(ConfigError, match="cannot see"), run_consumer(**arguments, huey=huey):
            pass


def test_a_consumer_in_an_inline_mode_is_refused(make_huey):
    with use_test_queue(make_huey("memory"), "inline"), pytest.raises(ConfigError, match="inline"), run_consumer():
        pass


APP = """
import os, time
from huey import {Huey}
huey = {Huey}("app", **{options!r})

@huey.task()
def where():
    return os.getpid()

@huey.task(retries=1)
def fail():
    raise ValueError("boom")

@huey.task()
def leave():
    os.kill(os.getpid(), 9)

@huey.task()
def hang(path):
    open(path, "w").close()
    time.sleep(60)

@huey.task()
def blocking():
    import socket
    return socket.socket.__module__
"""


@pytest.fixture
def app(tmp_path, monkeypatch, request):
    """An application in a module of its own, as a consumer program imports it."""

    def make(kind="sqlite"):
        if kind == "redis":
            options, huey_class = {"url": request.getfixturevalue("redis_url")}, "RedisHuey"
        else:
            options, huey_class = {"filename": str(tmp_path / "q.db")}, "SqliteHuey"
        (tmp_path / "consumed_app.py").write_text(APP.format(Huey=huey_class, options=options))
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "consumed_app", raising=False)
        return importlib.import_module("consumed_app")

    yield make
    module = sys.modules.pop("consumed_app", None)
    if module is not None:
        module.huey.storage.close()


@pytest.mark.parametrize(
    ("worker_type", "kind"),
    [("thread", "sqlite"), pytest.param("process", "redis", marks=needs_fork)],
)
@pytest.mark.slow
def test_a_program_of_its_own_takes_the_tasks(worker_type, kind, app):
    module = app(kind)
    fails = pytest.raises(RemoteTaskError, match="ValueError: boom")
    with use_test_queue(module.huey, storage="own"):
        with fails, run_consumer(worker_type, subprocess="consumed_app:huey", timeout=240) as consumer:
            pid = consumer.wait(module.where())
            assert pid != os.getpid()
            result = module.fail()
            consumer.wait_for(lambda: consumer.log.count("ValueError: boom") >= 2)
            with pytest.raises(RemoteTaskError, match="boom"):
                consumer.wait(result)
        assert consumer.process.returncode == 0
        assert "ValueError: boom" in consumer.log
        assert [error.type_name for error in consumer.errors] == ["builtins.ValueError"]


@pytest.mark.slow
@needs_gevent
def test_a_greenlet_program_is_patched_before_it_imports(app):
    module = app()
    program = {"worker_type": "greenlet", "workers": 3, "subprocess": "consumed_app.huey", "timeout": 240}
    with use_test_queue(module.huey, storage="own"), run_consumer(**program) as consumer:
        assert "gevent" in consumer.wait(module.blocking())


@pytest.mark.slow
def test_a_program_that_dies_is_reported_with_its_log(app):
    module = app()
    dies = pytest.raises(TaskError, match=r"ended with code -9; it wrote:\n(.|\n)*Executing consumed_app\.leave")
    program = run_consumer(subprocess="consumed_app.huey", timeout=240)
    with use_test_queue(module.huey, storage="own"), dies, program as consumer:
        consumer.wait(module.leave())


@pytest.mark.slow
def test_a_program_that_cannot_start_is_reported(app):
    module = app()
    with use_test_queue(module.huey, storage="own"):
        with pytest.raises(TaskError, match="No module named 'nowhere'"), run_consumer(subprocess="nowhere.huey"):
            pass
        with pytest.raises(ConfigError, match="import path"), run_consumer(subprocess=True):
            pass


@pytest.mark.slow
def test_a_program_that_does_not_end_is_killed(app, tmp_path):
    module, begun = app(), tmp_path / "begun"
    with use_test_queue(module.huey, storage="own"), contextlib.ExitStack() as stack:
        consumer = stack.enter_context(run_consumer(subprocess="consumed_app.huey", drain=False, timeout=240))
        module.hang(str(begun))
        consumer.wait_for(begun.exists)
        consumer.timeout = 0.1
        with pytest.raises(TaskError, match="did not end"):
            stack.close()
    assert consumer.process.returncode is not None


KILLED = """
import os, sys
from aquila.huey import SqliteHuey
from aquila.huey.testing import run_consumer, use_test_queue

huey = SqliteHuey("killed", filename=os.environ["QUEUE"])

@huey.task()
def where():
    return os.getpid()

def main():
    options = {"timeout": 240, **eval(sys.argv[1])}
    with use_test_queue(huey, storage="own"), run_consumer(**options) as consumer:
        task = where()
        print(os.getpgid(consumer.wait(task)), flush=True)
        sys.stdin.read()
"""


@needs_fork
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize(
    "options",
    [
        {"worker_type": "process"},
        {"subprocess": "killed_app.huey"},
        {"subprocess": "killed_app.huey", "worker_type": "process"},
        pytest.param({"subprocess": "killed_app.huey", "worker_type": "greenlet"}, marks=needs_gevent),
    ],
    ids=str,
)
def test_no_process_of_a_consumer_outlives_a_run_that_is_killed(options, how, tmp_path):
    """All of them hold the standard output of the run, which ends with the last one."""
    (tmp_path / "killed_app.py").write_text(KILLED)
    command = [sys.executable, "-c", "import killed_app; killed_app.main()", repr(options)]
    environment = {
        **os.environ,
        "QUEUE": str(tmp_path / "q.db"),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)]),
    }
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        group = int(process.stdout.readline())
        try:
            process.send_signal(how)
            assert process.wait(60) == -how
            assert select.select([process.stdout], [], [], 60)[0]
            assert process.stdout.read() == b""
        finally:
            for each in {group, process.pid}:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(each, signal.SIGKILL)


def test_an_error_that_a_worker_is_writing_is_read_when_it_is_whole(tmp_path):
    file = tmp_path / "errors"
    errors = WorkerErrors(file)
    WorkerErrors(file, owner=0).note(ValueError("first"))
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:20])
    assert len(errors.collect()) == 1
    file.write_bytes(whole + whole)
    assert len(errors.collect()) == 2
