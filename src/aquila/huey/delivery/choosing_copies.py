"""Chooses the implementation of the copies of running tasks for a Huey's storage."""

from __future__ import annotations

from typing import Any

from huey.storage import MemoryStorage, PostgresStorage, RedisStorage, SqliteStorage

from aquila.huey.delivery.redis_copies import RedisCopies
from aquila.huey.delivery.running_copies import LooseCopies, RunningCopies
from aquila.huey.delivery.sql_copies import PostgresCopies, SqliteCopies
from aquila.huey.state import state_of

_ATTRIBUTE = "_aquila_copies"
"""The attribute of a storage that holds its copies. They are made once, and live for as long as the storage."""


def copies_of(huey: Any) -> RunningCopies | None:
    """Return the copies of a Huey's storage. None for a storage in memory, which ends together with its workers.

    Raises ``ConfigError`` for a storage other than Huey's own.
    """
    storage = huey.storage
    if isinstance(storage, MemoryStorage):
        return None
    copies: RunningCopies | None = vars(storage).get(_ATTRIBUTE)
    if copies is None:
        # `setdefault` in one step: two threads that come here at once get the same object.
        copies = vars(storage).setdefault(_ATTRIBUTE, _make_copies(huey))
    return copies


def _make_copies(huey: Any) -> RunningCopies:
    storage, state = huey.storage, state_of(huey)
    match storage:
        case RedisStorage():
            return RedisCopies(storage)
        case SqliteStorage():
            return SqliteCopies(storage, state)
        case PostgresStorage():
            return PostgresCopies(storage, state)
    return LooseCopies(storage, state)
