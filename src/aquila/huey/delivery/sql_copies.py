"""Copies of running tasks in a database: rows of the shared state, made in the transaction that takes a message.

The names of tables and columns are those of Huey 3.5.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from aquila.huey.delivery.running_copies import TABLE, Copy, RunningCopies

_STATE_COLUMNS = "(queue, name, key, value, position)"


class SqliteCopies(RunningCopies):
    """The copies of a queue in a SQLite file. ``state`` is the shared state in the same file."""

    tasks, schedule, results = "task", "schedule", "kv"
    """Huey's tables."""
    locked = ""
    """The end of a query for rows that are deleted next. SQLite needs none: a transaction locks the whole file."""

    def __init__(self, storage: Any, state: Any) -> None:
        self._storage = storage
        self._state = state
        self._table: str = state.table_name
        self._sql: Callable[[str], str] = state.with_marks

    def take(self, owner: str, finished: Sequence[Copy]) -> Copy | None:
        # A look without a transaction first, as Huey does: a write transaction of each idle worker would lock out all
        # others again and again.
        if not finished and not self._storage.sql(
            f"select 1 from {self.tasks} where queue = ? limit 1", (self._storage.name,), results=True
        ):
            return None
        with self._storage.db(commit=True) as cursor:
            for copy in finished:
                self._delete_copy(cursor, copy)
            query = f"select id, data from {self.tasks} where queue = ? order by priority desc, id limit 1"
            cursor.execute(query, (self._storage.name,))
            row = cursor.fetchone()
            return None if row is None else self._keep_row(cursor, owner, self.tasks, *row)

    def take_due(self, owner: str, moment: Any) -> list[Copy]:
        query = f"select id, data from {self.schedule} where queue = ? and timestamp <= ? order by timestamp, id"
        with self._storage.db(commit=True) as cursor:
            cursor.execute(self._sql(query + self.locked), (self._storage.name, moment.timestamp()))
            return [self._keep_row(cursor, owner, self.schedule, *row) for row in cursor.fetchall()]

    def _keep_row(self, cursor: Any, owner: str, table: str, number: int, data: Any) -> Copy:
        copy = Copy(owner, uuid.uuid4().hex, bytes(data))
        cursor.execute(self._sql(f"delete from {table} where id = ?"), (number,))
        cursor.execute(
            self._sql(f"insert into {self._table} {_STATE_COLUMNS} values (?, ?, ?, ?, ?)"),
            (self._storage.name, TABLE + owner, copy.key, copy.data, time.time()),
        )
        return copy

    def list_copies(self, owner: str, *, limit: int = 100) -> list[Copy]:
        found = self._state.entries(TABLE + owner, limit=limit)
        return [Copy(owner, entry.key, entry.value) for entry in found]

    def has(self, copy: Copy) -> bool:
        return self._state.get(TABLE + copy.owner, copy.key) is not None

    def count(self, owner: str) -> int:
        return int(self._state.count(TABLE + owner))

    def forget(self, *copies: Copy) -> int:
        return sum(self._state.delete(TABLE + copy.owner, copy.key) for copy in copies)

    def _delete_copy(self, cursor: Any, copy: Copy) -> bool:
        statement = self._sql(f"delete from {self._table} where queue = ? and name = ? and key = ?")
        cursor.execute(statement, (self._storage.name, TABLE + copy.owner, copy.key))
        return bool(cursor.rowcount == 1)

    def move_to_queue(self, copy: Copy, data: bytes, priority: float | None) -> bool:
        statement = f"insert into {self.tasks} (queue, data, priority) values (?, ?, ?)"
        return self._move_copy(copy, statement, data, priority or 0)

    def move_to_schedule(self, copy: Copy, data: bytes, eta: Any) -> bool:
        statement = f"insert into {self.schedule} (queue, data, timestamp) values (?, ?, ?)"
        return self._move_copy(copy, statement, data, eta.timestamp())

    def move_to_results(self, copy: Copy, task_id: str, value: bytes) -> bool:
        statement = (
            f"insert into {self.results} (queue, key, value) values (?, ?, ?) "
            "on conflict (queue, key) do update set value = excluded.value"
        )
        return self._move_copy(copy, statement, task_id, value)

    def _move_copy(self, copy: Copy, statement: str, *values: Any) -> bool:
        with self._storage.db(commit=True) as cursor:
            was_there = self._delete_copy(cursor, copy)
            if was_there:
                cursor.execute(self._sql(statement), (self._storage.name, *values))
                self._notify_workers(cursor, statement)
            return was_there

    def _notify_workers(self, cursor: Any, statement: str) -> None:
        """Wake the workers that wait for a message. On SQLite none can wait, so there is nothing to do."""


class PostgresCopies(SqliteCopies):
    """The copies of a queue on a Postgres server."""

    locked = " for update skip locked"

    def __init__(self, storage: Any, state: Any) -> None:
        super().__init__(storage, state)
        table = self._table
        self.tasks, self.schedule, self.results = storage.table_task, storage.table_schedule, storage.table_kv
        # One statement with three effects, so that a task costs one round trip. `skip locked` lets each worker take
        # another row instead of waiting for the transaction of the one before it.
        self._take_next = self._sql(
            f"with finished as (delete from {table} where queue = ? and name = ? and key = any(?)), "
            f"taken as (delete from {self.tasks} where id = (select id from {self.tasks} where queue = ? "
            f"order by priority desc, id limit 1{self.locked}) returning data) "
            f"insert into {table} {_STATE_COLUMNS} select ?, ?, ?, data, extract(epoch from clock_timestamp()) "
            "from taken returning value"
        )

    def take(self, owner: str, finished: Sequence[Copy]) -> Copy | None:
        storage = self._storage
        if not storage.blocking:
            return self._take_without_waiting(owner, finished)
        # Listening begins before the first look: the notice of a message that comes in between would be missed. A
        # private method of Huey 3.5, which keeps one such connection for each thread.
        connection = storage._listen_conn()
        copy = self._take_without_waiting(owner, finished)
        if copy is not None:
            return copy
        deadline = time.monotonic() + storage.read_timeout
        while (left := deadline - time.monotonic()) > 0:
            if not list(connection.notifies(timeout=left, stop_after=1)):
                return None
            copy = self._take_without_waiting(owner, ())
            if copy is not None:
                return copy
            # Another worker was faster: wait for the next notice.
        return None

    def _take_without_waiting(self, owner: str, finished: Sequence[Copy]) -> Copy | None:
        queue, name, key = self._storage.name, TABLE + owner, uuid.uuid4().hex
        with self._storage.db() as cursor:
            cursor.execute(
                self._take_next, (queue, name, [copy.key for copy in finished], queue, queue, name, key)
            )  # fmt: skip
            row = cursor.fetchone()
        return None if row is None else Copy(owner, key, bytes(row[0]))

    def _notify_workers(self, cursor: Any, statement: str) -> None:
        if self.tasks in statement:
            cursor.execute("select pg_notify(%s, %s)", (self._storage.channel, ""))
