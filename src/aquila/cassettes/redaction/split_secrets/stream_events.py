"""Finds the events of a stream, and the texts in the JSON of each.

Events are server-sent events, lines of JSON, or JSON values that follow one another directly. Python's JSON parser does
not say where a text stands, drops all but the last of fields with the same name, and refuses JSON that was cut off. So
texts are found here in bytes.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias, TypeVar

from aquila.cassettes.amazon_frames import begins_with_frame
from aquila.cassettes.redaction.decoded_views import DecodedView, decode_json_escapes, without_cut_escape
from aquila.lazy_patterns import lazy_pattern

_DATA_LINE = lazy_pattern(rb"(?<![^\r\n])(?:\A\xef\xbb\xbf)?data(?::[ ]?([^\r\n]*)|(?![^\r\n]))")
_JSON_LINE = lazy_pattern(rb'(?<![^\r\n])[ \t\x1e]*+((?:[0-9a-z]{1,2}:)?["{\[][^\r\n]*)')
_BEGINS_AS_JSON = lazy_pattern(rb'(?:\xef\xbb\xbf)?[\s\x1e]*+(?:[0-9a-z]{1,2}:)?["{\[]')
_BEGINS_AS_EVENTS = lazy_pattern(rb"(?:\xef\xbb\xbf)?[\r\n]*+(?:data|event|id|retry)?:")
BEGINNING = 64
"""How many bytes of a body ``may_come_in_pieces`` needs."""
_CHANNEL = lazy_pattern(rb"[0-9a-z]{1,2}:")  # the data stream protocol of Vercel's AI SDK begins lines so: 0:"text"
_BLANK_LINE = lazy_pattern(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_BETWEEN_DATA = lazy_pattern(rb"(?:\r\n|\n|\r)(?>(?:(?!data[:\r\n])[^\r\n]*(?:\r\n|\n|\r))*)data:?[ ]?")
_TOKEN = lazy_pattern(
    rb'"(?P<string>[^"\\\r\n]*+(?>(?:\\[^\r\n][^"\\\r\n]*+)*))(?P<quote>"(?P<colon>\s*+:(?:\s*+(?P<number>-?[0-9]++)(?![.eE]))?)?)?'
    rb"|\[(?P<codes>\s*+[0-9][\s0-9,]*+)(?:\]|\Z)"
    rb'|(?<![^\r\n])(?P<channel>[0-9a-z]{1,2}):(?=["{\[])'
    rb"|[\[\]{}]"
)
_LIST = ord("[")
_DEEPEST = 64
"""The longest path, and the most values within each other that are told apart: both would take quadratic memory."""
_MOST_IDS = 16
"""The most ids, and the most marks, of one value. A text is looked up by all of those around it."""

Path = tuple[bytes, ...]


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


class Leaf(NamedTuple):
    """A string, or a list of byte values, and where its content begins and ends in the bytes.

    ``path`` are the names of the fields that lead to it, with ``*`` for a list. ``marks`` are numbers that tell texts
    apart, such as ``output_index``. ``ids`` are the positions, among all leaves, of strings that tell texts apart, such
    as ``item_id``. ``is_codes`` says that it is a list of byte values, as log probabilities have them.
    """

    path: Path
    marks: tuple[int, ...]
    ids: tuple[int, ...]
    start: int
    end: int
    is_codes: bool


class _Value:
    """An object or a list that is being read."""

    __slots__ = ("_outer", "ids", "marks", "path")

    def __init__(self, path: Path, outer: _Value | None) -> None:
        self.path = path
        self.marks: list[int] = []
        self.ids: list[int] = []
        self._outer = outer

    def all_marks(self) -> tuple[int, ...]:
        return (*self._outer.all_marks(), *self.marks) if self._outer else tuple(self.marks)

    def all_ids(self) -> tuple[int, ...]:
        return (*self._outer.all_ids(), *self.ids) if self._outer else tuple(self.ids)


def find_leaves(data: bytes, start: int = 0, end: int | None = None) -> list[Leaf]:
    """Return the strings and the lists of byte values from ``start`` to ``end``, in order, without names of fields."""
    end = len(data) if end is None else end
    if data.find(b'"', start, end) < 0 and data.find(b"[", start, end) < 0:  # plain text or base64, quickly
        return []
    found: list[tuple[Path, _Value, tuple[int, int], bool]] = []
    within = _Value((), None)
    open_values = [within]
    key = b""
    for match in _TOKEN.finditer(data, start, end):
        text, quote, colon, number, codes, channel = match.groups()
        if text is not None:
            if colon:
                key = text
                if number and key.endswith(b"index") and len(within.marks) < _MOST_IDS:
                    within.marks.append(int(number))
                continue
            if key.endswith((b"id", b"Id", b"ID")) and len(within.ids) < _MOST_IDS:
                within.ids.append(len(found))
            found.append((_step(within.path, key), within, match.span(1), False))
            if quote is None:  # JSON has no line ends in strings: it was cut off here
                open_values = [_Value((), None)]
        elif codes:
            found.append((_step(within.path, key), within, match.span(5), True))
        elif channel:
            if len(open_values) == 1:
                open_values = [_Value((channel,), None)]
        elif data[match.start()] in b"{[":
            path = _step(within.path, key)
            if data[match.start()] == _LIST:
                path = _step(path, b"*")
            open_values.append(_Value(path, within) if len(open_values) < _DEEPEST else within)
        elif len(open_values) > 1:
            open_values.pop()
            if len(open_values) == 1:
                open_values = [_Value(open_values[0].path, None)]
        within = open_values[-1]
        key = b""
    return _make_leaves(found)


def _make_leaves(found: Iterable[tuple[Path, _Value, tuple[int, int], bool]]) -> list[Leaf]:
    # After the whole document was read: a mark or an id of an object may stand behind the text to which it belongs.
    known: dict[_Value, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    leaves = []
    for path, value, place, is_codes in found:
        if value not in known:
            known[value] = value.all_marks(), value.all_ids()
        leaves.append(Leaf(path, *known[value], *place, is_codes))
    return leaves


def _step(path: Path, key: bytes) -> Path:
    return (*path, key) if key and len(path) < _DEEPEST else path


def decode_leaves(data: bytes, leaves: Iterable[Leaf]) -> list[bytes]:
    """Return the texts of leaves without escapes, or their bytes. Numbers that are no byte values give no bytes."""
    return [(decode_codes if leaf.is_codes else decode_string)(data[leaf.start : leaf.end]) for leaf in leaves]


def decode_string(raw: bytes) -> bytes:
    """Decode the content of a JSON string. An escape that is cut off at the end is left out."""
    if b"\\" not in raw:
        return raw
    try:
        text: str = json.loads(b'"%s"' % raw)
    except ValueError:  # it is cut off, or not UTF-8
        return decode_json_escapes(without_cut_escape(raw)).data
    return text.encode("utf-8", "surrogatepass")


def decode_codes(raw: bytes) -> bytes:
    """Return the bytes of a list of byte values, given without its brackets; empty if a number is no byte value."""
    try:
        return bytes(map(int, raw.rstrip(b" \t\r\n,").split(b",")))
    except ValueError:
        return b""


class PieceGroup(NamedTuple):
    """What pieces have in common. ``marks`` and ``ids`` are those of ``Leaf``, with the texts of the ids."""

    path: Path
    marks: tuple[int, ...]
    ids: tuple[bytes, ...]
    is_codes: bool


AnyPiece = TypeVar("AnyPiece")
Pieces: TypeAlias = list[tuple[int, AnyPiece]]
"""Pieces, in any order, with their places in that of the stream."""


_PLAIN = PieceGroup((b"data",), (), (), False)
"""The group of the data of events that are no JSON."""
_LINE_ENDS = _PLAIN._replace(marks=(0,))
"""The group of what stands between lines of such data. So the lines are joined with line feeds, as the HTML standard
says, and also without them, as by clients that read each line for itself."""


class TextPiece(NamedTuple):
    """One text or list of byte values in an event: its decoded bytes, and its start and end in the body."""

    text: bytes
    start: int
    end: int
    is_whole: bool = False
    """Whether it can only be removed as a whole: a list of byte values, as log probabilities give them, or what stands
    between two lines of data."""


def find_pieces(body: bytes, events: Iterable[StreamEvent]) -> Iterator[tuple[PieceGroup, TextPiece]]:
    """Yield the pieces of texts in some events of a body, each with what it has in common with others."""
    for event in events:
        yield from _find_pieces_of(body, event)


def _find_pieces_of(body: bytes, event: StreamEvent) -> Iterator[tuple[PieceGroup, TextPiece]]:
    view = join_lines(body, event) if len(event.lines) > 1 else None
    data, offset = (body, 0) if view is None else (view.data, event.start)
    leaves = find_leaves(data, *((event.start, event.end) if view is None else ()))
    texts = decode_leaves(data, leaves)
    for (path, marks, ids, start, end, is_codes), text in zip(leaves, texts, strict=True):
        if text or not is_codes:
            first, last = (start, end) if view is None else _locate(view, start, end)
            group = PieceGroup(path, marks, tuple([texts[one] for one in ids]), is_codes)
            yield group, TextPiece(text, first + offset, last + offset, is_codes)
    # Data that is a JSON string may also be a piece of plain text that happens to be in quotation marks.
    if event.is_framed and not isinstance(parse_json(data if view else body[event.start : event.end]), dict | list):
        before = event.start
        for start, end in event.lines:
            if before < start:
                yield _LINE_ENDS, TextPiece(b"\n", before, start, True)
            before = end
            line = body[start:end]
            if view is None or not isinstance(parse_json(line), dict | list):
                yield _PLAIN, TextPiece(line, start, end)


def _locate(view: DecodedView, start: int, end: int) -> tuple[int, int]:
    if start == end:
        place, _ = view.locate_in_raw(start, start + 1)
        return place, place
    return view.locate_in_raw(start, end)
