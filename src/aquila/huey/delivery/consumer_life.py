"""Consumers that show by a heartbeat in the shared state that they live. Host names and process ids decide nothing."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aquila.errors import ConfigError
from aquila.huey.state import Entry, SharedState, state_of

logger = logging.getLogger("huey.aquila")

CONSUMERS = "consumers"
"""The table of consumers: by id, in order of their last heartbeat."""

LOST_AFTER = 30.0
"""Seconds without a heartbeat after which a consumer counts as dead."""

_SHORTEST = 1.0
"""The shortest such time of a queue: a loaded machine shows its heartbeats late."""

_BEATS = 6
"""Heartbeats within that time."""


@dataclass(frozen=True, slots=True)
class ConsumerEntry:
    """A consumer, or one process of a consumer whose workers are processes.

    ``id`` is new for each process that starts. ``host`` and ``pid`` are for people: nothing is decided by them.
    ``started`` and ``seen`` are times by the clock of the storage, in seconds since the epoch.

    Examples:
        >>> import time
        >>> from aquila.huey import MemoryHuey, list_consumers
        >>> for consumer in list_consumers(MemoryHuey("jobs")):
        ...     print(consumer.host, consumer.pid, f"shown {time.time() - consumer.seen:.0f} s ago")
    """

    id: str
    host: str
    pid: int
    started: float
    seen: float


def check_lost_after(seconds: Any, *, at_least: float = _SHORTEST) -> float:
    """Return after how many seconds without a heartbeat a consumer is dead. Raises ``ConfigError`` for what is none."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not at_least <= seconds < math.inf:
        raise ConfigError(f"lost_after= must be a number of seconds from {at_least:g}, such as 30, not {seconds!r}")
    return float(seconds)


def list_consumers(huey: Any, *, limit: int = 1000) -> list[ConsumerEntry]:
    """Return the consumers that have shown themselves, those last that did so last. Dead ones stay for a while.

    Examples:
        >>> from aquila.huey import MemoryHuey, list_consumers
        >>> list_consumers(MemoryHuey("jobs", keep_running=True))    # none has started yet
        []
    """
    return [_read_entry(entry) for entry in state_of(huey).entries(CONSUMERS, limit=limit)]


def _read_entry(entry: Entry) -> ConsumerEntry:
    # Anybody may have written it.
    try:
        value = json.loads(entry.value)
        host, pid, started = value["host"], value["pid"], value["started"]
        if (type(host), type(pid), type(started)) == (str, int, float):
            return ConsumerEntry(entry.key, host[:255], pid, started, entry.order)
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    return ConsumerEntry(entry.key, "?", 0, entry.order, entry.order)


class ConsumerLife:
    """The life of this process as a consumer, from its first task to its end.

    A thread of its own shows the heartbeat and calls ``look_around`` between two beats. ``lost_after`` is the time
    without one, in seconds, after which other consumers take over its tasks. ``describe`` returns what else a heartbeat
    says of this process, for the page of jobs.
    """

    def __init__(
        self,
        state: SharedState,
        look_around: Callable[[], object],
        lost_after: float = LOST_AFTER,
        describe: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.lost_after = lost_after
        self._state = state
        self._look_around = look_around
        self._describe = describe
        self._every = lost_after / _BEATS
        self._started: float | None = None
        self._last_beat = float("-inf")
        self._lock = threading.Lock()
        self._beating = threading.Lock()  # What is forgotten is not shown any more.
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._is_described = True

    @property
    def may_be_given_up(self) -> bool:
        """Whether others may have taken this consumer for dead: it was stopped, or could not reach the storage."""
        return time.monotonic() - self._last_beat > self.lost_after - 2 * self._every

    def ensure_beating(self) -> None:
        """Show a heartbeat if one is overdue, and start the thread that shows those to come."""
        if self._thread is not None and time.monotonic() - self._last_beat < 2 * self._every:
            return
        with self._lock:
            if time.monotonic() - self._last_beat >= 2 * self._every:
                self.beat()
            if self._thread is None:
                self._thread = threading.Thread(target=self._live, name=f"aquila-consumer-{self.id}", daemon=True)
                self._thread.start()

    def beat(self) -> None:
        """Show a heartbeat, unless this life has ended."""
        with self._beating:
            if not self._ended.is_set():
                self._show()

    def _show(self) -> None:
        begun, now = time.monotonic(), self._state.now()
        if self._started is None:
            self._started = now
        bare = {"host": socket.gethostname(), "pid": os.getpid(), "started": self._started}
        self._state.put(CONSUMERS, self.id, self._describe_if_possible(bare), order=now)
        self._last_beat = begun

    def _describe_if_possible(self, bare: dict[str, Any]) -> bytes:
        """Return a heartbeat with what the page shows of this process, or without it: others go by the beat alone."""
        try:
            described = json.dumps({**self._describe(), **bare}).encode()
            self._is_described = True
            return described
        except Exception as error:  # noqa: BLE001 -- nothing that a page shows stops the heartbeat
            if self._is_described:
                kind = type(error).__name__
                logger.warning("consumer %s cannot say on the page of jobs what it does: %s: %s", self.id, kind, error)
            self._is_described = False
            return json.dumps(bare).encode()

    def end(self, *, forget: bool) -> None:
        """End the heartbeat. ``forget``: nothing of this consumer is left that others could take over."""
        self._ended.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._every)
        if forget:
            is_free = self._beating.acquire(timeout=self._every)
            try:
                with contextlib.suppress(Exception):  # The storage is away: the entry is removed when it has grown old.
                    self._state.delete(CONSUMERS, self.id)
            finally:
                if is_free:
                    self._beating.release()

    def _live(self) -> None:
        # What goes wrong is said once, until it goes well again.
        is_well = True
        pause = self._every * random.uniform(0.1, 1)
        while not self._ended.wait(pause):
            pause = self._every
            try:
                self.beat()
                self._look_around()
                is_well = True
            except Exception as error:  # noqa: BLE001 -- whatever a storage raises that is away
                if is_well:
                    reason = f"{type(error).__name__}: {error}"
                    logger.warning("consumer %s cannot show that it lives: %s", self.id, reason)
                is_well = False
