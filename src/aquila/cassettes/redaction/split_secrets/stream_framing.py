"""Finds the events of a stream: those of server-sent events, lines of JSON, or JSON without anything between."""

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
"""So many bytes of a body say whether it may come in pieces."""
_CHANNEL = re.compile(rb"[0-9a-z]{1,2}:")
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_BETWEEN_DATA = re.compile(rb"(?:\r\n|\n|\r)(?:(?!data[:\r\n])[^\r\n]*(?:\r\n|\n|\r))*+data:?[ ]?")


class StreamEvent(NamedTuple):
    """One event: where its data begins and ends, and where each of its lines of data does."""

    start: int
    end: int
    lines: tuple[tuple[int, int], ...]
    is_framed: bool
    """Whether it is a server-sent event, whose data need not be JSON."""


class Framing(enum.Enum):
    """What tells the events of a body apart."""

    EVENTS = enum.auto()
    """They are server-sent events."""
    LINES = enum.auto()
    """Each line is one, as in lines of JSON."""
    NONE = enum.auto()
    """Nothing does: it is one JSON value, a list of events, or several values without anything between."""


def may_come_in_pieces(beginning: bytes) -> bool:
    """Say whether a body that begins so may deliver texts in pieces: events, JSON or frames of AWS."""
    return (
        begins_with_frame(beginning)
        or _BEGINS_AS_JSON.match(beginning) is not None
        or _BEGINS_AS_EVENTS.match(beginning) is not None
    )


def framing_of(body: bytes) -> Framing:
    """Say what tells the events of a body apart."""
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
    """Yield the events from a place on, at which one begins."""
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
    """Return the data of an event that has several lines of it."""
    return DecodedView(body[event.start : event.end], _BETWEEN_DATA, lambda match: b"\n")


def parse_json(data: bytes) -> Any:
    """Return the value of a line of data, behind the channel with which some streams begin lines, or None."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        channel = _CHANNEL.match(data)
        return parse_json(data[channel.end() :]) if channel else None
