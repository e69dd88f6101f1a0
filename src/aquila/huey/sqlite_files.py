"""Opens the SQLite file of a queue: waits while the file is locked, and says why a file cannot be used."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

from huey.storage import SqliteStorage

from aquila.errors import ConfigError
from aquila.huey.progress.storage_patience import FIRST_DELAY, LONGEST_DELAY, with_jitter

logger = logging.getLogger("huey.aquila")

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds for which a file that another process has locked is tried again, after SQLite itself has given up."""

_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

_ELSEWHERE = "give filename= a path on a local disk: not each network has the locks and shared memory that SQLite needs"
_MAY_NOT_WRITE = "let the user of this process write to the file, and to the folder of the file"
_ADVICE = {
    sqlite3.SQLITE_READONLY: _MAY_NOT_WRITE,
    sqlite3.SQLITE_PERM: _MAY_NOT_WRITE,
    sqlite3.SQLITE_CANTOPEN: "make its folder, let this user write to both, or give filename= another path",
    sqlite3.SQLITE_NOTADB: "give filename= the path of a SQLite file, or of a file that is to be made",
    sqlite3.SQLITE_IOERR: f"see whether the disk is sound, or {_ELSEWHERE}",
    sqlite3.SQLITE_PROTOCOL: _ELSEWHERE,
    sqlite3.SQLITE_FULL: "free the disk, or give filename= a path on another one",
    sqlite3.SQLITE_CORRUPT: "put it back from a copy, or move it away to begin with an empty queue",
}
"""What to do about errors that do not go away by themselves, by their kind."""


def open_patiently(open_storage: Callable[[], T], queue: str, filename: object) -> T:
    """Return what ``open_storage`` returns: the storage of a queue, which may be a SQLite file.

    To create its tables, the storage must lock the file. While another process has the file locked, ``open_storage`` is
    called again, less and less often, for ``PATIENCE`` seconds. The log says once that it waits, and once that the wait
    is over. ``queue`` is the name of the queue, and ``filename`` is the path of the file. Raises ``ConfigError`` for a
    file that stays locked, cannot be written, or is no SQLite file.
    """
    gives_up, delay, began = 0.0, FIRST_DELAY, time.monotonic()
    while True:
        try:
            storage = open_storage()
        except sqlite3.Error as error:
            if _kind_of(error) not in _LOCKED:
                _refuse_if_lasting(error, queue, filename)
                raise
            now = time.monotonic()
            if not gives_up:
                gives_up = now + PATIENCE
                logger.warning(
                    "%s is locked by another process; trying again for %.0f s", _describe(queue, filename), PATIENCE
                )
            elif now + delay > gives_up:
                raise ConfigError(
                    f"{_describe(queue, filename)} has been locked by another process for {now - began:.0f} s "
                    f"({error}): end the transaction that is open there, and start again. `fuser` with the path of the "
                    f"file lists the processes that have it open. If there are none, {_ELSEWHERE}"
                ) from error
            time.sleep(with_jitter(delay))
            delay = min(2 * delay, LONGEST_DELAY)
        else:
            if gives_up:
                logger.warning(
                    "%s can be used again, after %.1f s", _describe(queue, filename), time.monotonic() - began
                )
            return storage


def reject_unwritable_file(huey: Any) -> None:
    """Raise ``ConfigError`` for a Huey whose queue is a SQLite file that this process cannot write.

    Its workers could take no task. Returns for any other storage, and for a file that is only locked at this moment.
    """
    storage = getattr(huey, "storage", None)
    if not isinstance(storage, SqliteStorage):
        return
    try:
        # This statement changes nothing, but needs the permission to write. A transaction alone would not show that:
        # where SQLite may not write, it begins a transaction for reading.
        storage.sql("delete from task where 0", commit=True)
    except sqlite3.Error as error:
        _refuse_if_lasting(error, huey.name, storage.filename)


def _refuse_if_lasting(error: sqlite3.Error, queue: str, filename: object) -> None:
    advice = _ADVICE.get(_kind_of(error))
    if advice is not None:
        raise ConfigError(f"{_describe(queue, filename)} cannot be used ({error}): {advice}") from error


def _kind_of(error: sqlite3.Error) -> int:
    # The low byte is the kind of an error; the other bytes give details. Errors of the module itself have no code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _describe(queue: str, filename: object) -> str:
    path = str(filename)
    # A name that begins so is a URI, or a database in memory.
    shown = path if path.startswith(("file:", ":")) else f"'{os.path.abspath(path)}'"
    return f"the file {shown} of the queue {queue!r}"
