"""Wake those who wait for something to happen to a job: over Redis or Postgres at once, elsewhere they look often.

A wake-up says only where to look. One that is lost costs time, and nothing else: what happened is in the storage.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable
from typing import Any

from huey.storage import PostgresStorage, RedisStorage

LOOK_OFTEN, LOOK_SELDOM = 0.1, 2.0
"""How often the storage is asked, in seconds: where nothing wakes, and where something does."""

_LONGEST = 7_000  # Postgres takes 8,000 bytes.
_EVERYBODY = "*"
_LOOK_UP_EVERY = 0.25
"""After so many seconds without a wake-up the thread looks whether anybody waits still."""
_BACKOFF = (0.05, 0.1, 0.2, 0.5, 1.0)


def wake_subscribers(huey: Any, jobs: list[str]) -> None:
    """Say that something has happened to jobs. Raises what the storage raises."""
    storage = huey.storage
    text = "\n".join(jobs)
    if len(text) > _LONGEST or len(text) != len(text.encode()):
        text = _EVERYBODY
    if isinstance(storage, RedisStorage):
        storage.conn.publish(_channel_of(storage), text)
    elif isinstance(storage, PostgresStorage):
        storage.sql("select pg_notify(%s, %s)", (_channel_of(storage), text), commit=True)


def _channel_of(storage: Any) -> str:
    # Postgres takes 63 bytes, and cuts no longer name.
    return f"aquila.live.{hashlib.sha256(str(storage.name).encode()).hexdigest()[:24]}"


def look_every(huey: Any) -> float:
    """Return how often somebody who waits should look, in seconds."""
    return LOOK_SELDOM if isinstance(huey.storage, RedisStorage | PostgresStorage) else LOOK_OFTEN


class WakeUps:
    """Wake-ups for all who wait in this process: one connection, and one thread, while anybody does.

    Owns ``_waiting``: functions by what they wait for. Each is called in the thread, and must be quick.
    """

    def __init__(self, huey: Any) -> None:
        self._huey = huey
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def calling(self, function: Callable[[], None], job: str = _EVERYBODY) -> Any:
        """Have a function called when something happens to a job, or to any, until the block ends."""
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
        ended = threading.Event()
        while not self._is_alone():
            try:
                with _listener_of(self._huey.storage) as receive:
                    self._call(_EVERYBODY)  # whatever was missed meanwhile
                    while not self._is_alone():
                        text = receive(_LOOK_UP_EVERY)
                        failures = 0
                        if text is not None:
                            self._call(text)
            except Exception:  # noqa: BLE001 -- each storage has errors of its own; who waits looks by itself meanwhile
                ended.wait(_BACKOFF[min(failures, len(_BACKOFF) - 1)])
                failures += 1

    def _is_alone(self) -> bool:
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
                jobs = (*text.split("\n"), _EVERYBODY)
                called = [function for job in jobs for function in self._waiting.get(job, ())]
        for function in called:
            function()


def wake_ups_of(huey: Any) -> WakeUps:
    """Return the wake-ups of a Huey's storage, for as long as it lives."""
    storage = huey.storage
    found: WakeUps | None = vars(storage).get("_aquila_wake_ups")
    return found if found is not None else vars(storage).setdefault("_aquila_wake_ups", WakeUps(huey))


@contextlib.contextmanager
def _listener_of(storage: Any) -> Any:
    """Yield a function that waits for so many seconds and returns a wake-up's text, or None."""
    if isinstance(storage, RedisStorage):
        with storage.conn.pubsub(ignore_subscribe_messages=True) as pubsub:
            pubsub.subscribe(_channel_of(storage))

            def receive(seconds: float) -> str | None:
                message = pubsub.get_message(timeout=seconds)
                return None if message is None else message["data"].decode("utf-8", "replace")

            yield receive
        return
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
