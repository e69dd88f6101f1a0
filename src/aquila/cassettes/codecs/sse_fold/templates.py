"""How a stream's events are best written: as templates, lines and shared texts (see fold.py).

Events with the same fields and keys make a group, and what a group has in common is its template. Where many events of
a group are alike in more than that (most chunks of a chat only add text), they get a template of their own, written as
a line for the group's. At last, long texts that are still written more than once (ids, the whole answer in the closing
events) become shared texts. All of it is done only where it makes the stream shorter.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from string import ascii_lowercase
from typing import TypeAlias

from aquila.cassettes.codecs.sse_fold.event_trees import (
    EventTree,
    Form,
    Hole,
    Node,
    Reader,
    Slot,
    common,
    fill,
    fillings,
    holes,
    parts,
    read_json,
    shape,
    text_of,
)
from aquila.cassettes.codecs.sse_fold.fold_reader import PADDING

LINE = 10
"""What a line or an entry costs besides its text: indentation, name, line break."""

_STRING = re.compile(r'"[^"\\\t\n\0]*(?:\\.[^"\\\t\n\0]*)*"')
SHORTEST = 20
"""Texts shorter than this are never shared."""


@dataclass(slots=True)
class Lines:
    """Templates and, for each event, its line: head and cells, not yet joined."""

    templates: dict[str, str] = field(default_factory=dict)
    lines: list[list[str]] = field(default_factory=list)
    shared: dict[str, str] = field(default_factory=dict)


def find(texts: Sequence[str]) -> Lines:
    """Find templates, lines and shared texts for the events of a stream, in their order."""
    reader = Reader()
    events = _counted([reader.read(text) for text in texts])
    found = Lines(lines=[[] for _ in events])
    groups: defaultdict[object, list[int]] = defaultdict(list)
    for index, event in enumerate(events):
        groups[event.form.outline].append(index)
    names = _names()
    for members in groups.values():
        before = sum([len(texts[index]) for index in members])
        if len(members) == 1 or not _write_group(found, events, members, before, names):
            for index in members:
                found.lines[index] = ["=", *text_of(events[index].tree()).split("\n")]
    _leave_out_repeated_cells(found.lines)
    _share(found, [events[members[0]].tree() for members in groups.values()])
    return found


def _names() -> Iterator[str]:
    """a, b, ... z, aa, ab, ..."""
    yield from ascii_lowercase
    for prefix in _names():
        for letter in ascii_lowercase:
            yield prefix + letter


def _counted(events: Sequence[EventTree]) -> Sequence[EventTree]:
    """Replace a number that counts the events (``sequence_number``) by a counter."""
    seen: defaultdict[str, list[str]] = defaultdict(list)
    for event in events:
        names = event.form.names
        for index, text in enumerate(event.scalars):
            if text.isdigit():
                seen[names[index]].append(text)
    for name, texts in seen.items():
        start = int(texts[0][:15])
        if len(texts) > 2 and texts == [str(start + count) for count in range(len(texts))]:
            holders = [event for event in events if name in event.form.names]
            if len(holders) == len(texts) and all(event.form.names.count(name) == 1 for event in holders):
                return [_with_counter(event, name, f"«+{start}»") for event in events]
    return events


def _with_counter(event: EventTree, name: str, counter: str) -> EventTree:
    if name not in event.form.names:
        return event
    index = event.form.names.index(name)
    return EventTree(event.form, (*event.scalars[:index], counter, *event.scalars[index + 1 :]))


Spots: TypeAlias = "Mapping[Form, Node]"
"""For each form a place in its tree: what all events of that form have there."""


def _common(events: Sequence[EventTree], spots: Spots, name: str) -> Node:
    """What events have in common at some place."""
    by_form: defaultdict[Form, list[tuple[str, ...]]] = defaultdict(list)
    for event in events:
        by_form[event.form].append(event.scalars)
    found: list[Node] = []
    for form, rows in by_form.items():
        values: list[Node] = []
        for column, scalar_name in zip(zip(*rows, strict=True), form.names, strict=True):
            values.append(column[0] if column.count(column[0]) == len(column) else Hole(scalar_name))
        node = fill(spots[form], values)
        found = [common(found[0], node, name) if found else node]
    return found[0]


class _Columns:
    """The holes of some patterns as columns; columns that always say the same are one.

    ``names`` are the holes' names, ``spots`` where each form has what fills them, ``texts`` a row of cells an event.
    """

    def __init__(self, events: Sequence[EventTree], patterns: Sequence[Node], places: Sequence[Spots]) -> None:
        forms = list(dict.fromkeys([event.form for event in events]))
        found = {form: _spots(patterns, [place[form] for place in places]) for form in forms}
        self.names: list[str] = []
        self.spots: list[Spots] = []
        written: list[tuple[str, ...]] = []
        known: dict[tuple[str, ...], Hole] = {}
        for index, hole in enumerate([hole for pattern in patterns for hole in holes(pattern)]):
            spots = {form: found[form][index] for form in forms}
            texts = tuple([_text(spots[event.form], event.scalars) for event in events])
            if hole.name == PADDING and PADDING not in self.names and not any(text.strip(" ") for text in texts):
                texts = tuple([str(len(text)) for text in texts])
            elif texts in known:
                hole.name, hole.quoted = known[texts].name, known[texts].quoted
                continue
            else:
                hole.name = _free_name(hole.name, self.names)
                known[texts] = hole
                twin = Hole(hole.name)
                twin.quoted = True
                known[tuple([f'"{text}"' for text in texts])] = twin
            self.names.append(hole.name)
            self.spots.append(spots)
            written.append(texts)
        self.texts = [list(row) for row in zip(*written, strict=True)] if written else [[] for _ in events]

    def __len__(self) -> int:
        """The characters of all rows."""
        return sum([len("\t".join(row)) for row in self.texts])

    def complete(self) -> bool:
        """Whether no cell is empty; an empty one would mean the cell of the line before."""
        return not any("" in row for row in self.texts)


def _spots(patterns: Sequence[Node], nodes: Sequence[Node]) -> list[Node]:
    return [spot for pattern, node in zip(patterns, nodes, strict=True) for spot in fillings(pattern, node)]


def _text(spot: Node, scalars: Sequence[str]) -> str:
    """What an event has at a place of its form."""
    if isinstance(spot, Slot):
        return scalars[spot.index]
    return text_of(fill(spot, scalars))


def _free_name(key: str, used: Sequence[str]) -> str:
    """A name for a hole, after its JSON key; not one of those that mean something else."""
    name = re.sub("[^A-Za-z0-9_]", "_", key)[:40]
    if not re.match("[A-Za-z_]", name) or name == PADDING or re.fullmatch("s[0-9]+", name):
        name = "_" + name
    return next(free for free in (name, *(f"{name}{count}" for count in range(2, len(used) + 3))) if free not in used)


def _write_group(
    found: Lines, events: Sequence[EventTree], members: Sequence[int], before: int, names: Iterator[str]
) -> bool:
    """Write events with the same fields and keys as lines for their common template; say whether that is shorter."""
    own = [events[index] for index in members]
    whole = {event.form: event.form.tree for event in own}
    pattern = _common(own, whole, "x")
    columns = _Columns(own, [pattern], [whole])
    text = text_of(pattern)
    if not columns.complete() or len(text) + LINE + len(columns) >= before:
        return False
    base = next(names)
    found.templates[base] = text
    shapes = {form: tuple([shape(spots[form]) for spots in columns.spots]) for form in whole}
    alike: defaultdict[object, list[int]] = defaultdict(list)
    for number, (index, row) in enumerate(zip(members, columns.texts, strict=True)):
        found.lines[index] = [base, *row]
        alike[shapes[own[number].form]].append(number)
    for numbers in alike.values():
        if len(numbers) > 1:
            _specialise(found, base, columns, {members[number]: number for number in numbers}, events, names)
    return True


def _specialise(
    found: Lines,
    base: str,
    columns: _Columns,
    members: Mapping[int, int],
    events: Sequence[EventTree],
    names: Iterator[str],
) -> None:
    """Give some lines of a template, alike in more than it says, a template of their own."""
    own = [events[index] for index in members]
    patterns = [_common(own, spots, name) for spots, name in zip(columns.spots, columns.names, strict=True)]
    inner = _Columns(own, patterns, columns.spots)
    cells = [
        str(len(text_of(node))) if name == PADDING and not isinstance(node, Hole) else text_of(node)
        for node, name in zip(patterns, columns.names, strict=True)
    ]
    text = "\t".join([base, *cells])
    before = sum([len("\t".join(columns.texts[number])) for number in members.values()])
    if not inner.complete() or len(text) + LINE + len(inner) >= before:
        return
    name = next(names)
    found.templates[name] = text
    for index, row in zip(members, inner.texts, strict=True):
        found.lines[index] = [name, *row]


def _leave_out_repeated_cells(lines: list[list[str]]) -> None:
    """Empty the cells that say the same as in the template's line before."""
    last: dict[str, list[str]] = {}
    for index, line in enumerate(lines):
        if line[0] == "=":
            continue
        before = last.get(line[0])
        last[line[0]] = line
        if before is not None:
            short = ["" if cell == same else cell for cell, same in zip(line, before, strict=True)]
            short[0] = line[0]
            while len(short) > 1 and not short[-1]:
                short.pop()
            lines[index] = short


