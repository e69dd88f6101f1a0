"""Events of a stream as trees of text, and what several of them have in common.

A tree keeps every character of its text: a leaf is the literal text of a scalar (``"a"``, ``1e-05``), a `Branch` holds
the text between its children. So a tree that is put together again is the text that it was read from, whatever the
spacing or escapes of the server that wrote it.

Most events of a stream differ in their scalars alone: they share a `Form`, a tree with a `Slot` for each scalar, which
is parsed once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

from aquila.cassettes.codecs.sse_fold.fold_reader import PADDING


class Branch(NamedTuple):
    """Text with children in it: ``between[0] children[0] between[1] ... between[-1]``.

    ``names`` says what each child is called: a JSON key, or an event's field.
    """

    between: tuple[str, ...]
    children: tuple[Node, ...]
    names: tuple[str, ...]


class Hole:
    """A place in a tree where the texts of several events differ."""

    __slots__ = ("name", "quoted")

    def __init__(self, name: str) -> None:
        self.name = name
        self.quoted = False  # whether the text around it is the same as elsewhere, but in quotes


class Slot:
    """A place in a form for one of its scalars."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


Node: TypeAlias = "str | Branch | Hole | Slot"


class Form:
    """What events have in common that differ in their scalars alone. ``names`` are those of the scalars."""

    __slots__ = ("names", "outline", "tree")

    def __init__(self, tree: Node, names: tuple[str, ...]) -> None:
        self.tree = tree
        self.names = names
        self.outline = _outline(tree)


class EventTree(NamedTuple):
    """One event: its form, and its scalars in the order of the text."""

    form: Form
    scalars: tuple[str, ...]

    def tree(self) -> Node:
        """The event as a tree without slots."""
        return fill(self.form.tree, self.scalars)


MAX_DEPTH = 60
_TOKEN = re.compile(r' *(?:[{}\[\],:]|"[^"\\]*(?:\\.[^"\\]*)*"|[^\s{}\[\],:"]+)')
_EMPTY = re.compile(r"\{ *\}|\[ *\]")
_FIELD = re.compile(r"(data|event|id|retry): ?(?=[^ ])")
_BEFORE_SCALAR = re.compile(
    r"""((?:[^"\-0-9tfn]|"[^"\\]*(?:\\.[^"\\]*)*" *:)*+)"""  # braces, commas, keys
    r"""("[^"\\]*(?:\\.[^"\\]*)*"|-?[0-9][0-9.eE+\-]*|true|false|null)?"""
)


class Reader:
    """Reads the events of one stream."""

    def __init__(self) -> None:
        self._forms: dict[tuple[str, ...], Form] = {}

    def read(self, text: str) -> EventTree:
        """Read one event (its lines, without the blank one that ends it)."""
        structure, scalars = _split(text)
        form = self._forms.get(structure)
        if form is not None and len(form.names) != len(scalars):
            return EventTree(Form(text, ()), ())  # what is no JSON may have the braces and keys of what is
        if form is None:
            found: list[tuple[str, str]] = []
            form = Form(_with_slots(_read_event(text), "", found), tuple([name for name, _ in found]))
            if tuple([scalar for _, scalar in found]) != scalars:
                return EventTree(Form(text, ()), ())  # not JSON, though it looks like it
            self._forms[structure] = form
        return EventTree(form, scalars)


