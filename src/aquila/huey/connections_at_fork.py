"""Closes connections to databases before a fork, so that no child inherits them. They open again when they are used.

SQLite forbids the use of a connection in a forked child, because the locks of the connection belong to the parent. And
while a thread is within SQLite, the library holds locks of its own, for which a child would wait for ever. On a
connection to Postgres two processes would talk to the server at once.

Huey closes its connection before a consumer forks its workers. This module is for all other forks: those of tests and
of programs that enqueue jobs.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any
from weakref import WeakSet

from huey.storage import BaseSqlStorage, PostgresStorage, SqliteStorage

from aquila.fork_locks import are_threads_greenlets, call_around_forks
from aquila.lazy_imports import interrupts, take_step

_PATIENCE = 5.0
"""Seconds for which a fork waits for the transaction of another thread."""

_storages: WeakSet[Any] = WeakSet()
"""The storages whose connections are closed. One leaves the set with its Huey."""

# Both lists are filled before a fork and emptied after it. No other thread forks meanwhile.
_closed: list[Any] = []
"""The storages whose lock the forking thread holds."""
_busy: list[Any] = []
"""The storages whose lock the forking thread could not take: another thread is in a transaction."""

_abandoned: list[Any] = []
"""Connections that a child has inherited all the same. The child must not even close them, so they are kept here."""


def close_before_forks(storage: Any) -> None:
    """Close the connection of a storage before each fork, if it is one to a database.

    Does nothing for a database in memory, which would be lost, and for connections that a program makes by itself.
    """
    match storage:
        case SqliteStorage() if ":memory:" not in (name := str(storage.filename)) and "mode=memory" not in name:
            _storages.add(storage)
        case PostgresStorage() if storage.connection is None:
            _storages.add(storage)


@contextlib.contextmanager
def closing_again(storage: Any) -> Iterator[None]:
    """Close the connection of a storage after the block, if it was closed before and is one that may be closed.

    Whoever has made a database for a test cannot remove it while a connection is open.
    """
    was_closed = isinstance(storage, BaseSqlStorage) and storage._conn is None
    try:
        yield
    finally:
        if was_closed and storage in _storages:
            with contextlib.suppress(Exception):  # The server may be away.
                storage.close()


def _close_connections() -> None:
    for storage in list(_storages):
        _busy.append(storage)
        take_step(partial(_close_connection, storage))


def _close_connection(storage: Any) -> None:
    # Greenlets do not wait: another one would run meanwhile, in this same thread, and might fork in the midst of this.
    if (are_threads_greenlets() and storage.lock.locked()) or not storage.lock.acquire(
        timeout=0 if interrupts else _PATIENCE
    ):
        return
    _busy.remove(storage)
    _closed.append(storage)
    connection, storage._conn = storage._conn, None
    if connection is not None:
        with contextlib.suppress(Exception):  # The server may be away. The connection is given up in any case.
            connection.close()


def _release_storages(*, in_child: bool) -> None:
    closed, busy = list(_closed), list(_busy)
    _closed.clear()
    _busy.clear()
    for storage in closed:
        storage.lock.release()
    for storage in busy if in_child else ():
        _abandon_connection(storage)


def _abandon_connection(storage: BaseSqlStorage) -> None:
    """Give up, in a child, a connection that another thread of the parent is using."""
    _abandoned.append(storage._conn)
    storage._conn = None
    storage.lock = threading.Lock()  # The old lock is held by a thread that the fork did not copy.


call_around_forks(_close_connections, _release_storages)
