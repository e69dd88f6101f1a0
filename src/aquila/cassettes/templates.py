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

from aquila.cassettes.shapes import (
    PADDING,
    Hole,
    Node,
    common_of,
    fillings,
    holes,
    leaves,
    outline,
    parts,
    read_event,
    read_json,
    shape,
    text_of,
    with_leaf,
)

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
    events = _counted([read_event(text) for text in texts])
    found = Lines(lines=[[] for _ in events])
    groups: defaultdict[object, list[int]] = defaultdict(list)
    for index, event in enumerate(events):
        groups[outline(event)].append(index)
    names = _names()
    examples = []
    for members in groups.values():
        examples.append(events[members[0]])
        before = sum([len(texts[index]) for index in members])
        if len(members) == 1 or not _write_group(found, events, members, before, names):
            for index in members:
                found.lines[index] = ["=", *text_of(events[index]).split("\n")]
    _leave_out_repeated_cells(found.lines)
    _share(found, examples)
    return found


def _names() -> Iterator[str]:
    """a, b, ... z, aa, ab, ..."""
    yield from ascii_lowercase
    for prefix in _names():
        for letter in ascii_lowercase:
            yield prefix + letter


def _counted(events: Sequence[Node]) -> Sequence[Node]:
    """Replace a number that counts the events (``sequence_number``) by a counter."""
    seen: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for index, event in enumerate(events):
        for name, text in leaves(event, ""):
            if text.isdigit():
                seen[name].append((index, text))
    for name, values in seen.items():
        start = int(values[0][1][:15])
        if len(values) > 2 and all(text == str(start + count) for count, (_, text) in enumerate(values)):
            holders = {index for index, _ in values}
            if len(holders) == len(values):
                return [
                    with_leaf(event, name, f"«+{start}»") if i in holders else event for i, event in enumerate(events)
                ]
    return events


class _Columns:
    """The holes of a pattern as columns; columns that always say the same are one.

    ``cells`` holds a row of trees for each event, ``texts`` the same rows as written, ``names`` the holes' names.
    """

    def __init__(self, pattern: Sequence[Node], rows: Sequence[Sequence[Node]]) -> None:
        found = [
            [node for inner, whole in zip(pattern, row, strict=True) for node in fillings(inner, whole)] for row in rows
        ]
        self.names: list[str] = []
        kept: list[tuple[Node, ...]] = []
        written: list[tuple[str, ...]] = []
        known: dict[tuple[str, ...], Hole] = {}
        for hole, column in zip(
            [hole for node in pattern for hole in holes(node)], zip(*found, strict=True), strict=True
        ):
            texts = tuple(map(text_of, column))
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
            kept.append(column)
            written.append(texts)
        self.cells = list(zip(*kept, strict=True)) if kept else [() for _ in rows]
        self.texts = [list(row) for row in zip(*written, strict=True)] if written else [[] for _ in rows]

    def __len__(self) -> int:
        """The characters of all rows."""
        return sum([len("\t".join(row)) for row in self.texts])

    def complete(self) -> bool:
        """Whether no cell is empty; an empty one would mean the cell of the line before."""
        return not any("" in row for row in self.texts)


def _free_name(key: str, used: Sequence[str]) -> str:
    """A name for a hole, after its JSON key; not one of those that mean something else."""
    name = re.sub("[^A-Za-z0-9_]", "_", key)[:40]
    if not re.match("[A-Za-z_]", name) or name == PADDING or re.fullmatch("s[0-9]+", name):
        name = "_" + name
    return next(free for free in (name, *(f"{name}{count}" for count in range(2, len(used) + 3))) if free not in used)


def _write_group(
    found: Lines, events: Sequence[Node], members: Sequence[int], before: int, names: Iterator[str]
) -> bool:
    """Write events with the same fields and keys as lines for their common template; say whether that is shorter."""
    own = [events[index] for index in members]
    pattern = common_of(own, "x")
    columns = _Columns([pattern], [[event] for event in own])
    text = text_of(pattern)
    if not columns.complete() or len(text) + LINE + len(columns) >= before:
        return False
    base = next(names)
    found.templates[base] = text
    alike: defaultdict[object, list[int]] = defaultdict(list)
    for number, (index, row) in enumerate(zip(members, columns.texts, strict=True)):
        found.lines[index] = [base, *row]
        alike[tuple(map(shape, columns.cells[number]))].append(number)
    for numbers in alike.values():
        if len(numbers) > 1:
            _specialise(found, base, columns, {number: members[number] for number in numbers}, names)
    return True


def _specialise(found: Lines, base: str, columns: _Columns, members: Mapping[int, int], names: Iterator[str]) -> None:
    """Give some lines of a template, alike in more than it says, a template of their own."""
    rows = [columns.cells[number] for number in members]
    pattern = [common_of(column, name) for column, name in zip(zip(*rows, strict=True), columns.names, strict=True)]
    inner = _Columns(pattern, rows)
    cells = [
        str(len(text_of(node))) if name == PADDING and not isinstance(node, Hole) else text_of(node)
        for node, name in zip(pattern, columns.names, strict=True)
    ]
    text = "\t".join([base, *cells])
    before = sum([len("\t".join(columns.texts[number])) for number in members])
    if not inner.complete() or len(text) + LINE + len(inner) >= before:
        return
    name = next(names)
    found.templates[name] = text
    for index, row in zip(members.values(), inner.texts, strict=True):
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
