"""YAML read safely, at libyaml's speed: plain data only, in bounded time, depth and memory.

The reader takes libyaml's events one by one, so what is refused is refused where it stands, before anything is built
from it: tags other than ``!!binary`` and ``!!str``, several documents, duplicate or non-text keys, deep nesting; in
our own cassettes anchors and aliases, in vcrpy's those that stand for more than the file could.

The result is made of dict, list, str, bytes, True, False, None and `Number`. A number keeps its literal text
(``1e-05``, ``-0.0000012``), because a JSON body must come back byte for byte.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import yaml
from yaml._yaml import CParser

from aquila.cassettes.codecs.yaml.tree import MAX_DEPTH, NUMBER, Number, Tree, advice_for
from aquila.errors import CassetteCorrupt

MAX_BYTES = 256 * 1024 * 1024
"""A file larger than this is refused unread."""

_BINARY = "tag:yaml.org,2002:binary"
_STRING = "tag:yaml.org,2002:str"
_WORDS = {"null": None, "~": None, "": None, "true": True, "false": False}


class Unreadable(Exception):
    """What is wrong, and the line (from 1) where it is."""

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


def load_tree(data: bytes, *, source: str) -> Tree:
    """Read one YAML document.

    ``source`` names the file in messages. Raises CassetteCorrupt.
    """
    if len(data) > MAX_BYTES:
        raise CassetteCorrupt(f"{source} has {len(data)} bytes; a cassette may have {MAX_BYTES}. {advice_for(data)}")
    try:
        return _build(data)
    except Unreadable as error:
        line, what = error.line, error.what
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, what = (mark.line + 1 if mark else 1), f"not YAML: {error.problem or error.context}"
    except yaml.reader.ReaderError as error:
        line, what = data[: error.position].count(b"\n") + 1, f"not YAML: {error.reason}"
    raise CassetteCorrupt(f"{source}, line {line}: {what}. {advice_for(data)}")


def line_of(data: bytes, path: tuple[str | int, ...]) -> int:
    """Return the line (from 1) of what is at ``path`` in a document that `load` accepts, or of its nearest container.

    Used for messages only: it reads the document a second time.
    """
    finder = _Finder(path)
    parser = CParser(data)
    try:
        while not finder.feed(parser.get_event()):
            pass
    except yaml.YAMLError:
        pass  # behind the mistake
    return finder.line


def _build(data: bytes) -> Tree:
    get_event = CParser(data).get_event
    scalar_event, mapping_start, mapping_end = yaml.ScalarEvent, yaml.MappingStartEvent, yaml.MappingEndEvent
    sequence_start, sequence_end = yaml.SequenceStartEvent, yaml.SequenceEndEvent
    number = NUMBER.fullmatch
    words = _WORDS
    anchors = _Anchors(4 * len(data))

    root: list[Tree] = []
    stack: list[tuple[Tree, str | None]] = []
    current: Tree = root  # the container being filled: a dict or a list
    key: str | None = None  # in a dict, the key whose value comes next
    mapping = False
    while True:
        event: Any = get_event()
        kind = type(event)
        if kind is scalar_event:
            value: Tree = event.value
            if mapping and key is None:
                if event.tag is not None or event.anchor is not None:
                    raise Unreadable("a tag or an anchor on a key", _line(event))
                if value in current:
                    raise Unreadable(f"key {_short(value)!r} occurs twice", _line(event))
                key = value
                continue
            if event.tag is not None:
                value = _tagged(event)
            elif event.style == "":
                if value in words:
                    value = words[value]
                elif number(value):
                    value = Number(value)
            if event.anchor is not None:
                anchors.define(event, root, value)
            if mapping:
                current[key] = value
                key = None
            else:
                current.append(value)
        elif kind is mapping_start or kind is sequence_start:
            if event.tag is not None:
                raise Unreadable(f"tag {_short(event.tag)} is not part of the format", _line(event))
            if mapping and key is None:
                raise Unreadable("a key that is not text", _line(event))
            if len(stack) >= MAX_DEPTH:
                raise Unreadable(f"more than {MAX_DEPTH} levels deep", _line(event))
            child: Tree = {} if kind is mapping_start else []
            if event.anchor is not None:
                anchors.define(event, root, child)
            if mapping:
                current[key] = child
            else:
                current.append(child)
            stack.append((current, key))
            current, key, mapping = child, None, kind is mapping_start
        elif kind is mapping_end or kind is sequence_end:
            current, _ = stack.pop()
            mapping, key = type(current) is dict, None
        elif kind is yaml.AliasEvent:
            if mapping and key is None:
                raise Unreadable("a key that is not text", _line(event))
            value = anchors.find(event, root, [current, *[container for container, _ in stack]])
            if mapping:
                current[key] = value
                key = None
            else:
                current.append(value)
        elif kind is yaml.DocumentStartEvent:
            if root:
                raise Unreadable("a second document", _line(event))
        elif kind is yaml.StreamEndEvent:
            if root:
                anchors.check(root)
                return root[0]
            return None
        elif event is None:
            # libyaml's events are of classes that `yaml` had when it was first imported; it knows no end of others.
            raise RuntimeError("the module yaml was imported a second time in this process, so YAML cannot be read")


class _Anchors:
    """Anchors and aliases: a cassette of ours has none, one of vcrpy may, where the same headers were recorded twice.

    ``budget`` is how many characters all aliases together may stand for.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._known: dict[str, Tree] = {}
        self._first: tuple[str, int] | None = None

    def define(self, event: Any, root: list[Tree], value: Tree) -> None:
        self._note(f"anchor &{_short(event.anchor)}", event, root)
        self._known[event.anchor] = value

    def find(self, event: Any, root: list[Tree], open_containers: list[Tree]) -> Tree:
        self._note(f"alias *{_short(event.anchor)}", event, root)
        if event.anchor not in self._known:
            raise Unreadable(f"alias *{_short(event.anchor)} of nothing", _line(event))
        value = self._known[event.anchor]
        if any(value is container for container in open_containers):
            raise Unreadable(f"alias *{_short(event.anchor)} inside of itself", _line(event))
        self._budget -= _weight(value, self._budget)
        if self._budget < 0:
            raise Unreadable("aliases that stand for more than the file could", _line(event))
        return value

    def check(self, root: list[Tree]) -> None:
        """Raise Unreadable if the document is a cassette of ours, and there was one."""
        if self._first is not None and type(root[0]) is dict and "aquila" in root[0]:
            what, line = self._first
            raise Unreadable(f"{what}: anchors and aliases are not part of the format", line)

    def _note(self, what: str, event: Any, root: list[Tree]) -> None:
        self._first = self._first or (what, _line(event))
        if root:
            self.check(root)


