"""Completes command lines in a shell, through argcomplete: commands, options, and the names of cassettes."""

from __future__ import annotations

import argparse
import os
from typing import Any

from aquila.cli import COMMANDS, add_command_arguments
from aquila.optional import import_optional

_GROUPS = {"cassettes": "look after recordings", "dead-letters": "look after jobs that no worker could do"}


def complete_command_line() -> None:
    """Print the completions for the command line in the environment variables of the shell, and end the process.

    Raises ``MissingDependency`` without argcomplete.
    """
    argcomplete = import_optional("argcomplete", "cli", purpose="completing command lines")
    *_, words, _ = argcomplete.lexers.split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))
    first = int(os.environ["_ARGCOMPLETE"])  # the index of the first word after the command, which may be ``python -m``
    argcomplete.autocomplete(build_parser(words[first:]), always_complete_options=False)


def build_parser(words: list[str]) -> argparse.ArgumentParser:
    """Return the parser of all commands, with the arguments of only the command at the beginning of ``words``.

    Importing all commands for their arguments would make each completion slow.
    """
    root = argparse.ArgumentParser(prog="aquila", allow_abbrev=False)
    root.add_argument("--version", action="store_true", help="print the version")
    groups: dict[str, Any] = {"": root.add_subparsers()}
    for command in COMMANDS:
        group, _, name = command.name.rpartition(" ")
        if group not in groups:
            groups[group] = groups[""].add_parser(group, help=_GROUPS[group]).add_subparsers()
        parser = groups[group].add_parser(name, help=command.help, allow_abbrev=False)
        path = command.name.split()
        if words[: len(path)] == path:
            add_command_arguments(command, parser)
    return root
