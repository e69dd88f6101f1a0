"""Chooses the implementation of the copies of running tasks for a Huey's storage."""

from __future__ import annotations

from typing import Any

from huey.storage import MemoryStorage, PostgresStorage, RedisStorage, SqliteStorage

from aquila.errors import ConfigError
from aquila.huey.delivery.redis_copies import RedisCopies
from aquila.huey.delivery.running_copies import RunningCopies
from aquila.huey.delivery.sql_copies import PostgresCopies, SqliteCopies
from aquila.huey.state import state_of

_ATTRIBUTE = "_aquila_copies"
"""The attribute of a storage that holds its copies. They are made once, and live for as long as the storage."""


def copies_of(huey: Any) -> RunningCopies | None:
    """Return the copies of a Huey's storage. None for a storage in memory, which ends together with its workers.

    Raises ``ConfigError`` as ``check_can_keep`` does.
    """
    storage = huey.storage
    if isinstance(storage, MemoryStorage):
        return None
    copies: RunningCopies | None = vars(storage).get(_ATTRIBUTE)
    if copies is None:
        # `setdefault` in one step: two threads that come here at once get the same object.
        copies = vars(storage).setdefault(_ATTRIBUTE, _make_copies(huey))
    return copies


def check_can_keep(storage: Any) -> None:
    """Raise ``ConfigError`` for a storage that cannot keep copies: a folder of files, or one that is not Huey's own."""
    if not isinstance(storage, MemoryStorage | RedisStorage | SqliteStorage | PostgresStorage):
        kind = type(storage)
        raise ConfigError(
            f"the storage {kind.__module__}.{kind.__qualname__} cannot keep running tasks, because it cannot take a "
            "task and keep its copy in one step: use Redis, SQLite or Postgres, or leave out keep_running=True"
        )


def _make_copies(huey: Any) -> RunningCopies:
    storage = huey.storage
    check_can_keep(storage)
    if isinstance(storage, RedisStorage):
        return RedisCopies(storage)
    kind = SqliteCopies if isinstance(storage, SqliteStorage) else PostgresCopies
    return kind(storage, state_of(huey))
