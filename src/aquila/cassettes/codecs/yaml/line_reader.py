"""The part of YAML that cassettes are written in, read line by line: much faster than a YAML parser does.

Whatever is not written exactly as `emit` writes it (a comment, an anchor, another indentation, a mistake) makes `load`
give up, and `safeyaml` reads the document instead: nothing is decided here about what is wrong. What is accepted is
read as YAML has it; the tests compare the two readers on every file that they can think of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from aquila.cassettes.codecs.yaml.tree import MAX_DEPTH, NUMBER, Number, Tree
from aquila.cassettes.model import FORMAT_VERSION

_LINE = re.compile(
    r"( *)((?:- )*)(?:([A-Za-z_$/][A-Za-z0-9_$/.\-]{0,100}|'(?:[^'\n]|''){0,400}'):(?: |(?=\n)))?([^\n]*)\n"
)
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_/")
_WORDS = {"null": None, "true": True, "false": False}
_BLOCKS = frozenset({"|", "|-", "|+", "|2", "|2-", "|2+"})
_TIMES = re.compile(r"[0-9](?:[0-9T: \-]*[0-9Z])?")  # a moment, or the times and sizes of chunks
_FLOW = re.compile(r"\[[0-9a-z.eE+\-]+(?:, [0-9a-z.eE+\-]+)*\]")
_CONTROL = bytes([*[byte for byte in range(32) if byte not in (9, 10)], 127])
_C1 = re.compile(b"\xc2[\x80-\x9f]")
_SPECIAL = "\u2028\u2029\ufeff\ufffe\uffff"  # other line breaks, the byte order mark, and what is no character
_ESCAPE = re.compile(r'\\(?:x[0-9A-F]{2}|u[0-9A-F]{4}|U000[0-9A-F]{5}|["\\nrt0NLP \n])|[\\"]')
_ESCAPES = {
    '\\"': '"', "\\\\": "\\", "\\n": "\n", "\\r": "\r", "\\t": "\t", "\\0": "\0",
    "\\ ": " ", "\\\n": "", "\\N": "\x85", "\\L": "\u2028", "\\P": "\u2029",
}  # fmt: skip


HEAD = f"aquila: {FORMAT_VERSION}\ninteractions:\n".encode()
END = b"...\n"
"""The end of a YAML document. Without it, a file that was cut off between two lines would read as a shorter answer."""
TAIL = b"\n" + END


class NotOurs(Exception):
    """The document is not written as `emit` writes."""


def interactions(data: bytes) -> Iterator[Tree]:
    """Read the interactions of a cassette, one after the other: no more than one is in memory as a tree.

    Raises NotOurs, maybe after some of them.
    """
    if not data.startswith(HEAD) or not data.endswith(TAIL):
        raise NotOurs
    start = len(HEAD)
    while start < len(data) - len(END):
        stop = data.find(b"\n- ", start) + 1 or len(data) - len(END)
        yield _read(_text(data[start:stop]))
        start = stop


def _text(data: bytes) -> str:
    """Decode some lines that hold nothing which a YAML reader treats specially."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise NotOurs from None
    if len(data.translate(None, _CONTROL)) != len(data):
        raise NotOurs
    if not text.isascii() and (_C1.search(data) or any(char in text for char in _SPECIAL)):
        raise NotOurs
    return text


