"""The kinds of storage, and the class of Aquila for each."""

from aquila.huey import FileHuey, MemoryHuey, PostgresHuey, RedisHuey, SqliteHuey

CLASSES = {"memory": MemoryHuey, "sqlite": SqliteHuey, "file": FileHuey, "redis": RedisHuey, "postgres": PostgresHuey}
STORAGES = tuple(CLASSES)
SHARED = ("redis", "sqlite", "postgres")
"""The storages on which tests let several processes share a queue."""