def _weight(tree: Tree, most: int) -> int:
    """About how many characters a tree takes when it is written out; more than ``most`` is not counted to its end."""
    waiting, weight = [tree], 0
    while waiting and weight <= most:
        node = waiting.pop()
        weight += 1
        if type(node) is dict:
            weight += sum(map(len, node))
            waiting += node.values()
        elif type(node) is list:
            waiting += node
        elif isinstance(node, (str, bytes)):
            weight += len(node)
    return weight


def _tagged(event: Any) -> Tree:
    value: str = event.value
    if event.tag == _STRING:
        return value
    if event.tag == _BINARY:
        try:
            return base64.b64decode(value.encode("ascii"), validate=False)
        except (ValueError, binascii.Error):
            raise Unreadable("!!binary that is not base64", _line(event)) from None
    raise Unreadable(f"tag {_short(event.tag)} is not part of the format", _line(event))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


class _Finder:
    """Follows a path through events, and remembers the line of the deepest part that was found."""

    def __init__(self, path: tuple[str | int, ...]) -> None:
        self.line = 1
        self._path = path
        self._stack: list[list[Any]] = []  # [is mapping, key or index of the current child]
        self._matched = 0  # how many parts of the path are open above the current event

    def feed(self, event: Any) -> bool:
        """Take an event; return whether the place is found, or cannot be any more."""
        if event is None or isinstance(event, yaml.StreamEndEvent):
            return True
        if isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._stack.pop()
            self._next()
            return len(self._stack) < self._matched
        if not isinstance(event, (yaml.ScalarEvent, yaml.AliasEvent, yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            return False
        top = self._stack[-1] if self._stack else None
        if top and top[0] and top[1] is None:
            top[1] = event.value  # type: ignore[union-attr]
            if self._here():
                self.line = _line(event)
            return False
        if self._here():
            if not (top and top[0]):
                self.line = _line(event)
            self._matched = len(self._stack)
            if len(self._stack) == len(self._path):
                return True
        if isinstance(event, (yaml.ScalarEvent, yaml.AliasEvent)):
            self._next()
        else:
            self._stack.append([isinstance(event, yaml.MappingStartEvent), None])
            if not self._stack[-1][0]:
                self._stack[-1][1] = 0
        return False

    def _here(self) -> bool:
        depth = len(self._stack)
        return depth <= len(self._path) and all(self._stack[i][1] == self._path[i] for i in range(depth))

    def _next(self) -> None:
        if self._stack:
            top = self._stack[-1]
            top[1] = None if top[0] else top[1] + 1
