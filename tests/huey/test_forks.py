"""A program forks while its threads use a queue in a database: the child uses it, too, by a connection of its own."""

import contextlib
import os
import signal
import sys
import threading
from weakref import WeakSet

import pytest

from aquila.errors import PickledMessages
from aquila.huey import MemoryHuey, SqliteHuey, connections_at_fork, instrument
from aquila.huey.live import publish_jobs
from aquila.huey.state import state_of
from tests.huey.storages import CLASSES
from tests.support.forked import do_in_child

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]

DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)]


@pytest.fixture
def make_forkable(make_huey, monkeypatch):
    """Make a Huey on a database. Others of this process, of other tests, have nothing to do with its forks."""
    monkeypatch.setattr(connections_at_fork, "_storages", WeakSet())
    return lambda kind, classes=CLASSES: make_huey(kind, classes)


@contextlib.contextmanager
def transaction_of_another_thread(storage, monkeypatch):
    """Be in the midst of a transaction when a fork begins to wait for it."""
    begun, go = threading.Event(), threading.Event()

    class TellingLock:
        def __init__(self, lock):
            self.lock = lock

        def acquire(self, **options):
            go.set()
            return self.lock.acquire(**options)

        def __getattr__(self, name):
            return getattr(self.lock, name)

        def __enter__(self):
            self.lock.acquire()

        def __exit__(self, *error):
            self.lock.release()

    def change():
        with storage.db(commit=True) as cursor:
            cursor.execute("delete from task where 0" if hasattr(storage, "filename") else "select 1")
            begun.set()
            go.wait(60)

    monkeypatch.setattr(storage, "lock", TellingLock(storage.lock))
    thread = threading.Thread(target=change)
    thread.start()
    begun.wait()
    yield go
    go.set()
    thread.join()


def enqueue_in_child(huey, number):
    return do_in_child(lambda: huey.storage.enqueue(b"%d" % number))


@pytest.mark.parametrize("kind", DATABASES)
def test_a_child_enqueues_while_another_thread_is_in_a_transaction(kind, make_forkable, monkeypatch):
    huey = make_forkable(kind)
    huey.storage.enqueue(b"1")
    with transaction_of_another_thread(huey.storage, monkeypatch):
        assert enqueue_in_child(huey, 2) == 0
    assert huey.storage.enqueued_items() == [b"1", b"2"]


@pytest.mark.parametrize("kind", DATABASES)
def test_a_child_has_no_connection_of_its_parent(kind, make_forkable):
    huey = make_forkable(kind)
    huey.storage.enqueue(b"1")
    assert huey.storage._conn is not None

    def look():
        assert huey.storage._conn is None

    assert do_in_child(look) == 0
    assert enqueue_in_child(huey, 2) == 0
    assert huey.storage.enqueued_items() == [b"1", b"2"]


def test_a_fork_does_not_wait_for_ever_and_its_child_leaves_the_connection_alone(make_forkable, monkeypatch):
    monkeypatch.setattr(connections_at_fork, "_PATIENCE", 0.01)
    huey = make_forkable("sqlite")
    storage = huey.storage
    storage.enqueue(b"1")
    held, go = threading.Event(), threading.Event()

    def hold():
        with storage.lock:
            held.set()
            go.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    connection = storage._conn
    try:
        assert enqueue_in_child(huey, 2) == 0
    finally:
        go.set()
        thread.join()
    assert storage._conn is connection
    assert storage.enqueued_items() == [b"1", b"2"]


class Struck(Exception):
    """What the handler of a signal raises, as Ctrl-C and time limits of tests do."""


class Striking:
    """A lock of another thread. A signal comes while a fork waits for it."""

    def __init__(self, number):
        self.number = number

    def acquire(self, timeout):
        if timeout > 0:
            signal.raise_signal(self.number)
        return False

    def release(self):
        raise AssertionError("it was never taken")


def raise_struck(number, frame):
    raise Struck(number)


@pytest.mark.parametrize(
    ("number", "handler", "error"),
    [
        (signal.SIGINT, signal.default_int_handler, KeyboardInterrupt),
        (signal.SIGTERM, raise_struck, Struck),
    ],
    ids=["Ctrl-C", "handler"],
)
def test_a_signal_ends_the_waiting_of_a_fork_is_told_and_the_child_uses_all_queues(
    number, handler, error, make_forkable, monkeypatch
):
    first, second = make_forkable("file"), make_forkable("sqlite")
    storages = [state_of(first)._storage, second.storage]
    told = []
    before = signal.signal(number, handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "unraisablehook", lambda unraisable: told.append(unraisable.exc_type))
            for storage in storages:
                patch.setattr(storage, "lock", Striking(number))
            child = os.fork()
            if child == 0:
                with contextlib.suppress(BaseException):
                    second.storage.enqueue(b"1")
                os._exit(0)
    finally:
        signal.signal(number, before)
    assert os.waitpid(child, 0)[1] == 0
    assert second.storage.enqueued_items() == [b"1"]
    assert told == [error]  # by Python, which prints what a hook of a fork raises


def test_a_queue_in_memory_stays():
    huey = SqliteHuey("app", filename=":memory:", create_tables=False)
    huey.storage.sql("create table kept (number)")
    assert do_in_child(lambda: huey.storage.sql("insert into kept values (1)")) == 0
    assert huey.storage.sql("select * from kept", results=True) == []
    huey.storage.close()


def test_an_instrumented_huey_and_what_is_beside_a_queue_of_files_count_too(make_forkable):
    plain = make_forkable("sqlite", None)
    assert plain.storage not in connections_at_fork._storages
    with pytest.warns(PickledMessages):
        instrument(plain)
    assert plain.storage in connections_at_fork._storages
    files = make_forkable("file")
    assert state_of(files)._storage in connections_at_fork._storages


def test_a_task_that_forks_goes_on_in_the_child_while_another_thread_publishes():
    huey = MemoryHuey("app")
    publish_jobs(huey)
    held, go = threading.Event(), threading.Event()

    def publish():
        with huey.publisher.store._woken._cond:
            held.set()
            go.wait(60)

    thread = threading.Thread(target=publish)
    thread.start()
    held.wait(60)
    try:
        assert do_in_child(huey.publisher.store.wake) == 0
    finally:
        go.set()
        thread.join()
