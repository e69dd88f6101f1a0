"""Events of a stream as trees of text, and what several of them have in common.

A tree keeps every character of its text: a leaf is the literal text of a scalar (``"a"``, ``1e-05``), a `Branch` holds
the text between its children. So a tree that is put together again is the text that it was read from, whatever the
spacing or escapes of the server that wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeAlias


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


Node: TypeAlias = "str | Branch | Hole"

PADDING = "spaces"
"""The name of the blanks that some servers put before an event's last brace, to hide its length."""

_TOKEN = re.compile(r' *(?:[{}\[\],:]|"[^"\\]*(?:\\.[^"\\]*)*"|[^\s{}\[\],:"]+)')
_FIELD = re.compile(r"(data|event|id|retry): ?(?=[^ ])")
MAX_DEPTH = 60


def read_event(text: str) -> Node:
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
    parts = [part for pair in zip(node.between, map(text_of, node.children), strict=False) for part in pair]
    return "".join(parts) + node.between[-1]


def outline(event: Node) -> object:
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


def common_of(nodes: Iterable[Node], name: str) -> Node:
    """What all of several trees have in common."""
    iterator = iter(nodes)
    found = next(iterator)
    for node in iterator:
        found = common(found, node, name)
    return found


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


def leaves(node: Node, name: str) -> Iterator[tuple[str, str]]:
    """The scalars of a tree with their names."""
    if isinstance(node, str):
        yield name, node
    elif isinstance(node, Branch):
        for child, inner in zip(node.children, node.names, strict=True):
            yield from leaves(child, inner)


def with_leaf(node: Node, name: str, text: str) -> Node:
    """The tree with every scalar of a name replaced."""
    if not isinstance(node, Branch):
        return node
    children = tuple(
        [
            text if isinstance(child, str) and inner == name else with_leaf(child, name, text)
            for child, inner in zip(node.children, node.names, strict=True)
        ]
    )
    return Branch(node.between, children, node.names)


def parts(node: Node, shortest: int) -> Iterator[str]:
    """The texts of a tree and of all that is in it, from ``shortest`` characters on."""
    text = text_of(node)
    if len(text) >= shortest:
        yield text
        if isinstance(node, Branch):
            for child in node.children:
                yield from parts(child, shortest)
