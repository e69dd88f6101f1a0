"""Copies of running tasks on Redis: a list for each consumer, to which the server itself moves each message.

A Lua script runs as one step on the server, so a worker may be killed at any moment.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from typing import Any

from aquila.huey.delivery.running_copies import TABLE, Copy, RunningCopies

# KEYS: the queue, the copies of the consumer. ARGV: the copies that are finished.
# LREM with -1 removes one match and searches from the tail, where the oldest copies are.
_FORGET = "for _, data in ipairs(ARGV) do redis.call('LREM', KEYS[2], -1, data) end\n"
# RPOPLPUSH and BRPOPLPUSH do what LMOVE and BLMOVE do from right to left. Those need Redis 6.2.
_TAKE = _FORGET + "return redis.call('RPOPLPUSH', KEYS[1], KEYS[2])"
# Huey 3.5 writes the time, eight bytes, before each message of a queue with priorities: equal messages differ by it.
_TAKE_FIRST = (
    _FORGET
    + """
local first = redis.call('ZPOPMIN', KEYS[1])
if #first == 0 then return false end
local data = string.sub(first[1], 9)
redis.call('LPUSH', KEYS[2], data)
return data
"""
)
# KEYS: the schedule, the copies of the consumer. ARGV: the time.
_TAKE_DUE = """
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
for _, data in ipairs(due) do redis.call('LPUSH', KEYS[2], data) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
return due
"""
# KEYS: the copies of a consumer, where to store. ARGV: the copy, the command that stores, its arguments.
_MOVE = """
if redis.call('LREM', KEYS[1], -1, ARGV[1]) == 0 then return 0 end
redis.call(ARGV[2], KEYS[2], unpack(ARGV, 3))
return 1
"""
# KEYS: the copies of a consumer. ARGV: the copy. Does what LPOS does, which needs Redis 6.0.6.
_HAS = """
for _, data in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
    if data == ARGV[1] then return 1 end
end
return 0
"""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.01, 0.1
"""Seconds between two looks into an empty queue with priorities. No command of Redis waits for a message of such a
queue and moves it in one step."""


class RedisCopies(RunningCopies):
    """The copies of a queue on Redis, with priorities or without. Needs Redis 5 or newer."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._redis = storage.conn
        self._take_next = self._redis.register_script(_TAKE_FIRST if storage.priority else _TAKE)
        self._take_due = self._redis.register_script(_TAKE_DUE)
        self._move = self._redis.register_script(_MOVE)
        self._has = self._redis.register_script(_HAS)

    def take(self, owner: str, finished: Sequence[Copy]) -> Copy | None:
        keys = self._storage.queue_key, self._key_of(owner)
        data = self._take_next(keys=keys, args=[copy.data for copy in finished])
        if data is None and self._storage.blocking:
            data = self._wait_for_first(keys) if self._storage.priority else self._wait_for_next(*keys)
        return None if data is None else Copy(owner, "", data)

    def _wait_for_next(self, queue: str, running: str) -> bytes | None:
        # The class is compared by its name: importing redis here would cost every user of another storage its time.
        try:
            data: bytes | None = self._redis.brpoplpush(queue, running, self._storage.read_timeout)
        except Exception as error:
            if type(error).__name__ == "TimeoutError":  # The queue was empty. Huey does the same.
                return None
            raise
        return data

    def _wait_for_first(self, keys: tuple[str, str]) -> bytes | None:
        deadline, pause = time.monotonic() + self._storage.read_timeout, _SHORTEST_PAUSE
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)
            data: bytes | None = self._take_next(keys=keys)
            if data is not None:
                return data
        return None

    def take_due(self, owner: str, moment: Any) -> list[Copy]:
        keys = self._storage.schedule_key, self._key_of(owner)
        due = self._take_due(keys=keys, args=[repr(self._storage.convert_ts(moment))])
        return [Copy(owner, "", data) for data in due]

    def list_copies(self, owner: str, *, limit: int = 100) -> list[Copy]:
        found = self._redis.lrange(self._key_of(owner), -limit, -1)
        return [Copy(owner, "", data) for data in reversed(found)]

    def has(self, copy: Copy) -> bool:
        return bool(self._has(keys=[self._key_of(copy.owner)], args=[copy.data]))

    def count(self, owner: str) -> int:
        return int(self._redis.llen(self._key_of(owner)))

    def forget(self, *copies: Copy) -> int:
        return sum(int(self._redis.lrem(self._key_of(copy.owner), -1, copy.data)) for copy in copies)

    def move_to_queue(self, copy: Copy, data: bytes, priority: float | None) -> bool:
        queue = self._storage.queue_key
        if not self._storage.priority:
            return self._move_copy(copy, queue, "LPUSH", data)
        # As Huey 3.5 does: the bytes of the time decide between two messages with the same priority.
        message = struct.pack(">Q", int(time.time() * 1e6)) + data
        return self._move_copy(copy, queue, "ZADD", -(priority or 0), message)

    def move_to_schedule(self, copy: Copy, data: bytes, eta: Any) -> bool:
        return self._move_copy(copy, self._storage.schedule_key, "ZADD", repr(self._storage.convert_ts(eta)), data)

    def move_to_results(self, copy: Copy, task_id: str, value: bytes) -> bool:
        storage = self._storage
        # Private parts of Huey 3.5: in a storage whose results expire, `result_key` is a method that gives each result
        # a key of its own, and `_notify` wakes those who wait for a result.
        if callable(storage.result_key):
            stored = self._move_copy(copy, storage.result_key(task_id), "SET", value, "EX", storage._expire_time)
        else:
            stored = self._move_copy(copy, storage.result_key, "HSET", task_id, value)
        if stored and storage.notify_result:
            storage._notify(task_id)
        return stored

    def _move_copy(self, copy: Copy, key: Any, command: str, *arguments: Any) -> bool:
        keys = self._key_of(copy.owner), key
        return bool(self._move(keys=keys, args=(copy.data, command, *arguments)))

    def _key_of(self, owner: str) -> str:
        # Named as the tables of the shared state are, so that flushing the queue removes the list with them.
        return f"aquila.{{{self._storage.name}}}.{TABLE}{owner}"
