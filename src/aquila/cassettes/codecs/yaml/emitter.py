"""Writes YAML text in the one style of cassettes. PyYAML's own writer is slower, and folds and quotes text.

The style has blocks, two spaces a level, sequences at the column of their key, and no folding: each line of a text is a
line of the file. A text of several lines becomes a literal block if YAML can hold it exactly and no line ends with
white space, else a double-quoted scalar with as many lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from aquila.cassettes.codecs.yaml.tree import Number, OneLine

# Characters that YAML cannot hold unescaped: control characters, CR and the other line breaks (a reader may change
# them), the BOM, surrogates and non-characters.
_UNSAFE = re.compile("[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_PLAIN = re.compile("[A-Za-z_/]")  # the first character of a plain scalar
_NOT_PLAIN = re.compile(r": | #|[:\s]\Z|\t|\n")
_NOT_WITHIN = re.compile(r"[\[\],{}?]")  # may be in a plain scalar in a block, but not in a mapping on one line
_WORDS = frozenset(["null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf", "none"])
_ESCAPES = {
    '"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0",
    "\x85": "\\N", "\u2028": "\\L", "\u2029": "\\P", "\ufeff": "\\uFEFF",
}  # fmt: skip
_ESCAPED = re.compile('["\\\\\n\t]|' + _UNSAFE.pattern)
LONG_KEY = 120
"""A key longer than this needs YAML's explicit form (libyaml looks ahead for 1,024 characters)."""


def write_pair(name: str, value: Any, indent: int) -> str:
    """Write ``name: value`` at column ``indent``, with a line break. The value is a text, number, list or mapping."""
    spaces = " " * indent
    head = write_inline(name)
    if len(head) > LONG_KEY:
        return f"{spaces}? {head}\n{spaces}:{_write_value(value, indent)}"
    return f"{spaces}{head}:{_write_value(value, indent)}"


def write_mapping(items: Iterable[tuple[str, Any]], indent: int) -> str:
    """Write the pairs of a mapping, one below the other."""
    return "".join([write_pair(name, value, indent) for name, value in items])


def write_item(value: Any, indent: int) -> str:
    """Write ``- value`` at column ``indent``, with a line break."""
    spaces = " " * indent
    if isinstance(value, (dict, list)) and value and not _is_on_one_line(value):
        inner = _write_block(value, indent + 2)
        return f"{spaces}- {inner[indent + 2 :]}"
    return f"{spaces}-{_write_value(value, indent)}"


def _write_value(value: Any, indent: int) -> str:
    """Write the text behind a key or a dash, beginning with the space or the line break."""
    if isinstance(value, Number):
        return f" {value}\n"
    if isinstance(value, str):
        return " " + write_text(value, indent + 2)
    if value is None:
        return " null\n"
    if value is True or value is False:
        return " true\n" if value else " false\n"
    if isinstance(value, int):
        return f" {value}\n"
    if _is_on_one_line(value):
        return f" {_write_flow(value)}\n"
    return "\n" + _write_block(value, indent if isinstance(value, list) else indent + 2)


def _write_block(value: Any, indent: int) -> str:
    if isinstance(value, dict):
        return write_mapping(value.items(), indent)
    return "".join([write_item(inner, indent) for inner in value])


def _is_on_one_line(value: Any) -> bool:
    """Whether a container is written on one line: an empty one, a `OneLine`, or a list of numbers and words."""
    return (
        not value
        or isinstance(value, OneLine)
        or (isinstance(value, list) and all(isinstance(inner, (Number, bool, type(None))) for inner in value))
    )


def _write_flow(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{" + ", ".join([f"{_write_within(name)}: {_write_within(inner)}" for name, inner in value.items()]) + "}"
        )
    return "[" + ", ".join([inner if isinstance(inner, str) else _WORD[inner] for inner in value]) + "]"


_WORD = {None: "null", True: "true", False: "false"}


def _write_within(value: Any) -> str:
    """Write a number, a text or a mapping as a part of a mapping on one line."""
    if isinstance(value, Number):
        return value
    if isinstance(value, dict):
        return _write_flow(value)
    written = write_inline(value)
    return "'" + value.replace("'", "''") + "'" if written is value and _NOT_WITHIN.search(value) else written


def write_text(value: str, indent: int) -> str:
    """Write a text as a scalar, with a line break. The lines of a block stand at column ``indent``."""
    if "\n" not in value and ("\t" not in value or _UNSAFE.search(value)):
        return write_inline(value) + "\n"
    stripped = value.rstrip("\n")
    if _UNSAFE.search(value) or not stripped or _has_blanks_at_ends(value):
        return _write_quoted_lines(value, indent)
    ends = len(value) - len(stripped)
    # The header must name the indentation if the first line begins with white space, because a reader otherwise takes
    # the indentation from that line. Of the line breaks at the end, `-` keeps none, `+` keeps all, and no mark keeps
    # one.
    indentation = "2" if value[0] in " \n\t" else ""
    header = f"|{indentation}{('-', '')[ends] if ends < 2 else '+'}"
    spaces = " " * indent
    lines = [spaces + line if line else "" for line in stripped.split("\n")]
    return header + "\n" + "\n".join(lines) + "\n" * max(ends, 1)


def _has_blanks_at_ends(text: str) -> bool:
    """Whether a line of a text ends with white space. Editors and git hooks would remove it from a literal block."""
    return " \n" in text or "\t\n" in text or text.endswith((" ", "\t"))


def write_inline(value: str) -> str:
    """Write a text on one line: plain if every reader of YAML takes it for text, else quoted."""
    if _UNSAFE.search(value) or "\n" in value or "\t" in value:
        return _write_double_quoted(value)
    if _PLAIN.match(value) and not _NOT_PLAIN.search(value) and value.lower() not in _WORDS:
        return value
    if "'" in value and '"' not in value and "\\" not in value:
        return f'"{value}"'
    return "'" + value.replace("'", "''") + "'"


def _write_double_quoted(value: str) -> str:
    return '"' + _ESCAPED.sub(_escape_character, value) + '"'


def _write_quoted_lines(value: str, indent: int) -> str:
    """Write a double-quoted scalar with a line of the file for each line of the text."""
    spaces = " " * indent
    lines = [_write_double_quoted(line)[1:-1] for line in value.split("\n")]
    # The first space of a line is escaped: YAML drops unescaped space at the start of a continued line.
    lines = [lines[0]] + ["\\" + line if line.startswith(" ") else line for line in lines[1:]]
    return '"' + f"\\n\\\n{spaces}".join(lines) + '"\n'


def _escape_character(found: re.Match[str]) -> str:
    char = found.group()
    known = _ESCAPES.get(char)
    if known:
        return known
    code = ord(char)
    if 0xD800 <= code < 0xE000:
        return "\ufffd"  # no UTF-8 file can hold it
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
