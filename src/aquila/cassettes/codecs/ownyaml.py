"""The part of YAML that cassettes are written in, read line by line: several times as fast as a YAML parser.

Whatever is not written exactly as `emit` writes it (a comment, an anchor, another indentation, a mistake) makes `load` give
up, and `safeyaml` reads the document instead: this module never decides what is wrong. What it accepts, it reads as YAML
does; the tests compare the two on every file that they can think of.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from aquila.cassettes.codecs.tree import MAX_DEPTH, NUMBER, Number, Tree

_KEY = re.compile(r"[A-Za-z_$/][A-Za-z0-9_$/.\-]{0,100}")
_QUOTED = re.compile(r"'((?:[^']|''){0,400})'(?:: ?|\Z)")
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_/")
_WORDS = {"null": None, "true": True, "false": False}
_BLOCKS = frozenset({"|", "|-", "|+", "|2", "|2-", "|2+"})
_FLOW = re.compile(r"\[[0-9a-z.eE+\-]+(?:, [0-9a-z.eE+\-]+)*\]")
_CONTROL = bytes([byte for byte in range(32) if byte not in (9, 10)]) + b"\x7f"
_C1 = re.compile(b"\xc2[\x80-\x9f]")
_ESCAPE = re.compile(r'\\(?:x[0-9A-F]{2}|u[0-9A-F]{4}|U000[0-9A-F]{5}|["\\nrt0NLP])|[\\"]')
_ESCAPES = {
    '\\"': '"', "\\\\": "\\", "\\n": "\n", "\\r": "\r", "\\t": "\t", "\\0": "\0",
    "\\N": "\x85", "\\L": "\u2028", "\\P": "\u2029",
}  # fmt: skip


class NotOurs(Exception):
    """The document is not written as `emit` writes."""


def load(data: bytes) -> Tree:
    """Read a document. Raises NotOurs."""
    if not data.endswith(b"\n") or not _is_plain(data):
        raise NotOurs
    try:
        return _read(data.decode())
    except (UnicodeDecodeError, IndexError):
        raise NotOurs from None


def _is_plain(data: bytes) -> bool:
    """Whether the bytes hold no character that a YAML reader treats specially."""
    if len(data.translate(None, _CONTROL)) != len(data):
        return False
    return data.isascii() or not (
        b"\xe2\x80\xa8" in data or b"\xe2\x80\xa9" in data  # line and paragraph separator
        or b"\xef\xbb\xbf" in data or b"\xef\xbf\xbe" in data or b"\xef\xbf\xbf" in data  # BOM and non-characters
        or (b"\xc2" in data and _C1.search(data))
    )  # fmt: skip


def _read(text: str) -> Tree:
    root: dict[str, Tree] = {}
    # The container that is being filled, its column, and the key whose value is to come; those around it on the stack.
    current: Any = root
    column = 0
    key: str | None = None
    stack: list[tuple[Any, int]] = []
    keys: set[str] = set()
    find = text.find
    at = 0
    size = len(text)
    while at < size:
        end = find("\n", at)
        line = text[at:end]
        at = end + 1
        rest = line.lstrip(" ")
        here = len(line) - len(rest)

        # 1. Find the container that the line belongs to.
        if key is not None:  # its value begins here
            child: Any = [] if rest[:2] == "- " else {}
            if here != column + (2 if type(child) is dict else 0) or len(stack) >= MAX_DEPTH:
                raise NotOurs
            current[key] = child
            stack.append((current, column))
            current, column, key = child, here, None
        else:
            while here < column or (here == column and type(current) is list and rest[:2] != "- "):
                current, column = stack.pop()
            if here != column:
                raise NotOurs

        # 2. Each dash is an item, which may be a container whose first line this is.
        while rest[:2] == "- ":
            if type(current) is not list:
                raise NotOurs
            rest = rest[2:]
            here += 2
            if rest[:2] == "- ":
                child = []
            elif rest[0] == "'":
                quoted = _QUOTED.match(rest)
                if quoted is None:
                    raise NotOurs
                child = {} if quoted.end() != len(rest) or rest[-1] == ":" else None
            elif rest[0] != '"' and (": " in rest or rest[-1] == ":"):
                child = {}
            else:
                child = None
            if child is None:
                value, at = _scalar(rest, here, text, at)
                current.append(value)
                rest = ""
            else:
                if len(stack) >= MAX_DEPTH:
                    raise NotOurs
                current.append(child)
                stack.append((current, column))
                current, column = child, here
        if not rest:
            continue

        # 3. A key, and its value if that is a scalar.
        if type(current) is list:
            raise NotOurs
        if rest[0] == "'":
            quoted = _QUOTED.match(rest)
            if quoted is None or (quoted.end() == len(rest) and rest[-1] == "'"):
                raise NotOurs
            name = quoted[1].replace("''", "'")
            rest = rest[quoted.end() :]
        else:
            name, colon, rest = rest.partition(": ")
            if not colon:
                if name[-1] != ":":
                    raise NotOurs
                name = name[:-1]
            if name not in keys:
                if not _KEY.fullmatch(name):
                    raise NotOurs
                keys.add(name)
        if name in current:
            raise NotOurs
        if not rest:
            key = name
            continue
        char = rest[0]
        if char in _PLAIN:
            if rest in _WORDS:
                current[name] = _WORDS[rest]
            elif ": " in rest or " #" in rest or rest[-1] in ": " or "\t" in rest:
                raise NotOurs
            else:
                current[name] = rest
        else:
            current[name], at = _scalar(rest, column + 2, text, at)
    if key is not None:
        raise NotOurs
    return root


def _scalar(source: str, column: int, text: str, at: int) -> tuple[Tree, int]:
    """Read a scalar that begins at the end of a line; a block stands at ``column``. Returns where the next line begins."""
    char = source[0]
    if char in _PLAIN:
        if source in _WORDS:
            return _WORDS[source], at
        if ": " in source or " #" in source or source[-1] in ": " or "\t" in source:
            raise NotOurs
        return source, at
    if NUMBER.fullmatch(source):
        return Number(source), at
    if char == "'":
        inner = source[1:-1]
        if len(source) < 2 or source[-1] != "'" or "\t" in inner or ("'" in inner and "'" in inner.replace("''", "")):
            raise NotOurs
        return inner.replace("''", "'"), at
    if char == '"':
        if len(source) < 2 or source[-1] != '"':
            raise NotOurs
        inner = source[1:-1]
        if "\t" in inner:
            raise NotOurs
        return (_ESCAPE.sub(_unescape, inner) if "\\" in inner or '"' in inner else inner), at
    if source in _BLOCKS:
        return _block(source, column, text, at)
    if source == "[]":
        return [], at
    if source == "{}":
        return {}, at
    if char == "[" and _FLOW.fullmatch(source):
        return [_flow_item(item) for item in source[1:-1].split(", ")], at
    raise NotOurs


def _flow_item(item: str) -> Tree:
    if item in _WORDS:
        return _WORDS[item]
    if NUMBER.fullmatch(item):
        return Number(item)
    raise NotOurs


def _unescape(found: re.Match[str]) -> str:
    escape = found[0]
    known = _ESCAPES.get(escape)
    if known is not None:
        return known
    if len(escape) == 1:
        raise NotOurs
    code = int(escape[2:], 16)
    if 0xD800 <= code < 0xE000 or code > 0x10FFFF:
        raise NotOurs
    return chr(code)


def _block(header: str, column: int, text: str, at: int) -> tuple[str, int]:
    ending = _block_end(column).search(text, at)
    end = ending.start() if ending else len(text) - 1
    block = text[at:end]
    blanks = " " * column
    stripped = block.rstrip("\n")
    if "2" not in header and (not block.startswith(blanks) or block[column] in " \t\n"):
        raise NotOurs
    if not stripped.strip(" \n"):
        raise NotOurs
    if stripped.startswith(blanks):
        stripped = stripped[column:]
    elif stripped[0] != "\n":
        raise NotOurs
    value = stripped.replace("\n" + blanks, "\n")
    if header[-1] == "+":
        value += block[len(block.rstrip("\n")) :] + "\n"
    elif header[-1] != "-":
        value += "\n"
    return value, end + 1


@lru_cache(maxsize=128)
def _block_end(column: int) -> re.Pattern[str]:
    """The line break before the next line that is no part of a block."""
    return re.compile(rf"\n(?! {{{column}}}|\n)")