def _share(found: Lines, examples: Sequence[Node]) -> None:
    """Write long texts that occur more than once as shared texts, the longest first.

    Candidates are all strings, the objects and lists in cells and in the first event of each group (``examples``), and
    how several events begin.
    """
    texts = [*found.templates.values(), *map("\t".join, found.lines)]
    whole = "\0".join(texts)
    strings = Counter(_STRING.findall(whole))
    candidates = {text for text, count in strings.items() if count > 1 and len(text) >= SHORTEST} | _prefixes(texts)
    cells = [cell for line in found.lines for cell in line if len(cell) >= SHORTEST and cell[0] in "[{"]
    for node in (*examples, *filter(None, map(read_json, cells))):
        candidates.update([part for part in parts(node, SHORTEST) if part[0] in "[{" and "\n" not in part])
    shared: list[str] = []
    for text in sorted(candidates, key=lambda text: (-len(text), text)):
        count = whole.count(text) if "«" not in text.replace("«»", "") else 0  # holes and counters are no text
        reference = f"«s{len(shared) + 1}»"
        if (count - 1) * len(text) > count * (len(reference) + 2) + LINE:  # the marks are two bytes each
            whole = "\0".join([whole.replace(text, reference), text])
            shared.append(reference)
    if not shared:
        return
    # The last ones are parts of the first ones, and must stand before them: turn the order and the names round.
    names = {reference: f"«s{len(shared) - index}»" for index, reference in enumerate(shared)}
    texts = re.sub("«s[0-9]+»", lambda reference: names[reference[0]], whole).split("\0")
    end = len(found.templates)
    found.templates = dict(zip(found.templates, texts[:end], strict=True))
    found.lines = [line.split("\t") for line in texts[end : end + len(found.lines)]]
    for index, text in enumerate(reversed(texts[end + len(found.lines) :])):
        found.shared[f"s{index + 1}"] = text


def _prefixes(texts: Sequence[str]) -> set[str]:
    """How several different events begin, up to a comma: the constant part of a chat's chunks."""
    data = sorted([line for text in texts for line in re.split("[\n\t]", text) if line.startswith("data: {")])
    prefixes = set()
    for one, other in pairwise(data):
        length = next((at for at, (left, right) in enumerate(zip(one, other, strict=False)) if left != right), len(one))
        prefix = one[:length]
        prefix = prefix[: prefix.rfind(",") + 1]
        if len(prefix) >= 2 * SHORTEST and "«" not in prefix:
            prefixes.add(prefix)
    return prefixes
