"""Follow what happens to a job, from any program, as it happens.

::

    for event in subscribe(huey, result.id):
        if event.kind == "text":
            print(event.data["text"], end="")

Events are read from the storage by their numbers, so none is lost and none comes twice, whatever breaks in between: go
on with ``after=`` the number of the last event. Wake-ups say only when to look.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from aquila.errors import ConfigError
from aquila.huey.live.events import FIRST, MOST_IN_BATCH, QUEUED, JobEvent, decode_batch, events_table
from aquila.huey.live.summaries import JOBS_TABLE, decode_summary
from aquila.huey.live.waking import look_every, wake_ups_of
from aquila.huey.state import state_of

logger = logging.getLogger("huey.aquila")

_AT_ONCE = 500
_LONGEST_PAUSE = 2.0
_MOST_THREADS = 4
_limiter: RunVar[anyio.CapacityLimiter] = RunVar("aquila_live_limiter")
"""One for each event loop, made by ``reading_limiter`` and gone with the loop."""


def reading_limiter() -> anyio.CapacityLimiter:
    """Return what bounds the threads in which the storage is asked: few, so that an application keeps its own."""
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(_MOST_THREADS)
        _limiter.set(limiter)
    return limiter


def subscribe(huey: Any, task: Any, *, after: int = 0, timeout: float | None = None) -> Iterator[JobEvent]:
    """Yield what happens to a job, from its beginning, until it has ended.

    - ``task``: the result handle, the task, or its id.
    - ``after``: leave out events up to this number, which the caller has seen.
    - ``timeout``: how long to wait for the next event, in seconds. Without it, for ever.

    The workers' Huey must have been given to ``publish_jobs``. Where the storage is away, it waits for it. Raises
    ``TimeoutError``.
    """
    reader = JobReader(huey, task if isinstance(task, str) else task.id, after)
    woken = threading.Event()
    with wake_ups_of(huey).calling(woken.set, reader.job):
        waiting_since = time.monotonic()
        while True:
            woken.clear()
            found = reader.read()
            if found:
                yield from found
                waiting_since = time.monotonic()
                if found[-1].is_end:
                    return
            elif reader.has_ended:
                return
            else:
                woken.wait(reader.choose_wait(waiting_since, timeout))


async def subscribe_async(
    huey: Any, task: Any, *, after: int = 0, timeout: float | None = None
) -> AsyncIterator[JobEvent]:
    """Yield what ``subscribe`` does, in an event loop. The storage is asked in threads; none of them waits.

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
        waiting_since = time.monotonic()
        while True:
            woken.clear()
            found = await anyio.to_thread.run_sync(reader.read, limiter=reading_limiter())
            if found:
                for event in found:
                    yield event
                waiting_since = time.monotonic()
                if found[-1].is_end:
                    return
            elif reader.has_ended:
                return
            else:
                await woken.wait(reader.choose_wait(waiting_since, timeout))


class JobReader:
    """Reads the events of a job, each once. Follows no wake-up: its owner says when to look."""

    def __init__(self, huey: Any, job: str, after: int = 0) -> None:
        if type(after) is not int or after < 0:
            raise ConfigError(f"after={after!r} is not the number of an event; give that of the last one you have seen")
        self.job = job
        self.after = after
        self.has_ended = False
        """Whether the last event that there was, before those asked for, is an end."""
        self._huey = huey
        self._is_away = False
        self._failures = 0

    def read(self) -> list[JobEvent]:
        """Return the events that are new, some hundred at most. Returns none where the storage is away."""
        try:
            found = self._read_queued() + self._read_batches()
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 -- each storage has errors of its own
            self._failures += 1
            if not self._is_away:
                self._is_away = True
                logger.warning(
                    "the storage of the queue is away; job %s is followed when it is back: %s", self.job, error
                )
            return []
        self._failures, self._is_away = 0, False
        if found:
            self.after = found[-1].number
        return found

    def choose_wait(self, since: float, timeout: float | None) -> float:
        """Return how long to wait before looking again, in seconds. Raises ``TimeoutError``."""
        wait = look_every(self._huey)
        if self._failures:
            wait = min(_LONGEST_PAUSE, 0.05 * 2.0**self._failures)
        if timeout is None:
            return wait
        left = since + timeout - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"nothing happened to job {self.job} for {timeout} s")
        return min(wait, left)

    def _read_queued(self) -> list[JobEvent]:
        """Return that the job was queued, which its summary says."""
        if self.after >= FIRST:
            return []
        summary = decode_summary(self.job, state_of(self._huey).get(JOBS_TABLE, self.job))
        if summary is None:
            return []
        data = {"name": summary.name, "eta": summary.eta, "arguments": summary.arguments}
        return [JobEvent(FIRST, QUEUED, summary.created, "", data)]

    def _read_batches(self) -> list[JobEvent]:
        table, batch = events_table(self.job), self.after // MOST_IN_BATCH
        # From the batch of the last event on: its other events may have been left over.
        entries = state_of(self._huey).entries(table, limit=_AT_ONCE, at_least=max(1, batch))
        events = [event for entry in entries for event in decode_batch(int(entry.order), entry.value)]
        self.has_ended = bool(events) and events[-1].is_end
        if entries and not decode_batch(int(entries[-1].order), entries[-1].value):
            # What cannot be read may have been the end: the summary knows.
            summary = decode_summary(self.job, state_of(self._huey).get(JOBS_TABLE, self.job))
            self.has_ended = summary is None or bool(summary.ended)
        return [event for event in events if event.number > self.after]


class AsyncWakeUp:
    """An event of the running loop that any thread may set."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake whoever waits."""
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._event.set)

    def clear(self) -> None:
        """Forget wake-ups so far."""
        self._event.clear()

    async def wait(self, seconds: float) -> None:
        """Wait for a wake-up, and no longer than so many seconds."""
        with anyio.move_on_after(seconds):
            await self._event.wait()
