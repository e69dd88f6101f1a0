"""The frames of a long conversation, whose chunks lie in a file. They are read when they are needed."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import overload

from aquila.cassettes.body_file import LARGE_STREAM, StoredChunks
from aquila.cassettes.model import RecordedChunk
from aquila.cassettes.web_socket_frames.frame import (
    Close,
    Frame,
    NotAFrame,
    is_close,
    is_from_provider,
    read_event,
)
from aquila.cassettes.web_socket_frames.lanes import Senders, read_senders, read_stream_id
from aquila.cassettes.web_socket_frames.sound_chunks import SoundChunks

_PAGE = 256
"""How many chunks are read at a time."""


def open_frames(chunks: Iterable[RecordedChunk]) -> tuple[Sequence[Frame], Close | None]:
    """Return the frames of a conversation, and how it was closed, if it was.

    Raises ``NotAFrame`` for a chunk that is no frame, and ``CassetteCorrupt`` for a file that is missing or changed.
    """
    if isinstance(chunks, SoundChunks):
        chunks.check_intact()
        if chunks.size > LARGE_STREAM:
            return _open_stored(chunks, chunks.templates)
    if isinstance(chunks, StoredChunks):
        return _open_stored(chunks, chunks)
    events = list(map(read_event, chunks))
    close = next((event for event in reversed(events) if isinstance(event, Close)), None)
    return [event for event in events if isinstance(event, Frame)], close


def _open_stored(
    chunks: Sequence[RecordedChunk], templates: Iterable[RecordedChunk]
) -> tuple[Sequence[Frame], Close | None]:
    """Find which chunks are frames. ``templates`` are the same chunks, perhaps with references in place of sound."""
    closes: list[int] = []
    by_client = bytearray()
    streams: dict[int, str] = {}
    close: Close | None = None
    for place, chunk in enumerate(templates):
        if is_close(chunk):
            closes.append(place)
            event = read_event(chunk)
            close = event if isinstance(event, Close) else close
            continue
        if b'"stream_id"' in chunk.data and isinstance(frame := read_event(chunk), Frame):
            name = read_stream_id(frame.data)
            if name is not None:
                streams[len(by_client)] = name
        by_client.append(not is_from_provider(chunk))
    places: Sequence[int] = range(len(by_client))
    if any(place < len(by_client) for place in closes):  # only where a file was edited: a recorder writes it at the end
        places = array("Q", [place for place in range(len(chunks)) if place not in closes])
    return StoredFrames(chunks, places, Senders(by_client, streams)), close


def senders_of(frames: Sequence[Frame]) -> Senders:
    """Return who sent each of the frames that ``open_frames`` returned."""
    return frames.senders if isinstance(frames, StoredFrames) else read_senders(frames)


class StoredFrames(Sequence[Frame]):
    """The frames at some ``places`` of ``chunks``. They are mostly read in order, so the last page read is kept."""

    def __init__(self, chunks: Sequence[RecordedChunk], places: Sequence[int], senders: Senders) -> None:
        self.senders = senders
        self._chunks = chunks
        self._places = places
        # The place of the first chunk of the page, and its chunks. Replaced by each page that is read.
        self._page: tuple[int, Sequence[RecordedChunk]] = 0, ()

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | Sequence[Frame]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        return self._read(self._places[index])

    def _read(self, place: int) -> Frame:
        start, page = self._page
        if not start <= place < start + len(page):
            start = place - place % _PAGE
            page = self._chunks[start : start + _PAGE]
            self._page = start, page  # one assignment, so that a thread that reads meanwhile sees a pair that fits
        event = read_event(page[place - start])
        if isinstance(event, Close):
            raise NotAFrame("a close is no frame")
        return event