def _split(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split an event into what makes its form, and its scalars."""
    structure: list[str] = []
    scalars: list[str] = []
    for line in text.split("\n"):
        field = _FIELD.match(line)
        if field is None:
            structure.append("\n" + line)  # no field's structure begins so: "data: " alone is not "data: " with a text
            continue
        structure.append("\n")
        rest = line[field.end() :]
        structure.append(field.group())
        if rest[0] != "{":
            scalars.append(rest)
            continue
        body, padding = rest, ""
        if rest[-1] == "}":
            body = rest[:-1].rstrip(" ")
            padding = rest[len(body) : -1]
        pieces = _BEFORE_SCALAR.findall(body)
        structure += [piece for piece, _ in pieces]
        scalars += [scalar for _, scalar in pieces if scalar]
        scalars.append(padding)
    return tuple(structure), tuple(scalars)


def _with_slots(node: Node, name: str, found: list[tuple[str, str]]) -> Node:
    """Put a slot in place of every scalar; an empty list or object is none."""
    if isinstance(node, Branch):
        children = [_with_slots(child, inner, found) for child, inner in zip(node.children, node.names, strict=True)]
        return Branch(node.between, tuple(children), node.names)
    if not isinstance(node, str) or not name or _EMPTY.fullmatch(node):
        return node
    found.append((name, node))
    return Slot(len(found) - 1)


def fill(node: Node, values: Sequence[Node]) -> Node:
    """Put values in the slots of a tree."""
    if isinstance(node, Slot):
        return values[node.index]
    if isinstance(node, Branch):
        return Branch(node.between, tuple([fill(child, values) for child in node.children]), node.names)
    return node


def _read_event(text: str) -> Node:
    """Read one event (its lines, without the blank one that ends it)."""
    between: list[str] = []
    children: list[Node] = []
    names: list[str] = []
    before = ""
    for index, line in enumerate(text.split("\n")):
        if index:
            before += "\n"
        field = _FIELD.match(line)
        if field is None:
            before += line
            continue
        before += field.group()
        rest = line[field.end() :]
        data = read_json(rest) if rest[0] == "{" else None
        children.append(rest if data is None else _padded(data))
        names.append(field.group(1))
        between.append(before)
        before = ""
    return Branch((*between, before), tuple(children), tuple(names)) if children else text


def read_json(text: str) -> Branch | None:
    """Read a JSON object on one line; None if it is none, or not worth a tree (empty, too deep)."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text:
        return None
    try:
        node, end = _read_value(tokens, 0, "data", 0)
    except (IndexError, ValueError):
        return None
    return node if end == len(tokens) and isinstance(node, Branch) else None


def _read_value(tokens: list[str], at: int, name: str, depth: int) -> tuple[str | Branch, int]:
    token = tokens[at]
    mark = token.lstrip(" ")
    if mark not in "{}[],:":
        return token, at + 1
    if mark not in "{[" or depth > MAX_DEPTH:
        raise ValueError
    closing = "}" if mark == "{" else "]"
    at += 1
    if tokens[at].lstrip(" ") == closing:
        return token + tokens[at], at + 1
    between: list[str] = []
    children: list[Node] = []
    names: list[str] = []
    before = token
    while True:
        child_name = name
        if mark == "{":
            key = tokens[at].lstrip(" ")
            if key[0] != '"' or tokens[at + 1].lstrip(" ") != ":":
                raise ValueError
            before += tokens[at] + tokens[at + 1]
            child_name = key[1:-1]
            at += 2
        child, at = _read_value(tokens, at, child_name, depth + 1)
        if isinstance(child, str):
            scalar = child.lstrip(" ")
            before += child[: len(child) - len(scalar)]
            child = scalar
        between.append(before)
        children.append(child)
        names.append(child_name)
        before = tokens[at]
        found = before.lstrip(" ")
        at += 1
        if found == closing:
            return Branch((*between, before), tuple(children), tuple(names)), at
        if found != ",":
            raise ValueError


def _padded(data: Branch) -> Branch:
    """Make the blanks before the last brace a child of their own."""
    last = data.between[-1]
    between = (*data.between[:-1], "", "}")
    return Branch(between, (*data.children, last[:-1]), (*data.names, PADDING))


def text_of(node: Node) -> str:
    """Put a tree together again. A hole is written as its reference."""
    if isinstance(node, str):
        return node
    if isinstance(node, Hole):
        return f'"«{node.name}»"' if node.quoted else f"«{node.name}»"
    if isinstance(node, Slot):
        raise TypeError("a form is no text")
    parts = [part for pair in zip(node.between, map(text_of, node.children), strict=False) for part in pair]
    return "".join(parts) + node.between[-1]


def _outline(event: Node) -> object:
    """What events must share to be compared at all: their fields, and the keys of their data in order."""
    if not isinstance(event, Branch):
        return event
    return event.between, tuple([child.between if isinstance(child, Branch) else None for child in event.children])


def shape(node: Node) -> object:
    """The keys of a tree, all the way down. A list of scalars is one leaf: its length is no shape."""
    if not isinstance(node, Branch):
        return None
    if node.between[0].lstrip(" ")[:1] == "[" and not any(isinstance(child, Branch) for child in node.children):
        return None
    return node.between, tuple([shape(child) for child in node.children])


def common(one: Node, other: Node, name: str) -> Node:
    """What two trees have in common: the same text where they agree, as small a hole as can be where they do not."""
    if one == other:
        return one
    if isinstance(one, Branch) and isinstance(other, Branch) and one.between == other.between:
        children = tuple(map(common, one.children, other.children, one.names))
        return Branch(one.between, children, one.names)
    return one if isinstance(one, Hole) else Hole(name)


def holes(node: Node) -> Iterator[Hole]:
    """The holes of a tree, in the order of its text."""
    if isinstance(node, Hole):
        yield node
    elif isinstance(node, Branch):
        for child in node.children:
            yield from holes(child)


def fillings(pattern: Node, node: Node) -> Iterator[Node]:
    """What a tree has in the holes of a pattern that it was part of."""
    if isinstance(pattern, Hole):
        yield node
    elif isinstance(pattern, Branch) and isinstance(node, Branch):
        for inner, child in zip(pattern.children, node.children, strict=True):
            yield from fillings(inner, child)


def parts(node: Node, shortest: int) -> Iterator[str]:
    """The texts of a tree and of all that is in it, from ``shortest`` characters on."""
    text = text_of(node)
    if len(text) >= shortest:
        yield text
        if isinstance(node, Branch):
            for child in node.children:
                yield from parts(child, shortest)
