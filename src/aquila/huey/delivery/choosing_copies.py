"""The copies of running tasks that fit a Huey's storage."""

from __future__ import annotations

from typing import Any

from huey.storage import MemoryStorage, PostgresStorage, RedisStorage, SqliteStorage

from aquila.huey.delivery.redis_copies import RedisCopies
from aquila.huey.delivery.running_copies import LooseCopies, RunningCopies
from aquila.huey.delivery.sql_copies import PostgresCopies, SqliteCopies
from aquila.huey.state import state_of

_ATTRIBUTE = "_aquila_copies"
"""Where a storage keeps them, for as long as it lives."""


def copies_of(huey: Any) -> RunningCopies | None:
    """Return the copies of a Huey's storage, or None for one in memory, which ends with its workers.

    Raises ``ConfigError`` for a storage that is none of Huey's own.
    """
    storage = huey.storage
    if isinstance(storage, MemoryStorage):
        return None
    copies: RunningCopies | None = vars(storage).get(_ATTRIBUTE)
    if copies is None:
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
