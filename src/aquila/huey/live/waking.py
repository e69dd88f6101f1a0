"""Wakes those who wait for an event of a job. Redis and Postgres wake them at once; elsewhere they look often.

A wake-up only says where to look. If one is lost it costs time and nothing else, because the event is in the storage.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable
from typing import Any

from huey.storage import PostgresStorage, RedisStorage

LOOK_OFTEN, LOOK_SELDOM = 0.1, 2.0
"""Seconds between two looks: with a storage that cannot wake anybody, and with one that can."""

_LONGEST = 7_000  # Bytes of a wake-up. Postgres takes less than 8,000.
_EVERYBODY = "*"  # In the place of the ids of jobs: something has happened to any of them.
_LOOK_UP_EVERY = 0.25
"""Seconds without a wake-up after which the thread looks whether anybody still waits."""
_BACKOFF = (0.05, 0.1, 0.2, 0.5, 1.0)  # Seconds between two tries to connect; the last one again and again.


def wake_subscribers(huey: Any, jobs: list[str]) -> None:
    """Wake those who wait for one of ``jobs``, given by their ids. Raises what the storage raises.

    Does nothing with a storage that cannot wake anybody.
    """
    storage = huey.storage
    text = "\n".join(jobs)
    if len(text) > _LONGEST or len(text) != len(text.encode()):
        text = _EVERYBODY
    if isinstance(storage, RedisStorage):
        storage.conn.publish(_channel_of(storage), text)
    elif isinstance(storage, PostgresStorage):
        storage.sql("select pg_notify(%s, %s)", (_channel_of(storage), text), commit=True)


def _channel_of(storage: Any) -> str:
    # A digest, because the name of a queue may be longer than the 63 bytes that Postgres takes for a channel.
    return f"aquila.live.{hashlib.sha256(str(storage.name).encode()).hexdigest()[:24]}"


def look_every(huey: Any) -> float:
    """Return how many seconds somebody who waits should let pass between two looks."""
    return LOOK_SELDOM if isinstance(huey.storage, RedisStorage | PostgresStorage) else LOOK_OFTEN


class WakeUps:
    """The wake-ups for all who wait in this process. They share one connection and one thread, while anybody waits.

    The storage owns it as an attribute, for as long as it lives. A fork gets another one, because it has no
    thread that listens.
    """

    def __init__(self, huey: Any) -> None:
        self._huey = huey
        # fork: a child has an object of its own, see `wake_ups_of`
        self._lock = threading.Lock()  # Guards both attributes.
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        """The functions to call, by the id of the job that they wait for. ``calling`` adds one and removes it again."""
        self._thread: threading.Thread | None = None
        """The thread that listens. It sets this to None when nobody waits any more, and ends."""

    @contextlib.contextmanager
    def calling(self, function: Callable[[], None], job: str) -> Any:
        """Call ``function`` when something happens to ``job``, given by its id, until the block ends.

        It is called in another thread, and must be quick and not raise.
        """
        with self._lock:
            self._waiting.setdefault(job, []).append(function)
            if self._thread is None and look_every(self._huey) == LOOK_SELDOM:
                self._thread = threading.Thread(target=self._listen_until_alone, name="aquila-wake-ups", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._waiting[job].remove(function)
                if not self._waiting[job]:
                    del self._waiting[job]

    def _listen_until_alone(self) -> None:
        failures = 0
        never = threading.Event()  # To wait without `time.sleep`, which a test may have replaced.
        while not self._is_alone():
            try:
                with _listener_of(self._huey.storage) as receive:
                    self._call(_EVERYBODY)  # Wake-ups may have been lost while there was no connection.
                    while not self._is_alone():
                        text = receive(_LOOK_UP_EVERY)
                        failures = 0
                        if text is not None:
                            self._call(text)
                # A new thread may have started for those who wait by now, so this one must not listen again.
                return
            except Exception:  # noqa: BLE001 -- each storage has errors of its own; waiters look by themselves meanwhile
                never.wait(_BACKOFF[min(failures, len(_BACKOFF) - 1)])
                failures += 1

    def _is_alone(self) -> bool:
        # Under the lock, together with removing the thread: whoever begins to wait after that starts a new one.
        with self._lock:
            if self._waiting:
                return False
            self._thread = None
            return True

    def _call(self, text: str) -> None:
        with self._lock:
            if text == _EVERYBODY:
                called = [function for functions in self._waiting.values() for function in functions]
            else:
                called = [function for job in text.split("\n") for function in self._waiting.get(job, ())]
        for function in called:  # Without the lock: a function may begin or end to wait.
            function()


def wake_ups_of(huey: Any) -> WakeUps:
    """Return the wake-ups of a Huey's storage. They are made once, and live for as long as the storage."""
    storage = huey.storage
    name = f"_aquila_wake_ups_{os.getpid()}"  # a fork must not take those of its parent
    # `setdefault` is atomic: two threads that come here at once get the same object.
    found: WakeUps | None = vars(storage).get(name)
    return found if found is not None else vars(storage).setdefault(name, WakeUps(huey))


@contextlib.contextmanager
def _listener_of(storage: Any) -> Any:
    """Yield a function that waits some seconds for a wake-up, and returns its text or None."""
    if isinstance(storage, RedisStorage):
        with storage.conn.pubsub(ignore_subscribe_messages=True) as pubsub:
            pubsub.subscribe(_channel_of(storage))

            def receive(seconds: float) -> str | None:
                message = pubsub.get_message(timeout=seconds)
                return None if message is None else message["data"].decode("utf-8", "replace")

            yield receive
        return
    # A private method of Huey 3.5. A connection of its own, because one that listens can do nothing else.
    connection = storage._connect()
    try:
        connection.autocommit = True
        connection.execute(f'listen "{_channel_of(storage)}"')

        def receive_notice(seconds: float) -> str | None:
            for notice in connection.notifies(timeout=seconds, stop_after=1):
                return str(notice.payload)
            return None

        yield receive_notice
    finally:
        connection.close()
