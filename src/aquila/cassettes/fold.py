"""Event streams, folded: what their events share is written once, and what varies is a line of a table.

A folded stream has *shared* texts, *templates* and *events*, all of them plain text:

- A reference ``«s1»`` stands for the shared text of that name, in templates, events and later shared texts.
  ``«»`` is the character ``«`` itself.
- A template is the text of an event with holes in it: ``"delta":«delta»``. ``«spaces»`` is as many blanks as its cell
  says, ``«+7»`` a number that counts up from 7 over the whole stream. A template that holds a tab is a line (see below)
  for an earlier template, and its cells may have holes again.
- Each line of the events is a head and cells, separated by tabs. The head ends in a template's name, and the cells fill
  its holes in the order in which they first occur; a cell that is empty or missing is that of the template's last line.
  ``=`` in place of a name means that the cells are the event's own lines; ``~`` that they are, and nothing ends them.
  ``a*3`` is the event three times.
- Before the name stand the chunks that begin in this event: ``412`` is one that came after 412 ms and begins with the
  event, ``415+57`` one that begins 57 bytes into it. A line of times alone is for chunks after the last event.

Cells are literal text, not values, so whatever was folded unfolds to the same bytes; `fold` checks that it does.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeAlias

from aquila.cassettes import shapes, templates
from aquila.cassettes.model import Chunk
from aquila.cassettes.shapes import PADDING

MAX_GROWTH = 64
"""A stream is at most this many times as large as its folded text: a small file cannot fill the memory."""

MAX_BODY = 32 * 1024 * 1024
"""A stream larger than this is not folded."""

_STREAM = re.compile(rb"(?:data|event|id|retry|):")
_FOLDABLE = re.compile("[^\t\r\0]*")  # a tab separates cells; a CR is left where only some lines end in CR LF
NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE = re.compile("«([^«»]*)»")
_COUNTER = re.compile(r"\+[0-9]{1,15}")
_REPEAT = re.compile(r"([A-Za-z_0-9]+|=|~)\*([1-9][0-9]{0,8})")
_TOO_LARGE = f"the stream is more than {MAX_GROWTH} times as large as what is written"
_MARK = re.compile(r"([0-9]{1,15})(?:\+([0-9]{1,15}))?")


class FoldError(ValueError):
    """A folded stream that cannot be unfolded.

    ``part`` is shared, templates or events; ``key`` the entry's name, or the number of the line, from 0.
    """

    def __init__(self, what: str, part: str, key: str | int) -> None:
        super().__init__(what)
        self.part = part
        self.key = key


@dataclass(frozen=True, slots=True)
class Folded:
    """A folded stream. ``crlf`` says that its lines end in CR LF."""

    events: str
    templates: Mapping[str, str] = field(default_factory=dict)
    shared: Mapping[str, str] = field(default_factory=dict)
    crlf: bool = False

    def __len__(self) -> int:
        """The characters that it takes."""
        tables = (*self.templates.items(), *self.shared.items())
        return len(self.events) + sum([len(name) + len(text) for name, text in tables])


def fold(chunks: Sequence[Chunk]) -> Folded | None:
    """Fold an event stream.

    Returns None for what is no event stream, does not get shorter, or would not unfold to exactly these chunks.
    """
    folded = table_of(chunks)
    try:
        return folded if folded is not None and unfold(folded) == tuple(chunks) else None
    except FoldError:
        return None


def table_of(chunks: Sequence[Chunk]) -> Folded | None:
    """Fold an event stream, without the check that it unfolds again."""
    body = b"".join([chunk.data for chunk in chunks])
    if len(body) > MAX_BODY or not _STREAM.match(body):
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    crlf = "\r" in text
    if crlf:
        text = text.replace("\r\n", "\n")
    if not _FOLDABLE.fullmatch(text):
        return None
    *events, tail = text.split("\n\n")
    ends = list(accumulate([len(event.encode()) + 2 + crlf * (event.count("\n") + 2) for event in events]))
    found = templates.find([shapes.read_event(event.replace("«", "«»")) for event in events])
    if tail:
        found.lines.append(["~", *tail.replace("«", "«»").split("\n")])
        ends.append(len(body))
    folded = Folded("\n".join(_with_chunks(found.lines, ends, chunks)) + "\n", found.templates, found.shared, crlf)
    size = len(folded)
    return folded if size < len(body) < MAX_GROWTH * size else None


def _with_chunks(lines: Sequence[Sequence[str]], ends: Sequence[int], chunks: Sequence[Chunk]) -> Iterator[str]:
    """Write the lines, each with the chunks that begin in it; equal lines are written once, with their number."""
    starts = list(accumulate([len(chunk.data) for chunk in chunks], initial=0))
    waiting = deque(zip(starts, [chunk.at for chunk in chunks], strict=False))
    begin, line, repeats = 0, "", 0
    for cells, end in zip(lines, ends, strict=True):
        marks = ""
        while waiting and waiting[0][0] < end:
            start, at = waiting.popleft()
            marks += f"{at}+{start - begin} " if start > begin else f"{at} "
        begin = end
        again = not marks and len(cells) == 1 and line.rpartition(" ")[2] == cells[0] and cells[0] != "="
        if again:
            repeats += 1
            continue
        if line:
            yield f"{line}*{repeats}" if repeats > 1 else line
        line = marks + "\t".join(cells)
        repeats = 1
    if line:
        yield f"{line}*{repeats}" if repeats > 1 else line
    if waiting:
        yield " ".join([str(at) for _, at in waiting])


def unfold(folded: Folded) -> tuple[Chunk, ...]:
    """Return the chunks of a folded stream. Raises FoldError."""
    return _Unfolding(folded).chunks()


@dataclass(frozen=True, slots=True)
class _Hole:
    name: str


_Parts: TypeAlias = "list[str | _Hole]"


class _Template:
    """A template, ready for use. ``last`` are the cells of its last line."""

    __slots__ = ("columns", "counters", "fill", "last", "padding", "parts", "size", "uses")

    def __init__(self, parts: _Parts) -> None:
        self.parts = parts
        names = list(dict.fromkeys([part.name for part in parts if isinstance(part, _Hole)]))
        counters = [name for name in names if name[0] == "+"]
        columns = [name for name in names if name[0] != "+"]
        slots = {name: f"{{{index}}}" for index, name in enumerate([*columns, *counters])}
        layout = [slots[part.name] if isinstance(part, _Hole) else _literal(part) for part in parts]
        text = "".join(layout) + "\n\n"
        self.fill = text.format
        self.size = len(text)
        self.uses = max([parts.count(_Hole(name)) for name in names], default=0)
        self.columns = len(columns)
        self.counters = [int(name) for name in counters]
        self.padding = columns.index(PADDING) if PADDING in columns else -1
        self.last: list[str] = []

    def cells(self, given: list[str]) -> list[str]:
        """Complete the cells of a line from the line before. Raises ValueError."""
        missing = self.columns - len(given)
        if missing < 0:
            raise ValueError(f"{len(given)} cells for {self.columns} holes")
        given += [""] * missing
        if "" in given:
            if not self.last:
                raise ValueError("a template's first line must fill all its holes")
            given = [cell or before for cell, before in zip(given, self.last, strict=True)]
        return given


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


class _Unfolding:
    def __init__(self, folded: Folded) -> None:
        self.folded = folded
        self.limit = MAX_GROWTH * len(folded)  # for what is written out, and for what is replaced on the way there
        self.replaced = 0
        self.shared: dict[str, str] = {}
        self.templates: dict[str, _Template] = {}
        self.references = "«" in folded.events
        self.event = 0
        self.counts: dict[int, tuple[int, int]] = {}
        for name, text in folded.shared.items():
            self._check_name(name, "shared")
            self.shared[name] = self._plain(text, "shared", name)
        for name, text in folded.templates.items():
            self._check_name(name, "templates")
            self.templates[name] = _Template(self._template(text, name))

    def chunks(self) -> tuple[Chunk, ...]:
        datas: list[bytes] = []
        times: list[int] = []
        pieces: list[bytes] = []
        size = 0
        get_template = self.templates.get
        crlf = self.folded.crlf
        lines = self.folded.events.split("\n")
        if lines[-1] == "":
            lines.pop()
        for number, line in enumerate(lines):
            head, *cells = line.split("\t")
            marks, _, name = head.rpartition(" ")
            template = get_template(name)
            if template is None:
                marks, text = self._special(head, marks, name, cells, number)
            else:
                text = self._event(template, cells, number)
            size += len(text)
            if size > self.limit:
                raise FoldError(_TOO_LARGE, "events", number)
            piece = text.replace("\n", "\r\n").encode() if crlf else text.encode()
            if (
                marks.isdigit() and marks.isascii() and len(marks) < 16
            ):  # by far the most: one chunk, which begins with the event
                if times:
                    datas.append(b"".join(pieces))
                times.append(int(marks))
                pieces = [piece]
            elif marks:
                done = 0
                for mark in marks.split(" "):
                    at, offset = self._mark(mark, done, len(piece), number)
                    pieces.append(piece[done:offset])
                    done = offset
                    if times:
                        datas.append(b"".join(pieces))
                    elif offset:
                        raise FoldError("the first event must begin with a chunk", "events", number)
                    times.append(at)
                    pieces = []
                pieces.append(piece[done:])
            elif times:
                pieces.append(piece)
            else:
                raise FoldError("the first event must begin with a chunk", "events", number)
        if times:
            datas.append(b"".join(pieces))
        return tuple(map(Chunk, datas, times))

    def _event(self, template: _Template, cells: list[str], number: int) -> str:
        try:
            if len(cells) != template.columns or "" in cells:
                cells = template.cells(cells)
            template.last = cells
            if self.references:
                cells = [self._plain(cell, "events", number) if "«" in cell else cell for cell in cells]
            if template.uses > 1 and template.size + template.uses * sum(map(len, cells)) > self.limit:
                raise ValueError(_TOO_LARGE)
            if template.padding >= 0:
                cells = [*cells]
                cells[template.padding] = _blanks(cells[template.padding])
        except FoldError:
            raise
        except ValueError as error:
            raise FoldError(str(error), "events", number) from None
        if template.counters:
            cells = [*cells, *[self._count(start) for start in template.counters]]
        self.event += 1
        return template.fill(*cells)

    def _count(self, start: int) -> str:
        """The number of the current event, by a counter that begins at ``start``."""
        event, value = self.counts.get(start, (-1, start - 1))
        if event != self.event:
            value += 1
            self.counts[start] = (self.event, value)
        return str(value)

    def _special(self, head: str, marks: str, name: str, cells: list[str], number: int) -> tuple[str, str]:
        """An event that is no line for a template, or that is repeated."""
        if name in ("=", "~"):
            text = "\n".join([self._plain(cell, "events", number) for cell in cells])
            self.event += 1
            return marks, text + "\n\n" * (name == "=")
        repeat = _REPEAT.fullmatch(name)
        if repeat is not None and repeat[1] in self.templates:
            template, times = self.templates[repeat[1]], int(repeat[2])
            text = self._event(template, cells, number)
            if len(text) * times > self.limit:
                raise FoldError(_TOO_LARGE, "events", number)
            return marks, text + "".join([self._event(template, [], number) for _ in range(times - 1)])
        if head and not cells and all(map(_MARK.fullmatch, head.split(" "))):
            return head, ""
        raise FoldError(f"no template {name[:40]!r}", "events", number)

    def _mark(self, mark: str, done: int, size: int, number: int) -> tuple[int, int]:
        found = _MARK.fullmatch(mark)
        if found is None:
            raise FoldError(f"not a chunk's time: {mark[:40]!r}", "events", number)
        offset = int(found[2] or 0)
        if not done <= offset <= size:
            raise FoldError(f"a chunk that begins outside of its event: {mark}", "events", number)
        return int(found[1]), offset

    def _template(self, text: str, name: str) -> _Parts:
        base, *cells = text.split("\t")
        if not cells:
            return self._parts(text, name)
        template = self.templates.get(base)
        if template is None:
            raise FoldError(f"no template {base[:40]!r} before this one", "templates", name)
        if len(cells) != template.columns or "" in cells:
            raise FoldError(f"{len(cells)} cells for {template.columns} holes", "templates", name)
        columns = dict.fromkeys(part.name for part in template.parts if isinstance(part, _Hole) and part.name[0] != "+")
        filled = {column: self._parts(cell, name) for column, cell in zip(columns, cells, strict=True)}
        blanks = filled.get(PADDING)
        if blanks and isinstance(blanks[0], str):
            try:
                filled[PADDING] = [_blanks(blanks[0])]
            except ValueError as error:
                raise FoldError(str(error), "templates", name) from None
        parts: _Parts = []
        for part in template.parts:
            more = filled.get(part.name, [part]) if isinstance(part, _Hole) else [part]
            self._spend(more, "templates", name)
            parts += more
        return parts

    def _parts(self, text: str, name: str) -> _Parts:
        """Split a text at its holes; references to shared texts are replaced."""
        parts: _Parts = []
        for index, piece in enumerate(_REFERENCE.split(text)):
            if not index % 2:
                if piece:
                    parts.append(piece)
            elif piece == "" or piece in self.shared:
                parts.append(self.shared.get(piece, "«"))
            elif NAME.fullmatch(piece) or _COUNTER.fullmatch(piece):
                parts.append(_Hole(piece))
            else:
                raise FoldError(f"not the name of a hole: {piece[:40]!r}", "templates", name)
        self._spend(parts, "templates", name)
        return parts

    def _plain(self, text: str, part: str, key: str | int) -> str:
        """Replace the references in a text that has no holes."""
        pieces = _REFERENCE.split(text)
        for index in range(1, len(pieces), 2):
            name = pieces[index]
            if name in self.shared:
                pieces[index] = self.shared[name]
            elif name and part == "events" and _COUNTER.fullmatch(name):
                pieces[index] = self._count(int(name))
            elif name:
                raise FoldError(f"no shared text {name[:40]!r} before this one", part, key)
            else:
                pieces[index] = "«"
        self._spend(pieces, part, key)
        return "".join(pieces)

    def _spend(self, parts: Sequence[str | _Hole], part: str, key: str | int) -> None:
        """Count what a replacement takes, before it is made: references to references to references grow fast."""
        self.replaced += sum([1 if isinstance(piece, _Hole) else len(piece) for piece in parts])
        if self.replaced > self.limit:
            raise FoldError(_TOO_LARGE, part, key)

    @staticmethod
    def _check_name(name: str, part: str) -> None:
        if not NAME.fullmatch(name):
            raise FoldError(f"not a name: {name[:40]!r}", part, name)


def _blanks(count: str) -> str:
    if not (count.isdigit() and count.isascii() and len(count) < 6):
        raise ValueError(f"{PADDING} must be a number")
    return " " * int(count)
