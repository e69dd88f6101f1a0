"""Shared state on a Redis server: for each table a hash with the values, and a sorted set with the keys in order."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from aquila.huey.state.shared_tables import HIGHEST, LOWEST, Entry, EntryChange, SharedState

# KEYS of all scripts: the hash and the sorted set. A change that depends on the present value is a script, because a
# pipeline cannot decide anything. Redis cuts the numbers that Lua returns to integers, so orders go both ways as text.
_ADD = """
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
return 1
"""
_REPLACE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if ARGV[4] ~= '' then redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1]) end
return 1
"""
_REMOVE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
"""
_ENTRIES = """
local rows
if ARGV[1] == '1' then
    rows = redis.call('ZREVRANGEBYSCORE', KEYS[2], ARGV[3], ARGV[2], 'WITHSCORES', 'LIMIT', ARGV[4], ARGV[5])
else
    rows = redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[2], ARGV[3], 'WITHSCORES', 'LIMIT', ARGV[4], ARGV[5])
end
local found = {}
for at = 1, #rows, 2 do
    found[#found + 1] = rows[at]
    found[#found + 1] = redis.call('HGET', KEYS[1], rows[at]) or ''
    found[#found + 1] = rows[at + 1]
end
return found
"""
_DELETE_BELOW = """
local keys = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, key in ipairs(keys) do
    redis.call('HDEL', KEYS[1], key)
    redis.call('ZREM', KEYS[2], key)
end
return #keys
"""


class RedisState(SharedState):
    """The tables of a queue on Redis. ``name`` is the name of the queue as it is in the keys of Huey."""

    def __init__(self, connection: Any, name: str) -> None:
        self._redis = connection
        self._name = name
        self._add, self._replace, self._remove, self._entries, self._delete_below = map(
            connection.register_script, (_ADD, _REPLACE, _REMOVE, _ENTRIES, _DELETE_BELOW)
        )

    def keys_of(self, table: str) -> tuple[str, str]:
        """Return the names of the hash and of the sorted set of a table."""
        # In a cluster the part in braces decides on which server a key is kept. A script needs both keys on one.
        values = f"aquila.{{{self._name}}}.{table}"
        return values, values + ":order"

    def now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds + microseconds / 1e6)

    def put(self, table: str, key: str, value: bytes, *, order: float) -> None:
        values, orders = self.keys_of(table)
        with self._redis.pipeline() as pipeline:
            pipeline.hset(values, key, value).zadd(orders, {key: order}).execute()

    def add(self, table: str, key: str, value: bytes, *, order: float) -> bool:
        return bool(self._add(keys=self.keys_of(table), args=(key, value, repr(order))))

    def replace(self, table: str, key: str, old: bytes, new: bytes, *, order: float | None = None) -> bool:
        arguments = (key, old, new, "" if order is None else repr(order))
        return bool(self._replace(keys=self.keys_of(table), args=arguments))

    def remove(self, table: str, key: str, value: bytes) -> bool:
        return bool(self._remove(keys=self.keys_of(table), args=(key, value)))

    def get(self, table: str, key: str) -> bytes | None:
        value: bytes | None = self._redis.hget(self.keys_of(table)[0], key)
        return value

    def get_many(self, table: str, keys: Sequence[str]) -> list[bytes | None]:
        return list(self._redis.hmget(self.keys_of(table)[0], keys)) if keys else []

    def change_many(self, changes: Sequence[EntryChange]) -> list[bool]:
        if not changes:
            return []
        # Without a transaction: each script is atomic by itself, and more is not promised.
        with self._redis.pipeline(transaction=False) as pipeline:
            for table, key, old, new, order in changes:
                script, args = (self._add, (key, new)) if old is None else (self._replace, (key, old, new))
                script(keys=self.keys_of(table), args=(*args, repr(order)), client=pipeline)
            return [bool(done) for done in pipeline.execute()]

    def delete(self, table: str, *keys: str) -> int:
        if not keys:
            return 0
        values, orders = self.keys_of(table)
        with self._redis.pipeline() as pipeline:
            return int(pipeline.hdel(values, *keys).zrem(orders, *keys).execute()[0])

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
        arguments = (int(newest_first), repr(at_least), _excluding(below), offset, limit)
        found = self._entries(keys=self.keys_of(table), args=arguments)
        return [
            Entry(key.decode(), value, float(order))
            for key, value, order in zip(found[::3], found[1::3], found[2::3], strict=True)
        ]

    def count(self, table: str) -> int:
        return int(self._redis.zcard(self.keys_of(table)[1]))

    def delete_below(self, table: str, order: float, *, limit: int = 1000) -> int:
        return int(self._delete_below(keys=self.keys_of(table), args=(_excluding(order), limit)))

    def drop(self, *tables: str) -> None:
        if tables:
            self._redis.delete(*(key for table in tables for key in self.keys_of(table)))

    def clear(self) -> None:
        # `SCAN` takes a pattern, so the special characters of a name are escaped.
        name = re.sub(r"[][*?^\\-]", r"\\\g<0>", self._name)
        for key in self._redis.scan_iter(f"aquila.{{{name}}}.*", count=1000):
            self._redis.delete(key)


def _excluding(bound: float) -> str:
    """Return an exclusive upper bound in the notation of Redis."""
    return "+inf" if math.isinf(bound) and bound > 0 else f"({bound!r}"
