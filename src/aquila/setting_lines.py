"""Writes settings in the form in which users type them: a line of the file of pytest's settings, or an argument.

The parameter ``file`` is always the name of that file. It is empty if the name is not known; the form is then ini. In a
program that no pytest has started it is ``AS_ARGUMENTS``, because such a program reads no settings file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

AS_ARGUMENTS = "use_cassette"
"""In place of the name of a settings file: none is read, so settings are arguments of ``use_cassette``."""
_WIDTH = 96
"""The greatest length of a line in characters. In a longer one, each value gets its own line."""
_BY_LINES = ("ignore",)
"""Settings that are read line by line, because a value may hold a space."""


def place_of_settings(file: str) -> str:
    """Return the name of the file, for a sentence."""
    return file or "the ini file"


def setting_line(name: str, value: object, file: str) -> str:
    """Return a setting of one value as a line: ``aquila_repeat = last``, or as an argument: ``repeat="last"``."""
    if file == AS_ARGUMENTS:
        return f"{name}={_write_literal(str(value))}"
    return f"aquila_{name} = {_quote(str(value)) if is_toml(file) else value}"


def placed_setting(name: str, value: object, file: str) -> str:
    """Return a setting of one value and the file for it, for a sentence."""
    return f"`{setting_line(name, value, file)}` in {place_of_settings(file)}"


def setting_lines(name: str, values: Sequence[str], file: str) -> list[str]:
    """Return the lines of a setting that may have several values."""
    if file == AS_ARGUMENTS:
        return [f"{name}=[{', '.join(map(_write_literal, values))}]"]
    line = setting_line(name, " ".join(values), file)
    # JSON paths and patterns may hold spaces, so these settings are read line by line.
    fill_lines = name in _BY_LINES or any(" " in value or value.startswith("/") for value in values)
    if len(values) == 1 or (len(line) < _WIDTH and not fill_lines):
        return [line]
    if not is_toml(file):
        return [f"aquila_{name} =", *(f"    {value}" for value in values)]
    quotes = "'''"  # everything up to the next three is the value, as it is
    if any(quotes in value for value in values):
        quotes, values = '"""', [_escape(value) for value in values]
    return [f"aquila_{name} = {quotes}", *(f"    {value}" for value in values), quotes]


def is_toml(file: str) -> bool:
    """Whether a file is one of TOML, in which values are quoted."""
    return file.endswith(".toml")


def _quote(text: str) -> str:
    if "\\" in text and "'" not in text:
        return f"'{text}'"  # as it is
    return f'"{_escape(text)}"'


def _write_literal(text: str) -> str:
    """Return a literal of Python, without escapes where that is possible: patterns have many backslashes."""
    is_raw = "\\" in text and '"' not in text and text.isprintable() and not text.endswith("\\")
    return f'r"{text}"' if is_raw else f'"{_escape(text)}"'


def _escape(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]  # the escapes of TOML are those of JSON, and more
