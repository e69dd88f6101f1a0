"""Whether two storages of Huey are one queue: by where their jobs go, and not by their names alone."""

import pytest
from huey.storage import (
    BaseStorage,
    BlackHoleStorage,
    FileStorage,
    MemoryStorage,
    PostgresStorage,
    PriorityRedisStorage,
    RedisExpireStorage,
    RedisStorage,
    SqliteStorage,
)
from redis import ConnectionPool
from redis.sentinel import Sentinel, SentinelConnectionPool

from aquila.intercept.queues.queue_places import is_real, name_place


class OfAUser(BaseStorage):
    def __init__(self, name, target):
        super().__init__(name)
        self.target, self.lock = target, object()


def sentinel(name, host="one"):
    return RedisStorage("app", connection_pool=SentinelConnectionPool(name, Sentinel([(host, 26379)])))


def postgres(name="app", dsn="host=db dbname=jobs password=hush", **options):
    return PostgresStorage(name, dsn=dsn, create_tables=False, **options)


def sqlite(name, filename):
    return SqliteStorage(name, filename=filename, create_tables=False)


SAME = {
    "defaults": lambda: (RedisStorage("app"), RedisStorage("app", host="127.0.0.1", port=6379, db=0)),
    "url": lambda: (
        RedisStorage("app", url="redis://:hush@Redis:7000/2"),
        RedisStorage("app", host="redis", port=7000, db=2),
    ),
    "socket": lambda: (
        RedisStorage("app", url="unix:///run/redis.sock?db=1"),
        RedisStorage("app", connection_pool=ConnectionPool.from_url("unix:///run/redis.sock?db=1")),
    ),
    "kinds": lambda: (RedisExpireStorage("app"), PriorityRedisStorage("app")),
    "cleaned name": lambda: (RedisStorage("my-app"), RedisStorage("myapp")),
    "sentinel": lambda: (sentinel("main"), sentinel("main")),
    "postgres": lambda: (postgres(), postgres(dsn=None, host="db", dbname="jobs", password="other")),
    "relative file": lambda: (sqlite("app", "q.db"), sqlite("app", "./x/../q.db")),
    "folder": lambda: (FileStorage("one", path="q"), FileStorage("two", path="./q")),
    "of a user": lambda: (OfAUser("app", "here"), OfAUser("app", "here")),
}  # fmt: skip
OTHER = {
    "name": lambda: (RedisStorage("app"), RedisStorage("mail")),
    "name with its case kept": lambda: (RedisStorage("my-app", clean_name=False), RedisStorage("myapp")),
    "database": lambda: (RedisStorage("app", db=0), RedisStorage("app", db=1)),
    "port": lambda: (RedisStorage("app"), RedisStorage("app", port=6380)),
    "host": lambda: (RedisStorage("app"), RedisStorage("app", host="redis")),
    "socket": lambda: (RedisStorage("app", url="unix:///a.sock"), RedisStorage("app", url="unix:///b.sock")),
    "socket and port": lambda: (RedisStorage("app", url="unix:///a.sock"), RedisStorage("app")),
    "service": lambda: (sentinel("main"), sentinel("other")),
    "sentinels": lambda: (sentinel("main"), sentinel("main", "two")),
    "postgres": lambda: (postgres(), postgres(dsn="host=db dbname=other")),
    "tables": lambda: (postgres(), postgres(table_prefix="other")),
    "server and name": lambda: (postgres(), postgres("mail")),
    "file": lambda: (sqlite("app", "q.db"), sqlite("app", "other.db")),
    "folder": lambda: (FileStorage("app", path="q"), FileStorage("app", path="other")),
    "kind": lambda: (RedisStorage("app"), sqlite("app", "q.db")),
    "of a user": lambda: (OfAUser("app", "here"), OfAUser("app", "there")),
}


@pytest.mark.parametrize("storages", SAME.values(), ids=SAME)
def test_storages_of_one_queue_have_one_place(storages, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    one, two = map(name_place, storages())
    assert one == two
    assert "hush" not in one


@pytest.mark.parametrize("storages", OTHER.values(), ids=OTHER)
def test_storages_of_two_queues_have_two_places(storages, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, two = map(name_place, storages())
    assert one != two


def test_a_link_to_a_file_is_the_file(tmp_path):
    (tmp_path / "q.db").touch()
    (tmp_path / "link.db").symlink_to("q.db")
    assert name_place(sqlite("app", tmp_path / "link.db")) == name_place(sqlite("app", str(tmp_path / "q.db")))


def test_what_stays_in_memory_or_nowhere_is_not_real():
    class Watched(MemoryStorage):
        pass

    kinds = (MemoryStorage(), Watched, BlackHoleStorage, RedisStorage, OfAUser("a", "b"))
    assert [is_real(each) for each in kinds] == [False, False, False, True, True]
