"""Closes a connection to Postgres on which a time limit has broken off a query. A new one is opened when it is needed.

In a worker process or a greenlet Huey raises ``TaskTimeout`` wherever the task is, also while psycopg waits for an
answer. psycopg cancels the query for a ``KeyboardInterrupt``, and for no other exception. The connection would then
refuse every further query, because "another command is already in progress", and Huey would keep it for ever.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from huey.storage import PostgresStorage


def close_stuck_connections(storage: Any) -> None:
    """Close the connection of a storage where its use was broken off, if the storage is one in Postgres."""
    if isinstance(storage, PostgresStorage):
        storage.db = partial(_use_connection, storage, storage.db)


@contextlib.contextmanager
def _use_connection(storage: Any, use: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
    try:
        with use(*arguments, **options) as cursor:
            yield cursor
    except BaseException as error:
        # Huey rolls back after an error, which fails on a stuck connection: that error hides the time limit.
        if _close_if_stuck(storage) and type(error).__module__.startswith("psycopg") and error.__context__ is not None:
            raise error.__context__ from None
        raise


def _close_if_stuck(storage: Any) -> bool:
    # Nobody is in the midst of a query while the lock is held.
    with storage.lock:
        connection = storage._conn
        if connection is None or connection.info.transaction_status.name not in ("ACTIVE", "INTRANS"):
            return False
        connection.close()
        return True
