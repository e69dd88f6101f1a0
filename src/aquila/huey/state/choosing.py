"""Chooses the implementation of the shared state for a Huey's storage."""

from __future__ import annotations

import os
from typing import Any

from huey.storage import FileStorage, MemoryStorage, PostgresStorage, RedisStorage, SqliteStorage

from aquila.errors import ConfigError
from aquila.huey.connections_at_fork import close_before_forks
from aquila.huey.state.memory_tables import MemoryState
from aquila.huey.state.redis_tables import RedisState
from aquila.huey.state.shared_tables import SharedState
from aquila.huey.state.sql_tables import FileState, PostgresState, SqliteState

_ATTRIBUTE = "_aquila_state"
"""The attribute of a storage that holds its shared state. It is made once, and lives for as long as the storage."""


def state_of(huey: Any) -> SharedState:
    """Return the shared state of the storage that a Huey has now.

    Immediate mode and tests give a Huey a storage in memory, and so a shared state in memory. Raises ``ConfigError``
    for a storage other than Huey's own.
    """
    storage = huey.storage
    state: SharedState | None = vars(storage).get(_ATTRIBUTE)
    if state is None:
        # Two threads may make one each. They see the same tables, except in memory: there `setdefault`, which is
        # atomic, gives both threads the same one.
        state = vars(storage).setdefault(_ATTRIBUTE, _make_state(storage))
    return state


def _make_state(storage: Any) -> SharedState:
    match storage:
        case RedisStorage():
            return RedisState(storage.conn, storage.name)
        case SqliteStorage():
            return SqliteState(storage, "aquila_state")
        case PostgresStorage():
            return PostgresState(storage, storage.table_kv.removesuffix("_kv") + "_aquila_state")
        case FileStorage():
            # A folder of files has neither an order nor atomic changes; a SQLite file in it has both.
            database = SqliteStorage(storage.name, os.path.join(storage.path, "aquila-state.db"), create_tables=False)
            close_before_forks(database)
            return FileState(database, "aquila_state")
        case MemoryStorage():
            return MemoryState()
    kind = type(storage)
    raise ConfigError(
        f"nothing can be shared between workers through the storage {kind.__module__}.{kind.__qualname__}: Aquila "
        "knows those of Huey itself (Redis, SQLite, Postgres, file, memory). Use a Huey class with one of these"
    )
