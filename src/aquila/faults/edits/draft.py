"""An answer whose JSON is being changed: one object, a stream of events, or an array that is streamed.

Everything else stays byte for byte: other events, comments, ends of lines, and the places where chunks end. A changed
object arrives in the same chunk. It is written in the style of the original as far as that is known; in streams and
arrays, on one line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from aquila.cassettes.codecs.json_body import JsonStyle, parse_exact, write_json
from aquila.cassettes.codecs.yaml.tree import Number
from aquila.cassettes.model import RecordedChunk, RecordedResponse
from aquila.cassettes.redaction.split_secrets.stream_events import Framing, StreamEvent, find_events, join_lines
from aquila.faults.events import is_stream, read_events, without_length
from aquila.faults.fault import ImpossibleFault
from aquila.plurals import count_of

Value = dict[str, Any]

_EVENT_LINE = re.compile(rb"(?<![^\r\n])event:[ ]?([^\r\n]*)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BETWEEN_ELEMENTS = re.compile(r"[ \t\r\n]*(?:[,\]][ \t\r\n]*)?")


class _Replacement(NamedTuple):
    """The bytes of a body from ``start`` to ``end``, and the data that replaces them."""

    start: int
    end: int
    data: bytes = b""


@dataclass(slots=True)
class DraftPart:
    """A JSON object of an answer: the whole answer, or one event. ``value`` may be changed in place.

    Its numbers are texts, as the provider wrote them, so that none changes when it is written again: see ``number``.
    """

    value: Value
    followers: list[Value] = field(default_factory=list)
    """New events that are inserted directly behind it."""
    is_removed: bool = False

    def remove(self) -> None:
        """Remove it from the stream. Its followers stay."""
        self.is_removed = True


@dataclass(slots=True)
class _Source:
    """Where a part stands in the body: its whole event, and its data. ``before`` is its JSON before any change."""

    start: int
    end: int
    data: tuple[int, int]
    style: JsonStyle
    before: str
    kind: Any
    """The value of its field ``type``, if it has one."""


def number(value: int) -> Number:
    """Return a number in the form that it has in parts."""
    return Number(str(value))


class Draft:
    """The JSON of an answer. Change its ``parts``, then call ``finish``. One edit owns it."""

    def __init__(self, response: RecordedResponse) -> None:
        """Read an answer. Raises ``ImpossibleFault`` for one that holds no JSON object."""
        self.response = response
        self.parts: list[DraftPart] = []
        self._sources: list[_Source] = []
        self._body = response.body
        self._is_array = False
        self._sizes: list[int] = []  # in bytes, of all events, also of those without JSON
        if is_stream(response):
            self._read_events()
        elif self._body.lstrip()[:1] == b"[":
            self._is_array = True
            self._read_array()
        else:
            start = len(self._body) - len(self._body.lstrip())
            end = len(self._body.rstrip())
            self._add(start, end, (start, end), self._body[start:end])
        if not self.parts:
            raise ImpossibleFault("the answer is neither a JSON object nor a stream of them")

    @property
    def is_streamed(self) -> bool:
        """Whether the answer is a stream of events, or an array, whose elements Gemini streams one by one."""
        return self._is_array or is_stream(self.response)

    @property
    def values(self) -> Iterator[Value]:
        """The objects of those parts that were not removed."""
        return (part.value for part in self.parts if not part.is_removed)

    def finish(self) -> RecordedResponse:
        """Return the answer with all changes. Raises ``ImpossibleFault`` if there are none."""
        changes = list(self._changes())
        if not changes:
            raise ImpossibleFault("the answer already says this")
        return _with_changes(self.response, changes)

    def finish_with_error(self, write: Callable[[Sequence[Value]], Value], after: int | None) -> RecordedResponse:
        """Return the answer with an error in place of all events but the first ``after``; None keeps half of them.

        ``write`` makes the error from the objects before it. Raises ``ImpossibleFault`` if there is no such place.
        """
        if not self.is_streamed:
            raise ImpossibleFault("the answer is not streamed, so no error can come in the middle")
        count = len(self.parts) if self._is_array else len(self._sizes)
        after = count // 2 if after is None else after
        if not 0 <= after < count:
            raise ImpossibleFault(f"the stream has {count_of(count, 'event')}, so nothing is left after {after}")
        first = self._sources[0]
        if self._is_array:
            place = self._sources[after - 1].end if after else first.start
        else:
            place = sum(self._sizes[:after])
        before = [part.value for part, source in zip(self.parts, self._sources, strict=True) if source.end <= place]
        data = self._write_follower(write(before), first, is_first=not after) + (b"]" if self._is_array else b"")
        changed = _with_changes(self.response, [_Replacement(place, place, data), _Replacement(place, len(self._body))])
        last = changed.chunks[-1].at
        return replace(changed, end="complete", error="", ended=max(last, changed.started))

    # --- reading

    def _read_events(self) -> None:
        start = 0
        for event in read_events(self.response):
            found = next(find_events(event.data, Framing.EVENTS), None)
            end = start + len(event.data)
            self._sizes.append(len(event.data))
            if found is not None:
                self._add(start, end, (start + found.start, start + found.end), _data_of(event.data, found))
            start = end

    def _read_array(self) -> None:
        # latin-1 makes one character of each byte, so positions in the text are positions in the body. Only strings
        # hold other characters than ASCII, and their values are not used here.
        text = self._body.decode("latin-1")
        decoder = json.JSONDecoder()
        at = text.index("[") + 1
        try:
            while True:
                start = _skip_blanks(text, at)
                _, end = decoder.raw_decode(text, start)
                self._add(start, end, (start, end), self._body[start:end])
                between = _BETWEEN_ELEMENTS.match(text, end)
                at = end if between is None else between.end()
        except (ValueError, RecursionError):
            return  # the end of the array, or of the part of it that was received

    def _add(self, start: int, end: int, data: tuple[int, int], body: bytes) -> None:
        read = _read_object(body)
        if read is None:
            return
        value, style = read
        if self.is_streamed:
            style = replace(style, indent="", newline=False)  # the data of an event must stay on one line
        self.parts.append(DraftPart(value))
        self._sources.append(_Source(start, end, data, style, write_json(value, style), value.get("type")))

    # --- writing

    def _changes(self) -> Iterator[_Replacement]:
        kept_before = False
        for at, (part, source) in enumerate(zip(self.parts, self._sources, strict=True)):
            if part.is_removed:
                yield self._removal(at, kept_before=kept_before)
            else:
                yield from self._replacement(part, source)
                kept_before = True
            added = b"".join([self._write_follower(each, source) for each in part.followers])
            if added:
                yield _Replacement(source.end, source.end, added)

    def _removal(self, at: int, *, kept_before: bool) -> _Replacement:
        start, end = self._sources[at].start, self._sources[at].end
        if self._is_array:  # the comma must be removed, too
            if kept_before:
                start = self._sources[at - 1].end
            elif at + 1 < len(self._sources):
                end = self._sources[at + 1].start
        return _Replacement(start, end)

    def _replacement(self, part: DraftPart, source: _Source) -> Iterator[_Replacement]:
        after = write_json(part.value, source.style)
        if after == source.before:
            return
        kind = part.value.get("type")
        named = None if self._is_array else _EVENT_LINE.search(self._body, source.start, source.end)
        if named is not None and kind != source.kind and isinstance(kind, str):
            change = _Replacement(*named.span(1), kind.encode())
            yield from sorted([change, _Replacement(*source.data, _encode(after, part.value, source.style))])
        else:
            yield _Replacement(*source.data, _encode(after, part.value, source.style))

    def _write_follower(self, value: Value, source: _Source, *, is_first: bool = False) -> bytes:
        data = _encode(write_json(value, source.style), value, source.style)
        if self._is_array:
            return data if is_first else b",\n" + data
        ends = _LINE_END.search(self._body, source.data[1])
        line_end = b"\n" if ends is None else ends[0]
        kind = value.get("type")
        is_named = isinstance(kind, str) and _EVENT_LINE.search(self._body, source.start, source.end)
        head = b"event: %s%s" % (kind.encode(), line_end) if is_named and isinstance(kind, str) else b""
        return head + b"data: " + data + line_end * 2


def _skip_blanks(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at


def _data_of(block: bytes, event: StreamEvent) -> bytes:
    return block[event.start : event.end] if len(event.lines) == 1 else join_lines(block, event).data


def _read_object(body: bytes) -> tuple[Value, JsonStyle] | None:
    """Return a JSON object and the style in which it is written; None if the body is not an object."""
    exact = parse_exact(body)
    if exact is not None:
        return (exact.value, exact.style) if type(exact.value) is dict else None
    try:
        value = json.loads(body, parse_int=Number, parse_float=Number, parse_constant=Number)
        write_json(value, JsonStyle())
    except (ValueError, RecursionError):
        return None
    return (value, JsonStyle()) if type(value) is dict else None


def _encode(text: str, value: Value, style: JsonStyle) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can only hold as an escape
        return write_json(value, replace(style, ascii=True)).encode()


def _with_changes(response: RecordedResponse, changes: Sequence[_Replacement]) -> RecordedResponse:
    """Return a response with changes to its body. They must be sorted by place, and not overlap."""
    body = response.body
    chunks, end, begun = [], 0, 0
    ends = []
    for chunk in response.chunks:
        end += len(chunk.data)
        ends.append(end)
    moved = list(_move(ends, changes))
    changed = b"".join(_apply(body, changes))
    # What is added behind the last chunk belongs to it.
    if moved:
        moved[-1] = len(changed)
    for chunk, end in zip(response.chunks, moved, strict=True):
        if end > begun or not chunk.data:
            chunks.append(RecordedChunk(changed[begun:end], chunk.at))
        begun = end
    return replace(response, headers=without_length(response.headers), chunks=tuple(chunks))


def _apply(body: bytes, changes: Iterable[_Replacement]) -> Iterator[bytes]:
    at = 0
    for change in changes:
        yield body[at : change.start]
        yield change.data
        at = change.end
    yield body[at:]


def _move(places: Iterable[int], changes: Sequence[_Replacement]) -> Iterator[int]:
    """Yield the places that these places of a body have after the changes.

    A place within replaced bytes stays within the new ones, at the same distance from their start if that exists.
    """
    shift, next_change = 0, 0
    for place in places:
        while next_change < len(changes) and changes[next_change].end <= place:
            change = changes[next_change]
            shift += len(change.data) - (change.end - change.start)
            next_change += 1
        inside = 0
        if next_change < len(changes) and changes[next_change].start < place:
            change = changes[next_change]
            inside = min(place - change.start, len(change.data)) - (place - change.start)
        yield place + shift + inside
