"""Names the place of a queue: one queue has the same text in each process, and two queues have two texts.

The name of a Huey is not enough: two Hueys of one name may use two files, and on Redis two names may be one key. No
text here holds a password. This module is loaded before Huey and must not import it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from typing import Any

_LOOPBACK = ("localhost", "127.0.0.1", "::1", "")


def is_real(storage: Any) -> bool:
    """Whether a storage keeps jobs outside the memory of this process. ``storage`` may also be its class."""
    kinds = sys.modules["huey.storage"]
    kind = storage if isinstance(storage, type) else type(storage)
    return not issubclass(kind, (kinds.MemoryStorage, kinds.BlackHoleStorage))


def hands_on_to(storage: Any, other: Any) -> bool:
    """Whether a storage is ``other``, or holds it to pass jobs on to it, as a storage that encrypts jobs does."""
    base = sys.modules["huey.storage"].BaseStorage
    found = [storage]
    for each in found:  # the list grows in the loop, because a held storage may hold another
        if each is other:
            return True
        for value in tuple(getattr(each, "__dict__", {}).values()):
            parts = (
                value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
            )
            held = [part for part in tuple(parts) if issubclass(type(part), base)]
            found += [part for part in held if not any(part is known for known in found)]
    return False


def name_place(storage: Any) -> str:
    """Return the place of a storage of Huey, as text for comparison and for messages."""
    kinds = sys.modules["huey.storage"]
    if isinstance(storage, kinds.SqliteStorage):
        return f"{storage.name!r} in {_name_file(storage.filename)}"
    if isinstance(storage, kinds.FileStorage):
        return f"the folder {_name_file(storage.path)}"  # its paths do not contain the name of the Huey
    pool = getattr(getattr(storage, "conn", None), "connection_pool", None) if hasattr(storage, "queue_key") else None
    if hasattr(pool, "connection_kwargs"):
        return f"{storage.queue_key!r} on {_name_redis(pool)}"
    if isinstance(storage, kinds.PostgresStorage):
        return f"{storage.name!r} in {storage.table_task} on {_name_postgres(storage)}"
    peewee = getattr(storage, "database", None)
    if hasattr(peewee, "connect_params"):
        return f"{storage.name!r} in {_name_peewee(peewee)}"
    return f"{storage.name!r} in {_name_unknown(storage)}"


def _name_file(path: Any) -> str:
    name = os.fsdecode(path)
    return name if name.startswith(("file:", ":")) else os.path.realpath(name)


def _name_server(host: Any, port: Any) -> str:
    # A host with a slash is the folder of a socket, whose name is case-sensitive.
    host = str(host or "")
    return f"{host if '/' in host else 'localhost' if host.lower() in _LOOPBACK else host.lower()}:{port}"


def _name_redis(pool: Any) -> str:
    told: Mapping[str, Any] = pool.connection_kwargs
    database = f"database {told.get('db') or 0}"
    if told.get("path"):
        return f"Redis at {_name_file(told['path'])}, {database}"
    if (sentinels := getattr(pool, "sentinel_manager", None)) is not None:
        hosts = sorted(_name_redis(each.connection_pool) for each in sentinels.sentinels)
        return f"Redis {pool.service_name!r} of the sentinels {'; '.join(hosts)}, {database}"
    return f"Redis at {_name_server(told.get('host'), told.get('port') or 6379)}, {database}"


def _name_postgres(storage: Any) -> str:
    if storage.connection is not None:
        return f"Postgres by {getattr(storage.connection, '__qualname__', type(storage.connection).__qualname__)}"
    parse = sys.modules["psycopg"].conninfo.conninfo_to_dict
    told = parse(storage.dsn or "", **storage.connection_params)
    # Parameters that are missing here come from the environment, which is the same in a child process.
    server = _name_server(told.get("host") or told.get("hostaddr"), told.get("port") or 5432)
    more = {key: told[key] for key in ("dbname", "service", "user", "options") if told.get(key)}
    return f"Postgres at {server}, {', '.join(f'{key} {value}' for key, value in more.items())}"


def _name_peewee(database: Any) -> str:
    told: Mapping[str, Any] = database.connect_params
    name = str(database.database)
    if "sqlite" in type(database).__name__.lower():
        return _name_file(name)
    return f"{type(database).__name__} {name} at {_name_server(told.get('host'), told.get('port'))}"


def _name_unknown(storage: Any) -> str:
    """Name a storage of an unknown class by a digest of its text attributes, some of which may be secret."""
    told = {
        key: os.fsdecode(value)
        for key, value in sorted(getattr(storage, "__dict__", {}).items())
        if isinstance(value, str | bytes | os.PathLike)
    }
    kind = type(storage)
    return f"a {kind.__module__}.{kind.__qualname__} ({hashlib.sha256(repr(told).encode()).hexdigest()[:16]})"
