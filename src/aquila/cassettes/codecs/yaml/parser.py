"""Parses YAML safely, at libyaml's speed: plain data only, in bounded time, depth and memory.

The parser takes YAML's events one by one, so it refuses a mistake at its line, before anything is built from it. It
refuses several documents and deep nesting. In Aquila's own cassettes it also refuses tags other than ``!!binary`` and
``!!str``, anchors, aliases, and keys that are no text or stand twice. In those of vcrpy it reads the tags of Python's
own types, without making objects of other classes, and refuses aliases that stand for more text than the file could
have.

The result is made of dict, list, str, bytes, True, False, None and `Number`. A number keeps its literal text
(``1e-05``, ``-0.0000012``), because a JSON body must come back byte for byte.
"""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Callable
from typing import Any

import yaml
import yaml.parser
import yaml.reader
import yaml.scanner

from aquila import shell_words
from aquila.cassettes.codecs import MAX_BYTES
from aquila.cassettes.codecs.yaml.tree import MAX_DEPTH, Number, PlainText, Tree, advice_for
from aquila.errors import CassetteCorrupt

_BINARY = "tag:yaml.org,2002:binary"
_STRING = "tag:yaml.org,2002:str"
_WORDS = {"null": None, "~": None, "": None, "true": True, "false": False}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
"""A number in the form of JSON."""
_NUMBER_STARTS = frozenset("-0123456789")
_PYTHON = "tag:yaml.org,2002:python/"
_PYTHON_CONTAINERS = ("tuple", "list", "dict")
_PYTHON_OBJECTS = ("object:", "object/new:", "object/apply:")
_PYTHON_SCALARS = {
    **dict.fromkeys(("str", "unicode"), "tag:yaml.org,2002:str"),
    "bytes": "tag:yaml.org,2002:binary",
    **dict.fromkeys(("int", "long", "float", "bool", "none")),
}
"""The plain tags for scalars with a tag of Python. None means that the scalar is read without a tag."""
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_OPEN = object()
"""Stands for the value of an anchor whose container has not ended yet: an alias to it would be a cycle."""


class Unreadable(Exception):
    """A mistake in a document. ``what`` says what is wrong, ``line`` is the number of the line, from 1."""

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.what = what
        self.line = line


class _PurePythonParser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    """PyYAML's own parser, for installations without libyaml. It takes about ten times as long as libyaml's."""

    def __init__(self, data: bytes) -> None:
        yaml.reader.Reader.__init__(self, data)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)


def open_event_parser(data: bytes) -> Any:
    """Return a parser whose ``get_event()`` returns the events of a document: libyaml's parser if PyYAML has it.

    Both this function and ``get_event`` raise yaml.YAMLError.
    """
    try:
        from yaml._yaml import CParser  # noqa: PLC0415 - PyYAML may be built without libyaml
    except ImportError:
        return _PurePythonParser(data)
    return CParser(data)


def load_tree(data: bytes, *, source: str, convert: Callable[[dict[str, Tree], int, Tree], Any] | None = None) -> Tree:
    """Parse one YAML document.

    ``source`` names the file in messages. ``convert`` is called for each item of ``interactions`` as soon as the item
    has ended. It gets the mapping at the top as far as it has been read, the item's index, and the item. Its result
    replaces the item, so that only one interaction is in memory as a tree. It is called only for Aquila's own
    cassettes, which begin with the key ``aquila``. Raises CassetteCorrupt, and the exceptions of ``convert``.
    """
    if len(data) > MAX_BYTES:
        # No more was read, so the size of the file is not known here.
        raise CassetteCorrupt(
            f"{source} has more than {MAX_BYTES:,} bytes, the most for a cassette. {advice_for(data)}"
        )
    if data.startswith(_UTF_16):  # YAML allows it, but other modules search the bytes of a file for ASCII text
        raise CassetteCorrupt(
            f"{source}: the file is UTF-16, and Aquila reads UTF-8. Save it as UTF-8 with an editor. If the > of "
            f"PowerShell wrote it, characters that are not ASCII may be wrong: write the file anew in another way, for "
            f"example with: git restore --source REVISION {shell_words.quote_word(source)}"
        )
    try:
        return _Document(data, convert).read()
    except Unreadable as error:
        line, what = error.line, error.what
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, what = (mark.line + 1 if mark else 1), f"not YAML: {error.problem or error.context}"
    except yaml.reader.ReaderError as error:
        line, what = data[: error.position].count(b"\n") + 1, f"not YAML: {error.reason}"
    raise CassetteCorrupt(f"{source}, line {line}: {what}. {advice_for(data)}")


