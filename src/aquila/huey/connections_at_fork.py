"""Connections to databases that no forked child inherits: they are closed before a fork, and open again when used.

SQLite forbids to carry a connection over a fork: what it has locked is locked for its parent alone. And while a thread
is within SQLite, the library holds locks of its own, for which a child would wait for ever. A connection to Postgres
would be one on which two processes talk to the server.

Huey closes its connection before a consumer forks its workers. This is for all other forks: those of tests and of
programs that enqueue jobs.
"""

from __future__ import annotations

import contextlib
import threading
from functools import partial
from typing import Any
from weakref import WeakSet

from huey.storage import BaseSqlStorage, PostgresStorage, SqliteStorage

from aquila.fork_locks import call_around_forks
from aquila.lazy_imports import interrupts, take_step

_PATIENCE = 5.0
"""Seconds for which a fork waits for the transaction of another thread."""

_storages: WeakSet[Any] = WeakSet()
"""The storages whose connections are closed. One leaves the set with its Huey."""

# For the thread that forks, from before its fork to after it. No other thread forks meanwhile.
_closed: list[Any] = []
"""The storages whose lock that thread holds."""
_busy: list[Any] = []
"""Those whose lock it has not got: another thread is in a transaction."""

_abandoned: list[Any] = []
"""Connections of a parent that a child has inherited all the same. It must not even close them."""


def close_before_forks(storage: Any) -> None:
    """Close the connection of a storage before each fork, if it is one to a database.

    Does nothing for a database in memory, which would be lost, and for connections that a program makes by itself.
    """
    match storage:
        case SqliteStorage() if ":memory:" not in (name := str(storage.filename)) and "mode=memory" not in name:
            _storages.add(storage)
        case PostgresStorage() if storage.connection is None:
            _storages.add(storage)


def _close_connections() -> None:
    for storage in list(_storages):
        _busy.append(storage)
        take_step(partial(_close_connection, storage))


def _close_connection(storage: Any) -> None:
    if not storage.lock.acquire(timeout=0 if interrupts else _PATIENCE):
        return
    _busy.remove(storage)
    _closed.append(storage)
    connection, storage._conn = storage._conn, None
    if connection is not None:
        with contextlib.suppress(Exception):  # of a server that is away; the connection is given up in any case
            connection.close()


def _go_on(*, in_child: bool) -> None:
    closed, busy = list(_closed), list(_busy)
    _closed.clear()
    _busy.clear()
    for storage in closed:
        storage.lock.release()
    for storage in busy if in_child else ():
        _abandon_connection(storage)


def _abandon_connection(storage: BaseSqlStorage) -> None:
    """In a child whose parent has a thread that is using the connection."""
    _abandoned.append(storage._conn)
    storage._conn = None
    storage.lock = threading.Lock()  # of this fork: the other one is held by a thread that is not here


call_around_forks(_close_connections, _go_on)
