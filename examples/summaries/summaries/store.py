"""The table of summaries, and the chunks of those that were streamed. One SQLite file."""

from __future__ import annotations

import datetime
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(os.environ.get("SUMMARIES_DATA", "data"))
"""The folder of the database and of the queue."""

_SCHEMA = """
create table if not exists summaries (
    job text primary key,
    task text not null,
    prompt text not null,
    status text not null,
    text text not null default '',
    raw text not null default '{}',
    error text not null default '',
    changed text not null
);
create table if not exists chunks (
    job text not null references summaries,
    number integer not null,
    text text not null,
    primary key (job, number)
);
"""


@dataclass(frozen=True)
class Summary:
    """One row, with its chunks. ``raw`` is the provider's answer.

    ``status`` is queued, running, done, failed, or partial for an incomplete answer. ``error`` says why.
    """

    job: str
    task: str
    prompt: str
    status: str
    text: str
    raw: dict[str, Any]
    error: str
    chunks: list[str]


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    """A connection, closed at the end. Each statement is a transaction of its own."""
    DATA.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(DATA / "summaries.db", isolation_level=None, timeout=10)
    try:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        connection.executescript(_SCHEMA)
        yield connection
    finally:
        connection.close()


def put(job: str, task: str, prompt: str, status: str) -> None:
    """Insert the row of a job, or reset it: a retry begins without the chunks of the attempt before."""
    with database() as connection:
        connection.execute(
            "insert or replace into summaries (job, task, prompt, status, changed) values (?, ?, ?, ?, ?)",
            (job, task, prompt, status, _now()),
        )
        connection.execute("delete from chunks where job = ?", (job,))


def add_chunk(job: str, number: int, text: str) -> None:
    """Store one chunk of an answer that is still arriving."""
    with database() as connection:
        connection.execute("insert into chunks values (?, ?, ?)", (job, number, text))


def finish(job: str, text: str, raw: Any, flaw: str = "") -> None:
    """Store an answer. ``flaw`` says why it is incomplete."""
    status = "partial" if flaw else "done"
    with database() as connection:
        connection.execute(
            "update summaries set status = ?, text = ?, raw = ?, error = ?, changed = ? where job = ?",
            (status, text, json.dumps(raw), flaw, _now(), job),
        )


def fail(job: str, error: str) -> None:
    """Note why a job failed."""
    with database() as connection:
        connection.execute(
            "update summaries set status = 'failed', error = ?, changed = ? where job = ?", (error, _now(), job)
        )


def find(job: str) -> Summary | None:
    """The row of a job, by its id or the beginning of its id; None if there is none, or several begin so."""
    found = [row for row in rows() if row.job.startswith(job)]
    return found[0] if len(found) == 1 else None


def rows() -> list[Summary]:
    """Every row, the last one changed first."""
    columns = "job, task, prompt, status, text, raw, error"
    with database() as connection:
        found = connection.execute(f"select {columns} from summaries order by changed desc, rowid desc").fetchall()
        chunks = connection.execute("select job, text from chunks order by job, number").fetchall()
    return [
        Summary(
            job, task, prompt, status, text, json.loads(raw), error, [piece for owner, piece in chunks if owner == job]
        )
        for job, task, prompt, status, text, raw, error in found
    ]


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
