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

Cells are literal text, not values, so whatever was folded unfolds to the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aquila.cassettes.model import RecordedChunk

PADDING = "spaces"
"""The name of the blanks that some servers put before an event's last brace, to hide its length."""

MAX_GROWTH = 64
"""A stream is at most this many times as large as its folded text: a small file cannot fill the memory."""

NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_REFERENCE = re.compile("«([^«»]*)»")
_COUNTER = re.compile(r"\+[0-9]{1,15}")
_REPEAT = re.compile(r"([A-Za-z_0-9]+|=|~)\*([1-9][0-9]{0,8})")
MAX_HOLES = 1000
_AS_IT_IS: tuple[list[str], list[str]] = (["", ""], [])
_TOO_LARGE = f"the stream is more than {MAX_GROWTH} times as large as what is written"
_NO_CHUNK = "the first event must begin with a chunk"
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


def unfold(folded: Folded) -> tuple[RecordedChunk, ...]:
    """Return the chunks of a folded stream. Raises FoldError."""
    return _Unfolding(folded).chunks()


class _Counter:
    """A number that counts events: the same one wherever it stands in an event."""

    __slots__ = ("event", "value")

    def __init__(self, start: int) -> None:
        self.event: object = None
        self.value = start - 1

    def at(self, event: object) -> str:
        if event != self.event:
            self.event = event
            self.value += 1
        return str(self.value)


class _Template:
    """A template, ready for use: its text cut at its holes, and the names of the holes.

    Cells are numbered as a line is split: 0 is the head. Counters are cells after the last one. ``last`` are the cells
    of the template's last line.
    """

    def __init__(self, texts: list[str], names: list[str], counter: Callable[[str], _Counter]) -> None:
        self.texts = texts
        self.names = names
        unique = dict.fromkeys(names)
        self.columns = [name for name in unique if name[0] != "+"]
        self.width = len(self.columns) + 1
        counters = [name for name in unique if name[0] == "+"]
        self.counters = [counter(name) for name in counters]
        index = dict(zip((*self.columns, *counters), range(1, len(unique) + 1), strict=True))
        self.padding = index.get(PADDING, 0)
        self.pieces = [piece for text in texts for piece in (text, "")]
        self.pieces[-1] = "\n\n"
        self.places = [(2 * number + 1, index[name]) for number, name in enumerate(names)]
        self.size = sum(map(len, texts))
        self.uses = len(names) - len(unique) + 1  # at most so often is a cell filled in
        self.simple = not self.padding and self.uses < 10
        self.last: list[str] = []

    def complete(self, cells: list[str]) -> list[str]:
        """Fill the empty cells of a line from the line before. Raises ValueError."""
        missing = self.width - len(cells)
        if missing < 0:
            raise ValueError(f"{len(cells) - 1} cells for {self.width - 1} holes")
        cells += [""] * missing
        if "" in cells:
            if not self.last:
                raise ValueError("a template's first line must fill all its holes")
            return [cell or before for cell, before in zip(cells, self.last, strict=True)]
        return cells

    def fill(self, cells: list[str]) -> str:
        """The text of the event."""
        pieces = self.pieces.copy()
        for place, index in self.places:
            pieces[place] = cells[index]
        return "".join(pieces)