class _Document:
    """One reading of one document. Nodes are read recursively, at most `MAX_DEPTH` deep."""

    def __init__(self, data: bytes, convert: Callable[[dict[str, Tree], int, Tree], Any] | None) -> None:
        self._get_event = open_event_parser(data).get_event
        self._convert = convert
        self._top: Tree = None  # the mapping at the top while it is being filled
        # Both are set when the interactions begin. The text before them has the same meaning in files of all recorders.
        self._read_scalar: Callable[[Any], Tree] = _read_scalar
        self._is_foreign = False
        self._first_anchor: tuple[str, int] | None = None  # for the message, if the document turns out to be Aquila's
        self._anchored: dict[str, Any] = {}  # values by anchor, or _OPEN
        # The most characters that all aliases together may stand for. Nested aliases could otherwise fill the memory.
        self._alias_budget = 4 * len(data)

    def read(self) -> Tree:
        """Return the document; None for a file without a document."""
        tree: Tree = None
        documents = 0
        while True:
            event = self._get_event()
            kind = type(event)
            if kind is yaml.StreamEndEvent:
                break
            if kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    raise Unreadable("a second document", line_of_event(event))
            elif isinstance(event, yaml.NodeEvent):
                tree = self._read_node(event, 0)
            elif kind not in (yaml.StreamStartEvent, yaml.DocumentEndEvent):
                # libyaml's extension keeps the event classes of the first import of `yaml`. After a second import (a
                # test may remove `yaml` from `sys.modules`) no class is recognised, and this loop would never end.
                raise RuntimeError("the module yaml was imported a second time in this process, so YAML cannot be read")
        if self._first_anchor is not None:
            self._refuse_anchors_in(tree)
        return tree

    def _read_node(self, event: Any, depth: int) -> Tree:
        """Read the node that begins with ``event``. ``depth`` is the number of containers around it."""
        kind = type(event)
        if kind is yaml.AliasEvent:
            return self._resolve_alias(event)
        if event.anchor is not None:
            self._define_anchor(event)
        if kind is yaml.ScalarEvent:
            value = self._read_scalar(event)
        elif self._is_foreign and str(event.tag).startswith(_PYTHON):
            children = self._read_mapping(depth) if kind is yaml.MappingStartEvent else self._read_sequence(depth)
            value = self._plain_value(event, children)
        else:
            if event.tag is not None:
                raise Unreadable(f"tag {_shortened(event.tag)} is not part of the format", line_of_event(event))
            if depth >= MAX_DEPTH:
                raise Unreadable(f"more than {MAX_DEPTH} levels deep", line_of_event(event))
            value = self._read_mapping(depth) if kind is yaml.MappingStartEvent else self._read_sequence(depth)
        if event.anchor is not None:
            self._anchored[event.anchor] = value
        return value

    def _read_mapping(self, depth: int) -> dict[str, Tree]:
        # Scalars without tag and anchor, as nearly all are, are read inline: a load spends most of its time here.
        get_event, scalar_event, end_event = self._get_event, yaml.ScalarEvent, yaml.MappingEndEvent
        read_scalar = self._read_scalar
        tree: dict[str, Tree] = {}
        if depth == 0:
            self._top = tree
        while True:
            event = get_event()
            if type(event) is end_event:
                return tree
            if type(event) is not scalar_event or event.tag is not None or event.anchor is not None:
                key = self._read_unusual_key(event, depth)
            else:
                key = event.value
            if key in tree:
                if depth or "aquila" in tree or "script" in tree:
                    raise Unreadable(f"key {_shortened(key)!r} occurs twice", line_of_event(event))
                self._read_again(tree, key, line_of_event(event))
                continue
            event = get_event()
            if type(event) is scalar_event and event.anchor is None:
                tree[key] = event.value if event.style and event.tag is None else read_scalar(event)
            elif depth == 0 and key == "interactions" and type(event) is yaml.SequenceStartEvent:
                tree[key] = self._read_interactions(event)
            else:
                tree[key] = self._read_node(event, depth + 1)

    def _read_unusual_key(self, event: Any, depth: int) -> str:
        """Read a key with a tag or an anchor, as other recorders write for names that are objects of Python."""
        if not self._is_foreign:
            tagged = type(event) is yaml.ScalarEvent
            raise Unreadable(
                "a tag or an anchor on a key" if tagged else "a key that is not text", line_of_event(event)
            )
        key = self._read_node(event, depth + 1)
        if not isinstance(key, str):
            raise Unreadable("a key that is not text", line_of_event(event))
        return str(key)

    def _read_again(self, tree: dict[str, Tree], key: str, line: int) -> None:
        """Read the second value of a key at the top of another recorder's file. Two lists are joined.

        Raises Unreadable for any other value that differs from the first.
        """
        value = self._read_node(self._get_event(), 1)
        if type(value) is list and type(tree[key]) is list:
            tree[key] = [*tree[key], *value]
        elif value != tree[key]:
            raise Unreadable(f"key {_shortened(key)!r} occurs twice, with another value", line)

    def _plain_value(self, event: Any, children: Tree) -> Tree:
        """Return the text or the bytes in an object of Python. Nothing is executed. Raises Unreadable for others."""
        value = _read_python_object(event.tag, children)
        if value is None:
            raise Unreadable(f"tag {_shortened(event.tag)} is not part of the format", line_of_event(event))
        return value

    def _read_sequence(self, depth: int) -> list[Tree]:
        get_event, end_event = self._get_event, yaml.SequenceEndEvent
        items: list[Tree] = []
        while True:
            event = get_event()
            if type(event) is end_event:
                return items
            items.append(self._read_node(event, depth + 1))

    def _read_interactions(self, event: Any) -> list[Any]:
        """Read the list of interactions, and convert each item as soon as it has ended."""
        if self._convert is None or "aquila" not in self._top or event.tag is not None or event.anchor is not None:
            self._is_foreign = "aquila" not in self._top
            if self._is_foreign:
                self._read_scalar = _read_foreign_scalar
            items: list[Any] = self._read_node(event, 1)
            return items
        items = []
        while True:
            event = self._get_event()
            if type(event) is yaml.SequenceEndEvent:
                return items
            items.append(self._convert(self._top, len(items), self._read_node(event, 2)))

    # --- anchors and aliases: a cassette of Aquila has none; vcrpy writes them for a value that it recorded twice

    def _define_anchor(self, event: Any) -> None:
        self._note_anchor(f"anchor &{_shortened(event.anchor)}", event)
        if event.anchor in self._anchored:
            raise Unreadable(f"anchor &{_shortened(event.anchor)} is defined twice", line_of_event(event))
        self._anchored[event.anchor] = _OPEN

    def _resolve_alias(self, event: Any) -> Tree:
        name = _shortened(event.anchor)
        self._note_anchor(f"alias *{name}", event)
        if event.anchor not in self._anchored:
            raise Unreadable(f"alias *{name} of nothing", line_of_event(event))
        value = self._anchored[event.anchor]
        if value is _OPEN:
            raise Unreadable(f"alias *{name} inside of itself", line_of_event(event))
        self._alias_budget -= _characters_in(value, self._alias_budget)
        if self._alias_budget < 0:
            raise Unreadable("aliases that stand for more than the file could", line_of_event(event))
        return value

    def _note_anchor(self, what: str, event: Any) -> None:
        self._first_anchor = self._first_anchor or (what, line_of_event(event))
        self._refuse_anchors_in(self._top)

    def _refuse_anchors_in(self, tree: Tree) -> None:
        """Raise Unreadable if the document is a cassette of Aquila, and it has an anchor or an alias."""
        if self._first_anchor is not None and type(tree) is dict and "aquila" in tree:
            what, line = self._first_anchor
            raise Unreadable(f"{what}: anchors and aliases are not part of the format", line)


