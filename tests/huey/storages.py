"""The kinds of storage, and the class of Aquila for each. What a storage raises while it is away."""

import huey

from aquila.huey import AquilaHuey, FileHuey, MemoryHuey, PostgresHuey, RedisHuey, SqliteHuey

CLASSES = {"memory": MemoryHuey, "sqlite": SqliteHuey, "file": FileHuey, "redis": RedisHuey, "postgres": PostgresHuey}
STORAGES = tuple(CLASSES)
SHARED = ("redis", "sqlite", "postgres")
"""The storages on which tests let several processes share a queue."""
WITH_COPIES = ("sqlite", "redis", "priorities", "postgres")
"""The storages that can keep copies of running tasks. The fixture ``make`` takes these names."""


class ExpiringHuey(AquilaHuey, huey.RedisExpireHuey):
    """A queue on Redis whose results expire."""


class Away(Exception):
    """What a storage raises while it is away: no client library's own."""


def be_away(*arguments, **options):
    """Stand for a method of a storage that is away."""
    raise Away("away")
