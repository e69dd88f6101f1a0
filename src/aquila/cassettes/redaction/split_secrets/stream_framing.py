"""Finds the events of a stream: server-sent events, lines of JSON, or JSON values that follow one another directly."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from aquila.cassettes.redaction.decoded_views import DecodedView
from aquila.cassettes.redaction.split_secrets.amazon_frames import begins_with_frame

_DATA_LINE = re.compile(rb"(?<![^\r\n])(?:\A\xef\xbb\xbf)?data(?::[ ]?([^\r\n]*)|(?![^\r\n]))")
_JSON_LINE = re.compile(rb'(?<![^\r\n])[ \t\x1e]*+((?:[0-9a-z]{1,2}:)?["{\[][^\r\n]*)')
_BEGINS_AS_JSON = re.compile(rb'(?:\xef\xbb\xbf)?[\s\x1e]*+(?:[0-9a-z]{1,2}:)?["{\[]')
_BEGINS_AS_EVENTS = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n]*+(?:data|event|id|retry)?:")
BEGINNING = 64
"""How many bytes of a body ``may_come_in_pieces`` needs."""
_CHANNEL = re.compile(rb"[0-9a-z]{1,2}:")  # the data stream protocol of Vercel's AI SDK begins lines so: 0:"text"
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_BETWEEN_DATA = re.compile(rb"(?:\r\n|\n|\r)(?:(?!data[:\r\n])[^\r\n]*(?:\r\n|\n|\r))*+data:?[ ]?")


class StreamEvent(NamedTuple):
    """One event: start and end of its data in the body, and of each of its lines of data."""

    start: int
    end: int
    lines: tuple[tuple[int, int], ...]
    is_framed: bool
    """Whether it is a server-sent event, whose data need not be JSON."""


class Framing(enum.Enum):
    """How the events of a body are separated."""

    EVENTS = enum.auto()
    """They are server-sent events."""
    LINES = enum.auto()
    """Each line is an event, as in JSON Lines."""
    NONE = enum.auto()
    """By nothing: the body is one JSON value, a list of events, or several values that follow one another directly."""


def may_come_in_pieces(beginning: bytes) -> bool:
    """Say whether a body may deliver texts in pieces, as events, JSON or frames of AWS.

    ``beginning`` is its first ``BEGINNING`` bytes.
    """
    return (
        begins_with_frame(beginning)
        or _BEGINS_AS_JSON.match(beginning) is not None
        or _BEGINS_AS_EVENTS.match(beginning) is not None
    )


def framing_of(body: bytes) -> Framing:
    """Return how the events of a body are separated."""
    may_be_framed = body.startswith((b"data", b"\xef\xbb\xbfdata")) or b"\ndata" in body or b"\rdata" in body
    if may_be_framed and _DATA_LINE.search(body):
        return Framing.EVENTS
    if _BEGINS_AS_JSON.match(body) is None:
        return Framing.LINES  # other text, with JSON on lines of its own
    line = _JSON_LINE.search(body)
    if line is not None and line.end() < len(body.rstrip()) and parse_json(line[1]) is not None:
        return Framing.LINES
    return Framing.NONE


def find_events(body: bytes, framing: Framing, start: int = 0) -> Iterator[StreamEvent]:
    """Yield the events of a body from the offset ``start`` on, at which an event must begin."""
    if framing is Framing.EVENTS:
        yield from _find_framed_events(body, start)
    elif framing is Framing.LINES:
        for match in _JSON_LINE.finditer(body, start):
            yield StreamEvent(*match.span(1), (match.span(1),), False)
    elif start == 0:
        yield StreamEvent(0, len(body), (), False)


def _find_framed_events(body: bytes, start: int) -> Iterator[StreamEvent]:
    lines: list[tuple[int, int]] = []
    for match in _DATA_LINE.finditer(body, start):
        line = match.span(1) if match[1] is not None else (match.end(), match.end())
        if lines and _BLANK_LINE.search(body, lines[-1][1], match.start()):
            yield StreamEvent(lines[0][0], lines[-1][1], tuple(lines), True)
            lines = []
        lines.append(line)
    if lines:
        yield StreamEvent(lines[0][0], lines[-1][1], tuple(lines), True)


def join_lines(body: bytes, event: StreamEvent) -> DecodedView:
    """Return the data of an event with several lines of data, joined by line feeds as the HTML standard says."""
    return DecodedView(body[event.start : event.end], _BETWEEN_DATA, lambda match: b"\n")


def parse_json(data: bytes) -> Any:
    """Parse a line of data as JSON, without the channel with which some streams begin lines. None if it is no JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        channel = _CHANNEL.match(data)
        return parse_json(data[channel.end() :]) if channel else None