def _read_scalar(event: Any) -> Tree:
    value: str = event.value
    if event.tag is not None:
        return _read_tagged_scalar(event)
    if event.style:  # a scalar in quotes, or a block: always text
        return value
    if value[:1] in _NUMBER_STARTS:
        return Number(value) if _NUMBER.fullmatch(value) else value
    return _WORDS.get(value, value)


def _read_foreign_scalar(event: Any) -> Tree:
    """Read a scalar in a file of another recorder. A plain one that is no value of JSON becomes a `PlainText`."""
    if event.tag is not None and event.tag.startswith(_PYTHON):
        event.tag = _tag_without_python(event.tag)
        event.style = event.style if event.tag else None  # `!!python/int '5'` is a number
    value = _read_scalar(event)
    return PlainText(value) if type(value) is str and not event.style and event.tag is None else value


def _read_tagged_scalar(event: Any) -> Tree:
    value: str = event.value
    if event.tag == _STRING:
        return value
    if event.tag == _BINARY:
        try:
            return base64.b64decode(value.encode("ascii"), validate=False)
        except ValueError:
            raise Unreadable("!!binary that is not base64", line_of_event(event)) from None
    raise Unreadable(f"tag {_shortened(event.tag)} is not part of the format", line_of_event(event))


# --- objects of Python in files of other recorders: read as plain text and bytes, never executed
#
# PyYAML writes an object that is no plain value with a tag that names its class, such as `multidict.istr` for the name
# of a header, or `io.BytesIO` for a body. Nothing here imports or calls the class that a tag names.


