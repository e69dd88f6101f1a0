"""Print the output of a command: tables and lines for people, or one JSON value for programs."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from rich import console
    from rich import table as rich_table
    from rich import text as rich_text
else:
    lazy_modules(globals(), console="rich.console", rich_table="rich.table", rich_text="rich.text")

Cell: TypeAlias = str | int
"""Numbers are written with separators and aligned to the right."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SHORTEST = 12


class Output:
    """The output of a command. With ``as_json`` only :meth:`print_json` prints; without it only the others do."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")  # characters that the terminal's encoding lacks are escaped

    def print_json(self, value: Any) -> None:
        """Write a JSON value."""
        if self.as_json:
            print(json.dumps(value, indent=2, ensure_ascii=False, default=str))

    def print_line(self, text: str = "") -> None:
        """Write a line. Control characters are escaped, so that a recording cannot change the terminal's state."""
        if not self.as_json:
            print(escape_controls(text))

    def print_text(self, text: str, indent: str = "  ") -> None:
        """Write a text of several lines, each after ``indent``."""
        for line in text.split("\n"):
            self.print_line(indent + line if line else "")

    def print_table(self, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Write a table, unless there are no rows. In a terminal the last column is cut to the terminal's width."""
        if self.as_json or not rows:
            return
        numeric = [all(isinstance(row[at], int) for row in rows) for at in range(len(columns))]
        cells = [[f"{cell:,}" if isinstance(cell, int) else escape_controls(cell) for cell in row] for row in rows]
        in_terminal = sys.stdout.isatty()
        if in_terminal and importlib.util.find_spec("rich") is not None:
            _print_with_rich(columns, cells, numeric)
            return
        if in_terminal:
            cells = _fit_to_width(columns, cells, shutil.get_terminal_size().columns)
        _print_plain(columns, cells, numeric)


def _print_plain(columns: Sequence[str], cells: list[list[str]], numeric: Sequence[bool]) -> None:
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in (columns, *cells):
        padded = [
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(line, widths, numeric, strict=True)
        ]
        print("  ".join(padded).rstrip())


def escape_controls(text: str) -> str:
    """Replace control characters and line breaks by escapes such as ``\\n``."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shorten_to_line(text: str, width: int) -> str:
    """Put the beginning of a text on one line of at most ``width`` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def format_size(count: int) -> str:
    """Format a number of bytes for people: ``12.3 KB``."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} KB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def format_count(number: int, noun: str) -> str:
    """Format a number with its noun: ``1 cassette``, ``2 cassettes``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _fit_to_width(columns: Sequence[str], cells: list[list[str]], width: int) -> list[list[str]]:
    """Cut the last column so that lines have at most ``width`` characters."""
    others = sum(max(len(line[at]) for line in (columns, *cells)) + 2 for at in range(len(columns) - 1))
    room = max(width - others, _SHORTEST)
    return [[*row[:-1], row[-1] if len(row[-1]) <= room else row[-1][: room - 1] + "…"] for row in cells]


def _print_with_rich(columns: Sequence[str], cells: list[list[str]], numeric: Sequence[bool]) -> None:
    table = rich_table.Table(box=None, pad_edge=False, header_style="bold")
    for at, (column, right) in enumerate(zip(columns, numeric, strict=True)):
        last = at == len(columns) - 1
        table.add_column(
            column, justify="right" if right else "left", no_wrap=True, overflow="ellipsis" if last else "fold"
        )
    for row in cells:
        table.add_row(*map(rich_text.Text, row))
    console.Console().print(table)
