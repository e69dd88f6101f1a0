"""Fixtures for Huey on every kind of storage, on servers that the suite starts itself."""

import functools
import importlib
import sys
import threading
import time
import uuid

import pytest
from huey import FileHuey, MemoryHuey, PostgresHuey, RedisHuey, SqliteHuey
from huey.storage import BaseSqlStorage, SqliteStorage

from aquila.huey import MemoryHuey as AquilaMemoryHuey
from aquila.huey.delivery.consumer_heartbeats import ConsumerLife
from aquila.huey.scopes.joined_scopes import JoinedScopes
from aquila.huey.state.memory_tables import MemoryState
from aquila.huey.state.redis_tables import RedisState
from aquila.huey.state.sql_tables import PostgresState, SqliteState
from aquila.huey.testing import use_test_queue
from aquila.recording import runtime
from tests.huey.storages import CLASSES
from tests.support import servers
from tests.support.stateful_project import stateful  # noqa: F401
from tests.support.upstream import streamed, upstream


@pytest.fixture(autouse=True)
def closed_scopes():
    """Close the scopes that a test has joined as a worker. A worker keeps them for its next tasks."""
    yield
    runtime.current_run().state_of(JoinedScopes).close_all()


@pytest.fixture(autouse=True)
def closed_databases(monkeypatch):
    """Close the databases that a test has opened. Huey leaves them to the garbage collector."""
    opened, make, set_up = [], BaseSqlStorage.__init__, SqliteStorage._set_journal_mode

    def make_and_note(self, *arguments, **options):
        opened.append(self)
        make(self, *arguments, **options)

    def set_up_or_close(self, connection):
        try:
            set_up(self, connection)
        except BaseException:
            connection.close()  # Huey neither keeps nor closes this connection.
            raise

    monkeypatch.setattr(BaseSqlStorage, "__init__", make_and_note)
    monkeypatch.setattr(SqliteStorage, "_set_journal_mode", set_up_or_close)
    yield
    for storage in opened:
        storage.close()


@pytest.fixture(autouse=True)
def ended_lives(monkeypatch, closed_databases):
    """End the consumer lives that a test has begun by taking a message, as the end of a consumer does.

    Otherwise their heartbeats would open the database again. And if a later test forked while such a thread is within
    SQLite, the child would wait for ever for the locks of the library.
    """
    begun, make = [], ConsumerLife.__init__

    def make_and_note(self, *arguments, **options):
        begun.append(self)
        make(self, *arguments, **options)

    monkeypatch.setattr(ConsumerLife, "__init__", make_and_note)
    yield
    for life in begun:
        life.end(forget=False)


@pytest.fixture(scope="session")
def redis_url():
    with servers.redis_server() as server:
        yield server.url


@pytest.fixture(scope="session")
def postgres_dsn():
    with servers.postgres_server() as dsn:
        yield dsn


@pytest.fixture
def make_huey(request, tmp_path):
    """Make a Huey on a kind of storage: ``make_huey("redis")``. ``classes`` replaces Huey's classes, by kind."""
    made = []

    def make(kind, classes=None, **options):
        name = f"q{uuid.uuid4().hex[:8]}"
        defaults = {
            "memory": MemoryHuey, "sqlite": SqliteHuey, "file": FileHuey, "redis": RedisHuey, "postgres": PostgresHuey,
        }  # fmt: skip
        huey_class = {**defaults, **(classes or {})}[kind]
        if kind == "sqlite":
            options |= {"filename": str(tmp_path / "queue.db"), "fsync": False}
        elif kind == "file":
            options["path"] = str(tmp_path / "queue")
        elif kind == "redis":
            options["url"] = request.getfixturevalue("redis_url")
        elif kind == "postgres":
            options["dsn"] = request.getfixturevalue("postgres_dsn")
        made.append(huey_class(name, **options))
        return made[-1]

    yield make
    for huey in made:
        huey.storage.close()
        # On Redis, `close` closes no connection, and the garbage collector would warn of the open sockets.
        if isinstance(huey, RedisHuey):
            huey.storage.conn.connection_pool.disconnect()


@pytest.fixture
def make_aquila_huey(make_huey):
    """Make a Huey of Aquila on a kind of storage: ``make_aquila_huey("redis", keep_running=True)``."""
    return functools.partial(make_huey, classes=CLASSES)


@pytest.fixture
def huey():
    """A Huey in memory whose queue is under test."""
    huey = AquilaMemoryHuey("app")
    with use_test_queue(huey):
        yield huey


@pytest.fixture
def held():
    """A provider that sends three words of its response, and the rest when the test sets ``held.go``."""
    go = threading.Event()

    def before_chunk(number):
        if number == 4:
            go.wait(60)

    with upstream(lambda path, body: streamed("one two three four five", before_chunk=before_chunk)) as server:
        server.go = go
        yield server
        go.set()


@pytest.fixture
def import_app(tmp_path, monkeypatch):
    """Write an application's module into ``tmp_path``, and import it: ``import_app(source)``."""
    made = []

    def write_and_import(source):
        name = f"app_{uuid.uuid4().hex[:8]}"
        (tmp_path / f"{name}.py").write_text(source)
        made.append(importlib.import_module(name))
        return made[-1]

    monkeypatch.syspath_prepend(tmp_path)
    yield write_and_import
    for module in made:
        module.huey.storage.close()
        sys.modules.pop(module.__name__, None)


class Clocks:
    """The clocks of the storages, ahead by ``set_by`` + ``passed`` seconds, and of the process, ahead by ``passed``."""

    def __init__(self):
        self.set_by = self.passed = 0.0

    def time(self):
        return time.time() + self.set_by + self.passed

    def monotonic(self):
        return time.monotonic() + self.passed

    def __getattr__(self, name):
        return getattr(time, name)


@pytest.fixture
def clocks(monkeypatch):
    """Let a test set the clock of every storage, servers included. Each process of a queue would see that."""
    clocks = Clocks()
    for kind in (MemoryState, SqliteState, RedisState, PostgresState):

        def now(state, tell=kind.now):
            return tell(state) + clocks.set_by + clocks.passed

        monkeypatch.setattr(kind, "now", now)
    return clocks
