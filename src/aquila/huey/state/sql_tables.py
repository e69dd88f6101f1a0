"""Shared state in a database: one table beside those of the queue, used through the connection of Huey's storage.

All statements are valid both in SQLite and in Postgres.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from aquila.huey.state.shared_tables import HIGHEST, LOWEST, Entry, EntryChange, SharedState

_MOST_KEYS = 500
"""Keys that one query names: before 3.32, SQLite takes 999 parameters."""


class _SqlState(SharedState):
    """The tables of a queue as rows of one table of a database.

    ``storage`` is Huey's storage and ``name`` is the name of the table.
    """

    _text = "text"
    _blob = "blob"
    _number = "real"
    _among = "key in ({})"
    _locked = ""
    """The end of a query for rows that the same transaction changes next. SQLite needs none: a transaction locks the
    whole file."""

    def __init__(self, storage: Any, name: str) -> None:
        self._storage = storage
        self._name = self.table_name = name
        self._queue = storage.name
        self._columns = f"from {name} where queue = ? and name = ?"
        self._upsert = f"insert into {name} (queue, name, key, value, position) values (?, ?, ?, ?, ?) on conflict "
        self._range = f"{self._columns} and position >= ? and position < ?"
        with self._change() as cursor:
            self._create_table(cursor)

    def _create_table(self, cursor: Any) -> None:
        columns = (
            "queue text not null, name text not null, "
            f"key {self._text} not null, value {self._blob} not null, position {self._number} not null"
        )
        cursor.execute(f"create table if not exists {self._name} ({columns}, primary key (queue, name, key))")
        # The key is part of the index, so that the database reads entries in order and never has to sort them.
        cursor.execute(f"create index if not exists {self._name}_position on {self._name} (queue, name, position, key)")

    def put(self, table: str, key: str, value: bytes, *, order: float) -> None:
        with self._change() as cursor:
            cursor.execute(
                self.with_marks(
                    self._upsert
                    + "(queue, name, key) do update set value = excluded.value, position = excluded.position"
                ),
                (self._queue, table, key, value, order),
            )

    def add(self, table: str, key: str, value: bytes, *, order: float) -> bool:
        with self._change() as cursor:
            return self._add(cursor, table, key, value, order)

    def _add(self, cursor: Any, table: str, key: str, value: bytes, order: float) -> bool:
        statement = self.with_marks(self._upsert + "(queue, name, key) do nothing")
        cursor.execute(statement, (self._queue, table, key, value, order))
        return bool(cursor.rowcount == 1)

    def replace(self, table: str, key: str, old: bytes, new: bytes, *, order: float | None = None) -> bool:
        with self._change() as cursor:
            return self._replace(cursor, table, key, old, new, order)

    def _replace(self, cursor: Any, table: str, key: str, old: bytes, new: bytes, order: float | None) -> bool:
        statement = self.with_marks(
            f"update {self._name} set value = ?, position = coalesce(?, position) "
            "where queue = ? and name = ? and key = ? and value = ?"
        )
        cursor.execute(statement, (new, order, self._queue, table, key, old))
        return bool(cursor.rowcount == 1)

    def change_many(self, changes: Sequence[EntryChange]) -> list[bool]:
        if not changes:
            return []
        done = [False] * len(changes)
        # One transaction, because each one waits for the disk, and on SQLite locks out all other processes. In the
        # order of the keys, so that two transactions that change the same entries never wait for each other.
        with self._change() as cursor:
            for at, (table, key, old, new, order) in sorted(enumerate(changes), key=lambda each: each[1][:2]):
                if old is None:
                    done[at] = self._add(cursor, table, key, new, order)
                else:
                    done[at] = self._replace(cursor, table, key, old, new, order)
        return done

    def remove(self, table: str, key: str, value: bytes) -> bool:
        with self._change() as cursor:
            which = (self._queue, table, key, value)
            cursor.execute(self.with_marks(f"delete {self._columns} and key = ? and value = ?"), which)
            return bool(cursor.rowcount == 1)

    def get(self, table: str, key: str) -> bytes | None:
        rows = self._read(f"select value {self._columns} and key = ?", table, key)
        return bytes(rows[0][0]) if rows else None

    def get_many(self, table: str, keys: Sequence[str]) -> list[bytes | None]:
        found: dict[str, bytes] = {}
        for at in range(0, len(keys), _MOST_KEYS):
            some = keys[at : at + _MOST_KEYS]
            marks = ", ".join("?" * len(some))
            rows = self._read(f"select key, value {self._columns} and key in ({marks})", table, *some)
            found.update((key, bytes(value)) for key, value in rows)
        return [found.get(key) for key in keys]

    def delete(self, table: str, *keys: str) -> int:
        with self._change() as cursor:
            # In the order of the keys, as in `change_many`.
            return sum(self._delete_one(cursor, table, key) for key in sorted(keys))

    def _delete_one(self, cursor: Any, table: str, key: str) -> int:
        cursor.execute(self.with_marks(f"delete {self._columns} and key = ?"), (self._queue, table, key))
        return int(cursor.rowcount)

    def entries(
        self,
        table: str,
        *,
        limit: int = 100,
        offset: int = 0,
        newest_first: bool = False,
        at_least: float = LOWEST,
        below: float = HIGHEST,
    ) -> list[Entry]:
        direction = " desc" if newest_first else ""
        rows = self._read(
            f"select key, value, position {self._range} order by position{direction}, key{direction} limit ? offset ?",
            table, at_least, below, limit, offset,
        )  # fmt: skip
        return [Entry(key, bytes(value), float(position)) for key, value, position in rows]

    def count(self, table: str) -> int:
        return int(self._read(f"select count(*) {self._columns}", table)[0][0])

    def delete_below(self, table: str, order: float, *, limit: int = 1000) -> int:
        with self._change() as cursor:
            first = f"select key {self._columns} and position < ? order by position, key limit ?{self._locked}"
            which = (self._queue, table)
            statement = f"delete {self._columns} and {self._among.format(first)}"
            cursor.execute(self.with_marks(statement), (*which, *which, order, limit))
            return int(cursor.rowcount)

    def drop(self, *tables: str) -> None:
        with self._change() as cursor:
            named = [(self._queue, table) for table in sorted(tables)]  # In one order, as in `change_many`.
            cursor.executemany(self.with_marks(f"delete {self._columns}"), named)

    def clear(self) -> None:
        with self._change() as cursor:
            cursor.execute(self.with_marks(f"delete from {self._name} where queue = ?"), (self._queue,))

    def _change(self) -> AbstractContextManager[Any]:
        """Return the cursor of a transaction, as a context manager."""
        transaction: AbstractContextManager[Any] = self._storage.db(commit=True)
        return transaction

    def _read(self, query: str, table: str, *parameters: Any) -> list[Any]:
        rows: list[Any] = self._storage.sql(self.with_marks(query), (self._queue, table, *parameters), results=True)
        return rows

    def with_marks(self, statement: str) -> str:
        """Return a statement in which each ``?``, the mark of a parameter, is that of the database."""
        return statement


class SqliteState(_SqlState):
    """The tables of a queue in a SQLite file. Huey begins its transactions as exclusive ones."""

    def now(self) -> float:
        return time.time()  # A file is used by the processes of one machine, which share a clock.


class FileState(SqliteState):
    """The tables of a queue in a folder: a SQLite file beside the files of the queue.

    Each call opens a connection and closes it again, because Huey closes nothing in a queue of files. A connection that
    stays open would be left to the garbage collector, which warns from Python 3.13 on.
    """

    def _change(self) -> AbstractContextManager[Any]:
        transaction: AbstractContextManager[Any] = self._storage.db(commit=True, close=True)
        return transaction

    def _read(self, query: str, table: str, *parameters: Any) -> list[Any]:
        with self._storage.db(close=True) as cursor:
            rows: list[Any] = cursor.execute(query, (self._queue, table, *parameters)).fetchall()
        return rows


class PostgresState(_SqlState):
    """The tables of a queue on a Postgres server."""

    _text = 'text collate "C"'  # Sorted by code points, as in the other storages, whatever the locale of the server.
    _blob = "bytea"
    _number = "double precision"
    _locked = " for update"
    # As an array the inner query is read once. Within `in (...)` Postgres may read it again for each row, and with a
    # limit it could delete more than that.
    _among = "key = any(array({}))"

    def _create_table(self, cursor: Any) -> None:
        # If two processes create a table at the same time, one of them fails in Postgres, in spite of `if not exists`.
        # This lock makes the second one wait, and ends with the transaction.
        cursor.execute("select pg_advisory_xact_lock(hashtext(%s))", (self._name,))
        super()._create_table(cursor)

    def now(self) -> float:
        rows = self._storage.sql("select extract(epoch from clock_timestamp())", results=True)
        return float(rows[0][0])

    def with_marks(self, statement: str) -> str:
        return statement.replace("?", "%s")
