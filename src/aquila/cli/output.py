"""Prints the output of a command, without secrets: tables and lines for people, or one JSON value for programs."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from aquila.cli.tables import Column, cut_text, lay_out_table
from aquila.errors import AquilaError
from aquila.recording.secrets import outgoing
from aquila.shell_words import shorten_paths

Cell: TypeAlias = str | int
"""A cell of a table. Numbers are written with separators and aligned to the right."""

# C0 and C1 controls, Unicode line ends, and marks that change the direction of text.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_WIDTH = 80
"""The width of a table, in characters, if stdout is not a terminal."""


class Output:
    """The output of a command. With ``as_json`` only :meth:`print_json` prints; without it only the others do."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:
            # Not restored: the command owns the process. stdout of a test need not have the method.
            reconfigure(errors="backslashreplace")  # characters that the terminal's encoding lacks are escaped

    @property
    def why_unasked(self) -> str:
        """Why the user cannot be asked anything; empty if that is possible."""
        if self.as_json:
            return "--json is given"
        return "" if sys.stdin.isatty() else "stdin is not a terminal"

    def print_json(self, value: Any) -> None:
        """Write a JSON value."""
        if self.as_json:
            # In another encoding, Python would escape missing characters by its own rules, and not by those of JSON.
            is_ascii = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
            print(json.dumps(outgoing.redact_outgoing_value(value), indent=2, ensure_ascii=is_ascii, default=str))

    def print_line(self, text: str = "") -> None:
        """Write a line. Control characters are escaped, so that a recording cannot control the terminal."""
        if not self.as_json:
            print(escape_controls(outgoing.redact_outgoing(text)))

    def print_text(self, text: str, indent: str = "  ") -> None:
        """Write a text of several lines, each after ``indent``."""
        for line in text.split("\n"):
            self.print_line(indent + line if line else "")

    def print_problem(self, text: str) -> None:
        """Write a problem, with paths as users type them. Lines after the first are indented."""
        first, *others = shorten_paths(text).split("\n")
        self.print_line(first)
        for line in others:
            self.print_line(f"  {line}".rstrip())

    def print_table(self, columns: Sequence[str | Column], rows: Sequence[Sequence[Cell]]) -> None:
        """Write a table as wide as the terminal, or 80 characters without one, unless there are no rows.

        Two kinds of columns are never cut: the first one, and those that are given as a title, except the last one.
        """
        if self.as_json or not rows:
            return
        last = len(columns) - 1
        known = [
            Column(column, "end" if 0 < at == last else "nowhere") if isinstance(column, str) else column
            for at, column in enumerate(columns)
        ]
        numeric = [all(isinstance(row[at], int) for row in rows) for at in range(len(columns))]
        cells = [[f"{cell:,}" if isinstance(cell, int) else _clean_cell(cell) for cell in row] for row in rows]
        for line in lay_out_table(known, cells, numeric, shutil.get_terminal_size((_WIDTH, 24)).columns):
            print(line)


def ask_user(question: str) -> bool:
    """Ask a question at the terminal, and return whether the answer is yes. A closed terminal (Ctrl-D) answers no.

    Secrets in the question are hidden, and control characters are escaped.
    """
    try:
        return input(f"{escape_controls(outgoing.redact_outgoing(question))} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()  # end the line of the question
        return False


@contextlib.contextmanager
def writing_file(path: str | Path) -> Iterator[None]:
    """Raise ``AquilaError``, with the path and the reason, if the block cannot write a file that the user has named."""
    try:
        yield
    except OSError as error:  # on a full disk it does not name the file
        raise AquilaError(f"{path}: cannot be written: {error.strerror or error}") from error


def print_error(text: str) -> None:
    """Write a message to stderr, without secrets, and with paths as users type them.

    Control characters are escaped, line breaks are kept.
    """
    text = shorten_paths(text)
    write_to_stderr("\n".join(map(escape_controls, outgoing.redact_outgoing(text).split("\n"))))


def write_to_stderr(text: str) -> None:
    """Write lines to stderr. An error is ignored, because the work of a command must not depend on its messages."""
    with contextlib.suppress(OSError, ValueError):  # a full disk, a reader that has gone, a closed file
        print(text, file=sys.stderr, flush=True)


def _clean_cell(text: str) -> str:
    # Line breaks become spaces: as escapes they would look like a part of the text.
    return escape_controls(" ".join(outgoing.redact_outgoing(text).split()))


def escape_controls(text: str) -> str:
    """Replace control characters and line breaks by escapes such as ``\\n``."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shorten_to_line(text: str, width: int) -> str:
    """Put the beginning of a text on one line of at most ``width`` characters."""
    return cut_text(" ".join(text.split()), width)


def shorten_path(path: str | Path) -> str:
    """Return a path relative to the current folder, if it is inside; else the whole path."""
    absolute = Path(path).absolute()
    return str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute)


def format_size(count: int) -> str:
    """Format a number of bytes for people: ``12.3 KB``."""
    if count < 1000:
        return f"{count} B"
    size = count / 1000
    for unit in ("KB", "MB"):
        if size < 999.95:
            return f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