def _read(text: str) -> Tree:
    """Read the one item of a list."""
    root: list[Tree] = []
    # The container that is being filled, its column, and the key whose value is to come; those around it on the stack.
    current: Any = root
    column = 0
    is_list = True
    key: str | None = None
    stack: list[tuple[Any, int, bool]] = []
    value: Tree
    child: Any
    at: int | None = 0
    while at is not None:
        start, at = at, None
        for found in _LINE.finditer(text, start):
            spaces, dashes, name, rest = found.groups()
            here = len(spaces)

            # 1. Find the container that the line belongs to.
            if key is not None:  # its value begins here
                if here != (column if dashes else column + 2) or len(stack) >= MAX_DEPTH:
                    raise NotOurs
                current[key] = child = [] if dashes else {}
                stack.append((current, column, False))
                current, column, is_list, key = child, here, bool(dashes), None
            elif here != column or is_list:
                while here < column or (is_list and here == column and not dashes):
                    if not stack:
                        raise NotOurs
                    current, column, is_list = stack.pop()
                if here != column:
                    raise NotOurs

            # 2. Each dash is an item, which may be a container whose first line this is.
            for left in range(len(dashes) // 2 - 1, -1, -1):
                if not is_list or len(stack) >= MAX_DEPTH:
                    raise NotOurs
                if left or name is not None:
                    child = [] if left else {}
                    current.append(child)
                    stack.append((current, column, True))
                    current, column, is_list = child, column + 2, bool(left)

            # 3. A key with its value, or an item.
            if name is None:
                if not dashes or not rest:
                    raise NotOurs
            else:
                if is_list:
                    raise NotOurs
                if name[0] == "'":
                    name = name[1:-1].replace("''", "'")
                if name in current:
                    raise NotOurs
                if not rest:
                    key = name
                    continue
            if rest[0] in _LETTERS:
                if rest in _WORDS:
                    value = _WORDS[rest]
                elif ": " in rest or " #" in rest or rest[-1] in ": " or "\t" in rest:
                    raise NotOurs
                else:
                    value = rest
            elif NUMBER.fullmatch(rest):
                value = Number(rest)
            elif _TIMES.fullmatch(rest) and ": " not in rest:
                value = rest
            elif rest in _BLOCKS:
                value, at = _block(rest, column + 2, text, found.end())
            elif rest[0] == '"' and rest[-1] == "\\":
                value, at = _quoted_lines(column + 2, text, found.start(4))
            else:
                value = _other(rest)
            if name is None:
                current.append(value)
            else:
                current[name] = value
            if at is not None:
                break  # behind the block
    if key is not None or len(root) != 1:
        raise NotOurs
    return root[0]


def _other(source: str) -> Tree:
    """Read a scalar in quotes, or a container on one line."""
    quote, inner = source[0], source[1:-1]
    if "\t" in source or len(source) < 2:
        raise NotOurs
    if quote == "'" and source[-1] == "'":
        if "'" not in inner:
            return inner
        if "'" not in inner.replace("''", ""):
            return inner.replace("''", "'")
    elif quote == '"' and source[-1] == '"':
        return _ESCAPE.sub(_unescape, inner) if "\\" in inner or '"' in inner else inner
    elif source == "[]":
        return []
    elif source == "{}":
        return {}
    elif quote == "[" and _FLOW.fullmatch(source):
        return [_flow_item(item) for item in inner.split(", ")]
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
    if "2" not in header and (not block.startswith(blanks) or block[column : column + 1] in " \t\n"):
        raise NotOurs
    if not stripped.strip(" \n"):
        raise NotOurs
    if stripped.startswith(blanks):
        stripped = stripped[column:]
    elif stripped[0] != "\n":
        raise NotOurs
    value = stripped.replace("\n" + blanks, "\n")
    if value[-1] == "\n":
        raise NotOurs  # a last line of blanks alone
    if header[-1] == "+":
        value += block[len(block.rstrip("\n")) :] + "\n"
    elif header[-1] != "-":
        value += "\n"
    return value, end + 1


def _quoted_lines(column: int, text: str, at: int) -> tuple[str, int]:
    """Read a double-quoted scalar of several lines, each of which ends in an escaped line break."""
    found = _quoted(column).match(text, at)
    if found is None or "\t" in found[1]:
        raise NotOurs
    return _ESCAPE.sub(_unescape, found[1].replace("\\\n" + " " * column, "\\\n")), found.end()


@lru_cache(maxsize=128)
def _quoted(column: int) -> re.Pattern[str]:
    return re.compile(rf'"((?:[^"\\\n]|\\[^\n]|\\\n {{{column}}}(?! ))*+)"\n')


@lru_cache(maxsize=128)
def _block_end(column: int) -> re.Pattern[str]:
    """The line break before the next line that is no part of a block."""
    return re.compile(rf"\n(?! {{{column}}}|\n)")
