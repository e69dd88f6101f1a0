"""Follows what happens to a job, from any program, while it happens.

::

    for event in subscribe(huey, result.id):
        if event.kind == "text":
            print(event.data["text"], end="")

Events are read from the storage by their numbers, so none is lost and none comes twice. After an interruption, pass the
number of the last event as ``after=``. Wake-ups only say when to look.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from aquila.errors import ConfigError
from aquila.huey.live.events import FIRST, MOST_IN_BATCH, QUEUED, STARTED, JobEvent, decode_batch, events_table
from aquila.huey.live.summaries import JOBS_TABLE, JobSummary, decode_summary
from aquila.huey.live.waking import look_every, wake_ups_of
from aquila.huey.progress.storage_patience import Outage
from aquila.huey.state import state_of

_AT_ONCE = 500
_MOST_THREADS = 4
_limiter: RunVar[anyio.CapacityLimiter] = RunVar("aquila_live_limiter")
"""One for each event loop. ``reading_limiter`` makes it, and it is gone with the loop."""


def reading_limiter() -> anyio.CapacityLimiter:
    """Return the limiter for the threads in which the storage is asked. These threads are few, and only for that."""
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(_MOST_THREADS)
        _limiter.set(limiter)
    return limiter


def subscribe(huey: Any, task: Any, *, after: int = 0, timeout: float | None = None) -> Iterator[JobEvent]:
    """Yield the events of a job, from its beginning until it has ended, or until it is deleted.

    - ``huey``: the Huey of the job. In the workers it must have been given to ``publish_jobs``.
    - ``task``: the result handle, the task, or its id.
    - ``after``: leave out events up to this number, because the caller has seen them.
    - ``timeout``: how long to wait for the next event, in seconds; None for ever.

    A storage that does not answer is asked again. Raises ``TimeoutError`` if no event comes in time, and
    ``ConfigError`` for an ``after`` that is not the number of an event.
    """
    reader = JobReader(huey, task if isinstance(task, str) else task.id, after)
    woken = threading.Event()
    with wake_ups_of(huey).calling(woken.set, reader.job):
        while not reader.is_at_end:
            woken.clear()  # Before reading: a wake-up that comes during that must not be lost.
            yield from reader.read()
            woken.wait(reader.choose_wait(timeout))


async def subscribe_async(
    huey: Any, task: Any, *, after: int = 0, timeout: float | None = None
) -> AsyncIterator[JobEvent]:
    """Yield the same events as ``subscribe`` in an event loop. The storage is asked in threads, and none of them waits.

    Examples:
        >>> import asyncio
        >>> from aquila.huey import MemoryHuey
        >>> from aquila.huey.live import publish_jobs, subscribe_async
        >>> from aquila.huey.testing import drain_queue, use_test_queue
        >>> huey = MemoryHuey("jobs")
        >>> publish_jobs(huey)
        >>> @huey.task()
        ... def add(a, b):
        ...     return a + b
        >>> async def follow(job):
        ...     return [event.kind async for event in subscribe_async(huey, job, timeout=60)]
        >>> with use_test_queue(huey):
        ...     result = add(1, 2)
        ...     runs = drain_queue()
        ...     asyncio.run(follow(result))
        ['queued', 'started', 'done']
    """
    reader = JobReader(huey, task if isinstance(task, str) else task.id, after)
    woken = AsyncWakeUp()
    with wake_ups_of(huey).calling(woken.set, reader.job):
        while not reader.is_at_end:
            woken.clear()
            for event in await anyio.to_thread.run_sync(reader.read, limiter=reading_limiter()):
                yield event
            await woken.wait(reader.choose_wait(timeout))


class JobReader:
    """Reads the events of a job, each once. Its owner decides when to look, and uses it in one thread at a time.

    ``job`` is the id of the job, and ``after`` the number of the last event that was read; ``read`` moves it on.
    Readers that share an ``outage`` log it once together.
    """

    def __init__(self, huey: Any, job: str, after: int = 0, outage: Outage | None = None) -> None:
        """Raises ``ConfigError`` for an ``after`` that is not the number of an event."""
        if type(after) is not int or after < 0:
            raise ConfigError(f"after={after!r} is not the number of an event; give that of the last one you have seen")
        self.job = job
        self.after = after
        self.is_at_end = False
        """Whether ``read`` has returned all events of a job that has ended. Then there is nothing to wait for."""
        self._has_ended = False  # Whether the job has ended, and nobody has begun it again since.
        self._ended_at = 0.0  # When it has ended, in seconds since the epoch; 0 before.
        self._has_found = False  # Whether the last reading has found events.
        self._waiting_since = time.monotonic()
        self._huey = huey
        self._outage = outage or Outage(f"subscription to job {job}", "The subscription goes on when it answers.")
        self._ask_again_in = 0.0  # Seconds; 0 after an answer.

    def read(self) -> list[JobEvent]:
        """Return the new events, those of up to 500 batches. Returns none where the storage does not answer.

        Raises ``ConfigError`` for a storage other than Huey's own.
        """
        found = self._read_new()
        self._has_found = bool(found)
        self.is_at_end = self._has_ended
        return found

    def _read_new(self) -> list[JobEvent]:
        try:
            found = self._read_queued() + self._read_batches()
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 -- each storage has errors of its own
            self._ask_again_in = self._outage.note_failure(error)
            return []
        self._outage.note_answer()
        self._ask_again_in = 0.0
        if found:
            self.after = found[-1].number
        return found

    def choose_wait(self, timeout: float | None) -> float:
        """Return how many seconds to wait before looking again.

        That is 0 after events, because there may be more, and after the end of the job. Raises ``TimeoutError`` if no
        event has come for ``timeout`` seconds.
        """
        if self._has_found or self.is_at_end:
            self._waiting_since = time.monotonic()
            return 0.0
        wait = self._ask_again_in or look_every(self._huey)
        if timeout is None:
            return wait
        left = self._waiting_since + timeout - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"nothing happened to job {self.job} for {timeout} s")
        return min(wait, left)

    def _read_queued(self) -> list[JobEvent]:
        """Return the event ``queued``, made of the summary of the job; none where it was read before."""
        if self.after >= FIRST:
            return []
        summary = self._read_summary()
        if summary is None:
            return []
        data = {"name": summary.name, "eta": summary.eta, "arguments": summary.arguments}
        return [JobEvent(FIRST, QUEUED, summary.created, "", data)]

    def _read_summary(self) -> JobSummary | None:
        return decode_summary(self.job, state_of(self._huey).get(JOBS_TABLE, self.job))

    def _read_batches(self) -> list[JobEvent]:
        table, batch = events_table(self.job), self.after // MOST_IN_BATCH
        # The batch of the last event is read again, because that event may have been in the middle of it.
        entries = state_of(self._huey).entries(table, limit=_AT_ONCE, at_least=max(1, batch))
        events = [event for entry in entries for event in decode_batch(int(entry.order), entry.value)]
        for event in events:
            # After an end there may be older events: of an execution that was suspended, and whose job has ended
            # elsewhere, or of a retry by hand that a worker has ended before.
            if event.is_end:
                self._has_ended, self._ended_at = True, event.at
            elif event.kind in (QUEUED, STARTED) and event.at > self._ended_at:
                self._has_ended = False
        if not entries and self.after >= FIRST and self._read_summary() is None:
            self._has_ended = True  # The job existed, and was deleted.
        if len(entries) == _AT_ONCE:  # There may be more. If not, the next call reads the last batch again.
            self._has_ended = False
        return [event for event in events if event.number > self.after]


class AsyncWakeUp:
    """An ``asyncio.Event`` of the running loop that any thread may set."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake whoever waits. Does nothing if the loop has ended."""
        with contextlib.suppress(RuntimeError):  # The loop has ended.
            self._loop.call_soon_threadsafe(self._event.set)

    def clear(self) -> None:
        """Forget all wake-ups so far."""
        self._event.clear()

    async def wait(self, seconds: float) -> bool:
        """Wait for a wake-up, at most ``seconds``. Returns whether one has come."""
        with anyio.move_on_after(seconds):
            await self._event.wait()
        return self._event.is_set()
