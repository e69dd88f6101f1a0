"""Lists and deletes the keys of a result store. The values, which may be hundreds of megabytes, are not read.

No public method of a Huey storage does that, so the tables and private methods of Huey 3.5 are used here. Only
for a storage of an unknown class are the values read, too.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterable, Iterator
from typing import Any

from huey.storage import FileStorage, MemoryStorage, PostgresStorage, RedisStorage, SqliteStorage

_PAGE = 5000  # Keys that are removed by one command, so that no other client of the storage waits for long.


def list_result_keys(huey: Any, prefix: str = "") -> list[str]:
    """Return the keys of the result store that begin with ``prefix``, sorted."""
    return sorted(key for key in _read_keys(huey.storage, prefix) if key.startswith(prefix))


def delete_results(huey: Any, keys: list[str]) -> None:
    """Remove entries of the result store, by their keys."""
    storage = huey.storage
    for at in range(0, len(keys), _PAGE):
        some = keys[at : at + _PAGE]
        match storage:
            case RedisStorage() if callable(storage.result_key):  # In a storage whose results expire each has a key.
                storage.conn.delete(*map(storage.result_key, some))
            case RedisStorage():
                storage.conn.hdel(storage.result_key, *some)
            case SqliteStorage() | PostgresStorage():
                table, mark = ("kv", "?") if isinstance(storage, SqliteStorage) else (storage.table_kv, "%s")
                with storage.db(commit=True) as cursor:
                    statement = f"delete from {table} where queue = {mark} and key = {mark}"
                    cursor.executemany(statement, [(storage.name, key) for key in some])
            case _:
                for key in some:
                    huey.delete(key)


def _read_keys(storage: Any, prefix: str) -> Iterable[str]:
    """Return at least the keys that begin with ``prefix``: not every storage can filter them."""
    match storage:
        case RedisStorage() if callable(storage.result_key):
            length = len(storage.result_prefix)
            return (key[length:].decode("utf-8", "replace") for key in storage._result_keys())
        case RedisStorage() if prefix:
            # A scan in pages. It also sends the values of the keys that it finds: small ones, because the only caller
            # with a prefix looks for the texts of misses.
            pattern = re.sub(r"[][*?^\\-]", r"\\\g<0>", prefix) + "*"
            found = storage.conn.hscan_iter(storage.result_key, match=pattern, count=_PAGE)
            return {key.decode("utf-8", "replace") for key, _ in found}  # A scan may find a key twice.
        case RedisStorage():
            return (key.decode("utf-8", "replace") for key in storage.conn.hkeys(storage.result_key))
        case SqliteStorage():
            statement = "select key from kv where queue = ? and substr(key, 1, ?) = ?"
            rows = storage.sql(statement, (storage.name, len(prefix), prefix), results=True)
            return (str(key) for (key,) in rows)
        case PostgresStorage():
            statement = f"select key from {storage.table_kv} where queue = %s and left(key, %s) = %s"
            return (str(key) for (key,) in storage.sql(statement, (storage.name, len(prefix), prefix), results=True))
        case MemoryStorage():
            return list(map(str, storage._results))
        case FileStorage():
            return _read_keys_of_files(storage._result_files())
    return list(map(str, storage.result_items()))


def _read_keys_of_files(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        # The format of Huey 3.5: the length of the key, the key, the value. A damaged file may be too short: its key is
        # then empty or cut off. The length in it is capped. A file is gone if somebody has fetched the result since it
        # was listed.
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            (length,) = struct.unpack(">I", file.read(4).rjust(4, b"\0"))
            yield file.read(min(length, 1 << 16)).decode("utf-8", "replace")
