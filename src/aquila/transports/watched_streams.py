"""Bodies of answers that note how they are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from aquila.recording.reporting.wire_watch import Reading


class ReadingNotes(ABC):
    """Notes how one body is read."""

    @abstractmethod
    def add(self, chunk: bytes) -> None:
        """Note a chunk, before the reader gets it."""

    @abstractmethod
    def end(self, how: Reading, error: BaseException | None = None) -> None:
        """Note how the reading ended, and the ``error`` that the reader got. Only the first call counts."""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Note how the block ends in which a body is read. If a reader leaves, ``close`` of the stream notes that."""
        try:
            yield
        except GeneratorExit:
            raise
        except BaseException as error:
            self.end("raised", error)
            raise
        self.end("read")


class WatchedStream(httpx2.SyncByteStream):
    """A body that is read through ``notes``. ``after_close`` is called once it is closed."""

    after_close: Callable[[], None] | None = None

    def __init__(self, stream: Any, notes: ReadingNotes) -> None:
        self.watched_stream = stream
        self._notes = notes

    def __iter__(self) -> Iterator[bytes]:
        with self._notes.reading():
            for chunk in self.watched_stream:
                self._notes.add(chunk)
                yield chunk

    def close(self) -> None:
        self._notes.end("left")
        try:
            self.watched_stream.close()
        finally:
            if self.after_close is not None:
                self.after_close()


class AsyncWatchedStream(httpx2.AsyncByteStream):
    """The async twin of ``WatchedStream``."""

    after_close: Callable[[], Awaitable[None]] | None = None

    def __init__(self, stream: Any, notes: ReadingNotes) -> None:
        self.watched_stream = stream
        self._notes = notes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._notes.reading():
            async for chunk in self.watched_stream:
                self._notes.add(chunk)
                yield chunk

    async def aclose(self) -> None:
        self._notes.end("left")
        try:
            await self.watched_stream.aclose()
        finally:
            if self.after_close is not None:
                await self.after_close()
