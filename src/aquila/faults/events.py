"""The events of a recorded stream, and the chunks in which they arrived."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from aquila.cassettes.model import Headers, RecordedChunk, RecordedResponse, is_event_stream_by_type
from aquila.faults.fault import ImpossibleFault

# The specification of server-sent events allows these three ends of a line; an empty line ends an event.
_END_OF_EVENT = re.compile(rb"\r\n\r\n|\n\n|\r\r")
BROKEN_OFF = "RemoteProtocolError: peer closed connection without sending complete message body"
"""The recorded error of an answer whose connection broke; the text is that of httpx2."""


def is_stream(response: RecordedResponse) -> bool:
    """Whether an answer is a stream of server-sent events."""
    return is_event_stream_by_type(response.headers)


def read_events(response: RecordedResponse) -> list[RecordedChunk]:
    """Return the events of an answer, each in a chunk of its own with the empty line behind it.

    ``data: [DONE]``, with which OpenAI ends a stream, is an event like any other.
    Raises ``ImpossibleFault`` if it is not a stream of events, or an empty one.
    """
    if not is_stream(response):
        raise ImpossibleFault("the answer is no stream of server-sent events")
    body, ends = response.body, arrival_times(response)
    events, begin = [], 0
    for found in _END_OF_EVENT.finditer(body):
        events.append(RecordedChunk(body[begin : found.end()], _time_at(ends, found.end())))
        begin = found.end()
    if begin < len(body):
        events.append(RecordedChunk(body[begin:], _time_at(ends, len(body))))
    if not events:
        raise ImpossibleFault("the stream has no events")
    return events


def arrival_times(response: RecordedResponse) -> list[tuple[int, int]]:
    """Return for each chunk the size in bytes of the body up to its end, and when it arrived, in milliseconds."""
    ends, size = [], 0
    for chunk in response.chunks:
        size += len(chunk.data)
        ends.append((size, chunk.at))
    return ends


def _time_at(ends: Sequence[tuple[int, int]], size: int) -> int:
    place = bisect_left(ends, size, key=lambda chunk: chunk[0])
    return ends[min(place, len(ends) - 1)][1] if ends else 0


def find_event(events: Sequence[RecordedChunk], number: int) -> int:
    """Return the index of event ``number``, from 1. Raises ``ImpossibleFault`` if there is no such event."""
    if not 1 <= number <= len(events):
        raise ImpossibleFault(f"there is no event {number}: the stream has {len(events)}")
    return number - 1


def with_chunks(response: RecordedResponse, chunks: Sequence[RecordedChunk]) -> RecordedResponse:
    """Return the answer with another body, and without header fields that describe the old one."""
    last = chunks[-1].at if chunks else response.started
    return replace(
        response, headers=without_length(response.headers), chunks=tuple(chunks), ended=max(last, response.ended)
    )


def without_length(headers: Headers) -> Headers:
    """Return header fields without those that give the length or a hash of the body."""
    return tuple(field for field in headers if field[0] not in ("content-length", "content-md5", "digest", "etag"))


def cut_chunks(response: RecordedResponse, size: int) -> list[RecordedChunk]:
    """Return the chunks of the first ``size`` bytes of an answer."""
    kept = []
    for chunk in response.chunks:
        if size <= 0:
            break
        kept.append(chunk if len(chunk.data) <= size else RecordedChunk(chunk.data[:size], chunk.at))
        size -= len(chunk.data)
    return kept
