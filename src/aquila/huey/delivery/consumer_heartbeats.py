"""The heartbeats of consumers in the shared state. Nothing is decided by host names or process ids.

Containers may share a host name, and process ids are used again.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

from aquila.errors import ConfigError
from aquila.huey.progress.storage_patience import Outage
from aquila.huey.state import Entry, SharedState, state_of

CONSUMERS = "consumers"
"""The table of consumers: by id, in order of their last heartbeat."""

LOST_AFTER = 30.0
"""Seconds without a heartbeat after which a consumer counts as dead."""

_SHORTEST = 1.0
"""The shortest ``lost_after`` of a queue, in seconds: on a loaded machine heartbeats come late."""

BEATS = 6
"""How many heartbeats a consumer sends within ``lost_after``. A few may fail before it counts as dead."""


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
    """Return ``lost_after=`` as a number of seconds: a consumer that sends no heartbeat for so long is dead.

    Raises ``ConfigError`` for anything but a finite number from ``at_least``.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not at_least <= seconds < math.inf:
        raise ConfigError(f"lost_after= must be a number of seconds from {at_least:g}, such as 30, not {seconds!r}")
    return float(seconds)


def list_consumers(huey: Any, *, limit: int = 1000) -> list[ConsumerEntry]:
    """Return the consumers that have sent a heartbeat, in order of their last one. Dead consumers stay for a while.

    ``huey`` is the Huey, and ``limit`` is how many are returned at most. Raises ``ConfigError`` for a storage that is
    none of Huey's own.

    Examples:
        >>> from aquila.huey import MemoryHuey, list_consumers
        >>> list_consumers(MemoryHuey("jobs", keep_running=True))    # none has started yet
        []
    """
    return [_read_entry(entry) for entry in state_of(huey).entries(CONSUMERS, limit=limit)]


def _read_entry(entry: Entry) -> ConsumerEntry:
    about = json.loads(entry.value)
    return ConsumerEntry(entry.key, about["host"], about["pid"], about["started"], entry.order)


class ConsumerLife:
    """The life of this process as a consumer, from its first task to its end.

    A thread of its own sends heartbeats, and calls ``look_around`` after each.

    - ``state``: the shared state of the queue, which has the heartbeats.
    - ``lost_after``: seconds without a heartbeat after which other consumers take over the tasks of this one.
    - ``note_pause``: called with a heartbeat that comes so late that others may have taken this consumer for dead.

    ``KeptCopies`` owns a life and replaces it by a new one, with another id, when it ends.
    """

    def __init__(
        self,
        state: SharedState,
        look_around: Callable[[], object],
        lost_after: float = LOST_AFTER,
        note_pause: Callable[[], object] = lambda: None,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.lost_after = lost_after
        self._state = state
        self._look_around = look_around
        self._note_pause = note_pause
        self._every = lost_after / BEATS
        # Two beats shorter, to be safe: a needless question costs one round trip, a missing one a second execution.
        self._longest_pause = lost_after - 2 * self._every
        self._started: float | None = None  # By the clock of the storage; set by the first beat.
        self._sent = 0  # How many heartbeats were sent. Only `_beating` lets one be sent.
        self._shown: float | None = None  # When the last beat was sent, by the clock of the storage.
        # When the last beat was begun, by the monotonic clock. The thread and takers set it, and anybody reads it.
        self._last_beat = float("-inf")
        # fork: a child has an object of its own, see `TasksInHand`
        self._lock = threading.Lock()  # Held while the thread is started: two takers must not start one each.
        # Held during a beat and while `end` deletes the entry. A beat after that would store the entry of a consumer
        # that has ended.
        # fork: a child has an object of its own, see `TasksInHand`
        self._beating = threading.Lock()
        self._thread: threading.Thread | None = None  # Started by the first taker; ends with `_ended`.
        self._ended = threading.Event()  # Set once, and never cleared: a life does not begin again.

    @property
    def may_be_given_up(self) -> bool:
        """Whether others may take this consumer for dead: its process was suspended, or the storage did not answer."""
        return time.monotonic() - self._last_beat > self._longest_pause

    def ensure_beating(self) -> None:
        """Send a heartbeat if one is overdue, and start the thread that sends the next ones.

        Called before a message is taken: nobody looks for the copies of a consumer that has never sent a heartbeat.
        """
        # Without the lock first, because this is part of the time of every task.
        if self._thread is not None and time.monotonic() - self._last_beat < 2 * self._every:
            return
        with self._lock:
            if time.monotonic() - self._last_beat >= 2 * self._every:
                self.beat()
            if self._thread is None:
                self._thread = threading.Thread(target=self._live, name=f"aquila-consumer-{self.id}", daemon=True)
                self._thread.start()

    def beat(self) -> None:
        """Send a heartbeat, unless this life has ended. Raises what the storage raises."""
        with self._beating:
            if not self._ended.is_set():
                self._show()

    def _show(self) -> None:
        begun, now = time.monotonic(), self._state.now()
        if self._started is None:
            self._started = now
        self._sent += 1  # Makes each heartbeat another value, even if the clock of the storage stands still.
        about = {"host": socket.gethostname(), "pid": os.getpid(), "started": self._started, "sent": self._sent}
        self._state.put(CONSUMERS, self.id, json.dumps(about).encode(), order=now)
        # The clock of the storage also goes on while the whole machine sleeps, and the monotonic clock does not.
        slept = self._shown is not None and now - self._shown > self._longest_pause
        if slept or self.may_be_given_up:  # Before the next line: after it nobody sees the pause any more.
            self._note_pause()
        self._shown = now
        self._last_beat = begun  # Not the time of the answer: the storage may have taken long.

    def end(self, *, forget: bool) -> None:
        """End the heartbeats.

        ``forget`` also deletes the consumer from the storage, because no copy is left that others could take over.
        Waits only a little for a beat that is under way: the storage may be away.
        """
        self._ended.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._every)
        if forget:
            is_free = self._beating.acquire(timeout=self._every)
            try:
                with contextlib.suppress(Exception):  # The storage is away: a rescuer removes the entry later.
                    self._state.delete(CONSUMERS, self.id)
            finally:
                if is_free:
                    self._beating.release()

    def _live(self) -> None:
        outage = Outage(f"consumer {self.id}", "It sends no heartbeats, and looks for no lost tasks.")
        # The first look is at once, because a consumer may live only for seconds. The pause after it is random, so that
        # workers that start together do not all beat at the same moment.
        for pause in chain((0.0, self._every * random.uniform(0.1, 1)), repeat(self._every)):
            if self._ended.wait(pause):
                return
            try:
                self.beat()
                self._look_around()
                outage.note_answer()
            except Exception as error:  # noqa: BLE001 -- whatever a storage raises that is away
                outage.note_failure(error)
