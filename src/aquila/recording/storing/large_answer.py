"""An answer that is too large for memory: it is redacted and written to disk while it arrives."""

from __future__ import annotations

import threading
from array import array
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aquila.cassettes.body_file import LARGE, LARGE_STREAM, StoredChunks, looks_like_event_stream
from aquila.cassettes.model import Headers, RecordedChunk, is_event_stream_by_type
from aquila.cassettes.redaction.split_secrets import stream_events
from aquila.cassettes.redaction.window_redaction import CleanPart, LargeBodyRedactor
from aquila.cassettes.storage.work_folder import cassette_write_error
from aquila.fork_locks import renewed_in_child

if TYPE_CHECKING:
    from aquila.cassettes.storage.body_writer import BodyWriter


def is_event_stream(headers: Headers, beginning: bytes) -> bool:
    """Say whether an answer is an event stream, by its headers or by how it begins."""
    return is_event_stream_by_type(headers) or looks_like_event_stream(beginning)


def may_come_in_pieces(headers: Headers, beginning: bytes) -> bool:
    """Say whether an answer may deliver one text in several events, so that a secret may be split between them."""
    return is_event_stream(headers, beginning) or stream_events.may_come_in_pieces(beginning)


def most_in_memory(headers: Headers, beginning: bytes) -> int:
    """Return how many bytes of an answer are held in memory before it is written to disk."""
    return LARGE_STREAM if is_event_stream(headers, beginning) else LARGE


class LargeAnswer:
    """An answer that goes to disk while it arrives.

    ``redactor`` redacts the chunks, and ``writer`` writes them. ``chunks`` are those that arrived so far. A failure to
    write is raised by ``finish`` only: the caller gets the whole answer first.
    """

    def __init__(self, writer: BodyWriter, redactor: LargeBodyRedactor, chunks: Sequence[RecordedChunk]) -> None:
        self._writer = writer
        self._redactor = redactor
        self._times = array("Q", [chunk.at for chunk in chunks])
        self._ends = array("Q")
        self._failure: OSError | None = None  # raised by `finish`
        # Two threads may come at once: the reader writes, and a scope that closes ends the recording.
        self._lock = renewed_in_child(threading.Lock())
        self._ended = False
        self._last = deque(chunks, maxlen=3)  # the end of a stream is looked for in these
        for chunk in chunks:
            redactor.add_chunk(chunk.data)

    def add_chunk(self, data: bytes, at: int, clean: tuple[int, int] | None = None) -> bool:
        """Take in a chunk. Return whether there is something for ``write_windows`` to do.

        ``clean`` are the start and the end of a part of it that needs no redaction.
        """
        with self._lock:
            self._times.append(at)
            self._last.append(RecordedChunk(data, at))
            self._redactor.add_chunk(data, clean)
            return self._redactor.is_full

    def last_chunks(self) -> Sequence[RecordedChunk]:
        """Return the chunks that came last."""
        return tuple(self._last)

    def write_windows(self) -> None:
        """Write the parts that can be redacted already."""
        with self._lock:
            while self._redactor.is_full and not self._ended:
                self._write(self._redactor.take_part())

    def finish(self, *, cut_off: bool) -> StoredChunks:
        """Write the rest, and return the chunks in their file. Raises ``CassetteWriteError``."""
        self.write_windows()
        with self._lock:
            self._ended = True
            self._write(self._redactor.take_rest(cut_off=cut_off))
            if self._failure is None:
                try:
                    return StoredChunks(self._writer.finish(), self._ends, self._times)
                except OSError as error:
                    self._failure = error
            self._writer.abandon()
            raise cassette_write_error(self._writer.folder, self._failure) from self._failure

    def abandon(self) -> None:
        """Remove what was written, and write nothing from now on."""
        with self._lock:
            self._ended = True
            self._writer.abandon()

    def _write(self, part: CleanPart) -> None:
        start = self._writer.size
        self._ends.extend([start + end for end in part.ends])
        if self._failure is None:
            try:
                self._writer.write(part.data)
            except OSError as error:
                self._failure = error
                self._writer.abandon()