class _Unfolding:
    def __init__(self, folded: Folded) -> None:
        self.folded = folded
        self.limit = MAX_GROWTH * len(folded)  # for what is written out, and for what is replaced on the way there
        self.replaced = 0
        self.shared: dict[str, str] = {}
        self.templates: dict[str, _Template] = {}
        self.references = "«" in folded.events
        self.event: object = None
        self.counters: dict[int, _Counter] = {}
        for name, text in folded.shared.items():
            self._check_name(name, "shared")
            self.shared[name] = self._plain(text, "shared", name)
        for name, text in folded.templates.items():
            self._check_name(name, "templates")
            self.templates[name] = _Template(*self._template(text, name), self._counter)

    def chunks(self) -> tuple[RecordedChunk, ...]:
        datas: list[bytes] = []
        times: list[int] = []
        pieces: list[bytes] = []
        size, limit = 0, self.limit
        get_template = self.templates.get
        crlf = self.folded.crlf
        lines = self.folded.events.split("\n")
        if lines[-1] == "":
            lines.pop()
        for number, line in enumerate(lines):
            cells = line.split("\t")
            marks, _, name = cells[0].rpartition(" ")
            template = get_template(name)
            if template is None:
                marks, text = self._special(cells, marks, name, number)
            elif len(cells) == template.width and template.simple and "" not in cells and "«" not in line:
                template.last = cells
                if template.counters:
                    cells = cells + [counter.at(number) for counter in template.counters]
                filled = template.pieces.copy()
                for place, index in template.places:
                    filled[place] = cells[index]
                text = "".join(filled)
            else:
                text = self._event(template, cells, number, number)
            size += len(text)
            if size > limit:
                raise FoldError(_TOO_LARGE, "events", number)
            piece = text.replace("\n", "\r\n").encode() if crlf else text.encode()
            if marks.isdecimal() and len(marks) < 16:
                if times:  # by far the most common: one chunk, which begins with the event
                    datas.append(pieces[0] if len(pieces) == 1 else b"".join(pieces))
                times.append(int(marks))
                pieces = [piece]
            elif marks:
                pieces = self._cut(piece, marks, pieces, datas, times, number)
            elif times:
                pieces.append(piece)
            else:
                raise FoldError(_NO_CHUNK, "events", number)
        if times:
            datas.append(b"".join(pieces))
        return tuple(map(RecordedChunk, datas, times))

    def _cut(
        self, piece: bytes, marks: str, pieces: list[bytes], datas: list[bytes], times: list[int], number: int
    ) -> list[bytes]:
        """Begin chunks inside of an event; return the pieces of the last one."""
        done = 0
        for mark in marks.split(" "):
            found = _MARK.fullmatch(mark)
            if found is None:
                raise FoldError(f"not a chunk's time: {mark[:40]!r}", "events", number)
            offset = int(found[2] or 0)
            if not done <= offset <= len(piece):
                raise FoldError(f"a chunk that begins outside of its event: {mark}", "events", number)
            if times:
                datas.append(b"".join([*pieces, piece[done:offset]]))
            elif offset:
                raise FoldError(_NO_CHUNK, "events", number)
            times.append(int(found[1]))
            pieces = []
            done = offset
        return [piece[done:]]

    def _event(self, template: _Template, cells: list[str], number: int, event: object) -> str:
        """Fill a template's holes, in all the ways that a line may say it; ``event`` tells events apart."""
        self.event = event
        try:
            if len(cells) != template.width or "" in cells:
                cells = template.complete(cells)
            template.last = cells
            if self.references:
                cells = [self._plain(cell, "events", number) if "«" in cell else cell for cell in cells]
            if template.uses > 1 and template.size + template.uses * sum(map(len, cells)) > self.limit:
                raise ValueError(_TOO_LARGE)
            if template.padding:
                cells = [*cells]
                cells[template.padding] = _blanks(cells[template.padding])
        except FoldError:
            raise
        except ValueError as error:
            raise FoldError(str(error), "events", number) from None
        if template.counters:
            cells = [*cells, *[counter.at(event) for counter in template.counters]]
        return template.fill(cells)

    def _counter(self, name: str) -> _Counter:
        start = int(name)
        return self.counters.setdefault(start, _Counter(start))

    def _special(self, cells: list[str], marks: str, name: str, number: int) -> tuple[str, str]:
        """An event that is no line for a template, or that is repeated."""
        if name in ("=", "~"):
            self.event = number
            text = "\n".join([self._plain(cell, "events", number) for cell in cells[1:]])
            return marks, text + "\n\n" * (name == "=")
        repeat = _REPEAT.fullmatch(name)
        if repeat is not None and repeat[1] in self.templates:
            template, times = self.templates[repeat[1]], int(repeat[2])
            text = self._event(template, cells, number, number)
            if len(text) * times > self.limit:
                raise FoldError(_TOO_LARGE, "events", number)
            return marks, text + "".join(
                [self._event(template, [name], number, (number, count)) for count in range(1, times)]
            )
        if len(cells) == 1 and all(map(_MARK.fullmatch, cells[0].split(" "))):
            return cells[0], ""
        raise FoldError(f"no template {name[:40]!r}", "events", number)

    def _template(self, text: str, key: str) -> tuple[list[str], list[str]]:
        """Read a template: its texts, and the names of the holes between them."""
        head, *cells = text.split("\t")
        if not cells:
            return self._cut_at_holes(text, key)
        base = self.templates.get(head)
        if base is None:
            raise FoldError(f"no template {head[:40]!r} before this one", "templates", key)
        if len(cells) != base.width - 1 or "" in cells:
            raise FoldError(f"{len(cells)} cells for {base.width - 1} holes", "templates", key)
        filled = {column: self._cut_at_holes(cell, key) for column, cell in zip(base.columns, cells, strict=True)}
        if PADDING in filled and not filled[PADDING][1]:
            try:
                filled[PADDING] = [_blanks(filled[PADDING][0][0])], []
            except ValueError as error:
                raise FoldError(str(error), "templates", key) from None
        self._spend(base.size + sum([sum(map(len, filled[name][0])) for name in base.names if name in filled]), key)
        texts, names = [], []
        text = base.texts[0]
        for name, after in zip(base.names, base.texts[1:], strict=True):
            inner, inner_names = filled.get(name, _AS_IT_IS)
            if name not in filled:
                inner_names = [name]
            text += inner[0]
            if inner_names:
                texts += [text, *inner[1:-1]]
                names += inner_names
                text = inner[-1]
            text += after
            if len(names) > MAX_HOLES:
                raise FoldError(f"more than {MAX_HOLES} holes", "templates", key)
        return [*texts, text], names

    def _cut_at_holes(self, text: str, key: str) -> tuple[list[str], list[str]]:
        """Cut a text at its holes, and replace references to shared texts."""
        if "«" not in text:
            return [text], []
        pieces = _REFERENCE.split(text)
        if len(pieces) > 2 * MAX_HOLES:
            raise FoldError(f"more than {MAX_HOLES} holes", "templates", key)
        texts, names = [], []
        open_text = pieces[0]
        for index in range(1, len(pieces), 2):
            name = pieces[index]
            if name in self.shared or not name:
                shared = self.shared.get(name, "«")
                self._spend(len(shared), key)
                open_text += shared
            elif NAME.fullmatch(name) or _COUNTER.fullmatch(name):
                texts.append(open_text)
                names.append(name)
                open_text = ""
            else:
                raise FoldError(f"not the name of a hole: {name[:40]!r}", "templates", key)
            open_text += pieces[index + 1]
        return [*texts, open_text], names

    def _plain(self, text: str, part: str, key: str | int) -> str:
        """Replace the references in a text that has no holes."""
        if "«" not in text:
            return text
        pieces = _REFERENCE.split(text)
        for index in range(1, len(pieces), 2):
            name = pieces[index]
            if name in self.shared:
                pieces[index] = self.shared[name]
            elif name and part == "events" and _COUNTER.fullmatch(name):
                pieces[index] = self._counter(name).at(self.event)
            elif name:
                raise FoldError(f"no shared text {name[:40]!r} before this one", part, key)
            else:
                pieces[index] = "«"
        self._spend(sum(map(len, pieces)), key, part)
        return "".join(pieces)

    def _spend(self, size: int, key: str | int, part: str = "templates") -> None:
        """Count what a replacement takes, before it is made: references to references to references grow fast."""
        self.replaced += size
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
