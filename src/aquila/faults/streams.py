"""Faults in the bytes, the events and the times of an answer. Its content, as far as it arrives, is not changed."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

from aquila.cassettes.model import Interaction, RecordedChunk, RecordedResponse
from aquila.faults.events import (
    BROKEN_OFF,
    cut_chunks,
    find_event,
    is_stream,
    read_events,
    with_chunks,
)
from aquila.faults.fault import LONGEST, ImpossibleFault
from aquila.plurals import count_of

_DATA = re.compile(rb"(?<![^\r\n])data:[ ]?([^\r\n]*)")


def cut_stream(
    interaction: Interaction,
    *,
    after: int | None = None,
    after_bytes: int | None = None,
    after_seconds: float | None = None,
) -> RecordedResponse:
    """The connection breaks within the answer: after so many events, bytes or seconds; by default in the middle."""
    response = _whole(interaction)
    chunks = cut_chunks(response, _size_to_keep(response, after, after_bytes, after_seconds))
    return replace(with_chunks(response, chunks), end="broken", error=BROKEN_OFF)


def end_early(
    interaction: Interaction, *, after: int | None = None, after_bytes: int | None = None
) -> RecordedResponse:
    """The answer ends as if it were complete, after so many events or bytes; by default in the middle."""
    response = _whole(interaction)
    chunks = cut_chunks(response, _size_to_keep(response, after, after_bytes, None))
    return replace(with_chunks(response, chunks), end="complete", error="")


def stall(interaction: Interaction, *, seconds: float | None = None, after: int | None = None) -> RecordedResponse:
    """Nothing more arrives after so many events; by default half of them. With ``seconds``, the rest arrives then."""
    response = _whole(interaction)
    if not is_stream(response) and after is None:
        size = 0
    else:
        size = _size_to_keep(response, after, None, None)
    kept = cut_chunks(response, size)
    if seconds is None:
        return replace(with_chunks(response, kept), end="silent")
    before = [RecordedChunk(chunk.data) for chunk in kept]  # at once, so that the stall is the only wait
    later = [RecordedChunk(chunk.data, to_milliseconds(seconds)) for chunk in _rest_of(response, size)]
    return replace(with_chunks(response, [*before, *later]), started=0 if kept else to_milliseconds(seconds))


def slow(interaction: Interaction, *, pace: float = 0.05, first: float = 0.0) -> RecordedResponse:
    """Each chunk takes ``pace`` seconds, and the first one ``first`` seconds more."""
    response = _whole(interaction)
    chunks = [
        RecordedChunk(chunk.data, to_milliseconds(first + pace * (number + 1)))
        for number, chunk in enumerate(response.chunks)
    ]
    return with_chunks(replace(response, started=to_milliseconds(first)), chunks)


def one_byte(interaction: Interaction) -> RecordedResponse:
    """Every byte arrives in a chunk of its own."""
    response = _whole(interaction)
    return with_chunks(
        response, [RecordedChunk(bytes([byte]), chunk.at) for chunk in response.chunks for byte in chunk.data]
    )


def one_piece(interaction: Interaction) -> RecordedResponse:
    """The whole answer arrives in one chunk."""
    response = _whole(interaction)
    return with_chunks(response, [RecordedChunk(response.body, response.ended)] if response.body else [])


def split_events(interaction: Interaction) -> RecordedResponse:
    """Each event arrives in two pieces, the second together with the beginning of the next event."""
    response = _whole(interaction)
    events = read_events(response)
    pieces, rest = [], b""
    for event in events:
        middle = len(event.data) // 2
        pieces.append(RecordedChunk(rest + event.data[:middle], event.at))
        rest = event.data[middle:]
    return with_chunks(response, [*pieces, RecordedChunk(rest, events[-1].at)])


def other_chunks(interaction: Interaction, *, sizes: str = "7") -> RecordedResponse:
    """The bytes arrive in chunks of these ``sizes``, in turn: ``other_chunks("1,20,5")``."""
    response = _whole(interaction)
    numbers = [int(size) for size in sizes.split(",") if size.strip().isdecimal()]
    if len(numbers) != sizes.count(",") + 1 or not all(numbers):
        raise ImpossibleFault(f"sizes={sizes!r} must be numbers from 1, joined by commas")
    body, at, chunks = response.body, 0, []
    for size in itertools.cycle(numbers):
        if at >= len(body):
            break
        chunks.append(RecordedChunk(body[at : at + size], response.ended))
        at += size
    return with_chunks(response, chunks)


def duplicated_event(interaction: Interaction, *, at: int | None = None) -> RecordedResponse:
    """An event arrives twice: number ``at`` (from 1), by default one in the middle."""
    response, events, index = _choose_event(interaction, at)
    return with_chunks(response, [*events[: index + 1], *events[index:]])


def dropped_event(interaction: Interaction, *, at: int | None = None) -> RecordedResponse:
    """An event is missing: number ``at`` (from 1), by default one in the middle."""
    response, events, index = _choose_event(interaction, at)
    return with_chunks(response, [*events[:index], *events[index + 1 :]])


def reordered_events(interaction: Interaction, *, at: int | None = None) -> RecordedResponse:
    """An event arrives after the one that follows it: number ``at`` (from 1), by default one in the middle."""
    response, events, index = _choose_event(interaction, at)
    if index + 1 >= len(events):
        raise ImpossibleFault(f"no event follows event {index + 1}")
    return with_chunks(response, [*events[:index], events[index + 1], events[index], *events[index + 2 :]])


def garbage(interaction: Interaction, *, at: int | None = None) -> RecordedResponse:
    """An event is not JSON: number ``at`` (from 1), by default one in the middle; without a stream, the body is not."""
    if not is_stream(interaction.response):
        response = _whole(interaction)
        return with_chunks(response, [RecordedChunk(b"{malformed: <<<", response.ended)])
    response, events, index = _choose_event(interaction, at)
    begin, end = _data_of(events[index])
    return with_chunks(response, _replace_within(events, index, begin, end, b"{malformed: <<<"))


def truncated_json(interaction: Interaction, *, at: int | None = None) -> RecordedResponse:
    """The JSON of an event is cut in half: number ``at``, by default one in the middle; without a stream, the body."""
    if not is_stream(interaction.response):
        response = _whole(interaction)
        return with_chunks(response, cut_chunks(response, len(response.body) // 2))
    response, events, index = _choose_event(interaction, at)
    begin, end = _data_of(events[index])
    return with_chunks(response, _replace_within(events, index, (begin + end) // 2, end, b""))


def invalid_utf8(interaction: Interaction, *, at: int | None = None) -> RecordedResponse:
    """A text of an event is not UTF-8: number ``at``, by default one in the middle; without a stream, of the body."""
    if not is_stream(interaction.response):
        response = _whole(interaction)
        return with_chunks(response, [RecordedChunk(spoil_text(response.body), response.ended)])
    response, events, index = _choose_event(interaction, at)
    return with_chunks(response, _replace_event(events, index, spoil_text(events[index].data)))


def spoil_text(text: bytes) -> bytes:
    """Return ``text`` with invalid UTF-8 at the beginning of its last string.

    Raises ``ImpossibleFault`` without one.
    """
    end = text.rfind(b'"')
    begin = text.rfind(b'"', 0, end) if end > 0 else -1
    if begin < 0:
        raise ImpossibleFault("there is no text in it")
    return text[: begin + 1] + b"\xff\xfe" + text[begin + 1 :]


def _data_of(event: RecordedChunk) -> tuple[int, int]:
    """Return where the data of an event begins and ends. Its other lines, such as the name, hold no JSON."""
    lines = list(_DATA.finditer(event.data))
    if not lines:
        raise ImpossibleFault("the event has no data")
    return lines[0].start(1), lines[-1].end(1)


def _replace_within(events: list[RecordedChunk], index: int, begin: int, end: int, data: bytes) -> list[RecordedChunk]:
    text = events[index].data
    return _replace_event(events, index, text[:begin] + data + text[end:])


def _replace_event(events: list[RecordedChunk], index: int, data: bytes) -> list[RecordedChunk]:
    return [*events[:index], RecordedChunk(data, events[index].at), *events[index + 1 :]]


def _choose_event(interaction: Interaction, at: int | None) -> tuple[RecordedResponse, list[RecordedChunk], int]:
    """Return the answer, its events, and the index of event ``at``, by default of one in the middle that has data.

    Servers also send comments, to keep the connection alive. No program reads them, so a fault of one tests nothing.
    """
    response = _whole(interaction)
    events = read_events(response)
    if at is not None:
        return response, events, find_event(events, at)
    with_data = [number for number, event in enumerate(events) if _DATA.search(event.data)] or range(len(events))
    return response, events, with_data[(len(with_data) - 1) // 2]


def _whole(interaction: Interaction) -> RecordedResponse:
    response = interaction.response
    if not response.has_begun or not response.chunks:
        raise ImpossibleFault("the answer has no body")
    # The same request, sent again, meets the fault in the answer that follows an error.
    if response.status >= 400:
        raise ImpossibleFault(f"the answer has the status {response.status}, so it is no good answer to damage")
    return response


def _size_to_keep(
    response: RecordedResponse, after: int | None, after_bytes: int | None, after_seconds: float | None
) -> int:
    """Return how many bytes arrive before the fault. At most one of the limits may be given; by default half."""
    given = [each for each in (after, after_bytes, after_seconds) if each is not None]
    if len(given) > 1:
        raise ImpossibleFault("give one of after=, after_bytes= and after_seconds=")
    size = sum(len(chunk.data) for chunk in response.chunks)
    if after_bytes is not None:
        if not 0 <= after_bytes < size:
            raise ImpossibleFault(f"the answer has {size} bytes, so nothing is left after {after_bytes}")
        return after_bytes
    if after_seconds is not None:
        passed = to_milliseconds(after_seconds)
        kept = sum(len(chunk.data) for chunk in response.chunks if chunk.at < passed)
        if kept == size:
            raise ImpossibleFault(f"the answer has ended after {after_seconds:g} seconds")
        return kept
    if after is None and not is_stream(response):
        return size // 2
    events = read_events(response)
    if after is None:
        after = len(events) // 2
    if not 0 <= after < len(events):
        raise ImpossibleFault(f"the stream has {count_of(len(events), 'event')}, so nothing is left after {after}")
    return sum(len(event.data) for event in events[:after])


def _rest_of(response: RecordedResponse, size: int) -> list[RecordedChunk]:
    rest = []
    for chunk in response.chunks:
        if size < len(chunk.data):
            rest.append(RecordedChunk(chunk.data[max(0, size) :], chunk.at))
        size -= len(chunk.data)
    return rest


def to_milliseconds(seconds: float) -> int:
    """Return seconds as milliseconds. Raises ``ImpossibleFault`` for a negative or too large number."""
    if not 0 <= seconds < LONGEST:
        raise ImpossibleFault(f"{seconds:g} is not a number of seconds from 0 to {LONGEST}")
    return round(seconds * 1000)


def abnormal_close(
    interaction: Interaction, *, code: int = 1011, reason: str = "", after: int | None = None
) -> RecordedResponse:
    """A WebSocket is closed with ``code`` and ``reason``, after so many messages; by default in the middle."""
    raise ImpossibleFault("only a WebSocket is closed with a code")


STREAM_FAULTS = (
    cut_stream,
    end_early,
    abnormal_close,
    stall,
    slow,
    one_byte,
    one_piece,
    split_events,
    other_chunks,
    duplicated_event,
    dropped_event,
    reordered_events,
    garbage,
    truncated_json,
    invalid_utf8,
)