def _tag_without_python(tag: str) -> str | None:
    """Return the tag with which a scalar is read; the same tag if it is the tag of an object."""
    return _PYTHON_SCALARS.get(tag.removeprefix(_PYTHON), tag)


def _read_python_object(tag: str, children: Tree) -> Tree | None:
    """Return the content of an object: a list, a mapping, text or bytes; None for an object of another kind.

    ``children`` is the list of its arguments, or a mapping with its arguments or its state.
    """
    kind = tag.removeprefix(_PYTHON)
    if kind in _PYTHON_CONTAINERS:
        return children
    if not kind.startswith(_PYTHON_OBJECTS):
        return None
    if type(children) is dict:
        if not children.keys() <= {"args", "state"}:
            return None
        held = children.get("args") or children.get("state")
        # The state of a buffer has its content, the position in it, and its attributes.
        children = held[:1] if type(held) is list and kind.endswith(("BytesIO", "StringIO")) else held
    if kind == "object/apply:builtins.iter" and type(children) is list and children and type(children[0]) is list:
        return _join_pieces(children[0])
    if type(children) is list and len(children) == 1 and isinstance(children[0], str | bytes):
        return str(children[0]) if isinstance(children[0], str) else children[0]
    return None


def _join_pieces(pieces: list[Tree]) -> Tree | None:
    """Return the body that a client was given in pieces; None if these are not all text or all bytes."""
    if all(isinstance(piece, bytes) for piece in pieces):
        return b"".join(piece for piece in pieces if isinstance(piece, bytes))
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(str(piece) for piece in pieces)
    return None


# --- sizes and places


def _characters_in(tree: Tree, most: int) -> int:
    """Count about how many characters a tree takes when it is written out. Stop counting beyond ``most``."""
    waiting, total = [tree], 0
    while waiting and total <= most:
        node = waiting.pop()
        total += 1
        if type(node) is dict:
            total += sum(map(len, node))
            waiting += node.values()
        elif type(node) is list:
            waiting += node
        elif isinstance(node, (str, bytes)):
            total += len(node)
    return total


def line_of_event(event: Any) -> int:
    """Return the line (from 1) in which an event begins."""
    return int(event.start_mark.line) + 1


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
