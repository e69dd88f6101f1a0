"""The ``aquila`` command. Each subcommand is one module and one row of ``COMMANDS``."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Protocol

from aquila.cli.output import Output
from aquila.config import suggest_name
from aquila.errors import AquilaError

FOUND, FAILED = 1, 2
"""Exit codes. FOUND: a secret, a difference or drift was found. FAILED: the command could not do its work."""


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand: its name, the module of this package that implements it, and one line of help."""

    name: str
    module: str
    help: str


COMMANDS = (
    Command("cassettes list", "cassettes_list", "list the cassettes with their sizes and ages"),
    Command("cassettes show", "cassettes_show", "show what a cassette holds"),
    Command("cassettes diff", "cassettes_diff", "compare two cassettes, request by request"),
    Command("cassettes stats", "cassettes_stats", "sum up all cassettes: models, tokens, statuses, sizes"),
    Command(
        "cassettes convert",
        "cassettes_convert",
        "turn cassettes into YAML or msgpack, also those of vcrpy and cassetter",
    ),
    Command("cassettes scan", "cassettes_scan", "look for secrets; exit with 1 if there are any"),
    Command("cassettes accept", "cassettes_accept", "store what failing tests and interrupted runs recorded"),
    Command("cassettes prune", "cassettes_prune", "remove files that nothing uses any more"),
    Command("cassettes merge", "cassettes_merge", "merge two branches' versions of a cassette, for git"),
    Command(
        "cassettes install-merge-driver",
        "cassettes_install_merge_driver",
        "let git merge cassettes request by request, in this clone",
    ),
    Command("cassettes drift", "cassettes_drift", "list the requests whose content no recording has"),
    Command("serve", "serve", "answer any program from cassettes, over HTTP"),
)


class SubcommandModule(Protocol):
    """The interface of a subcommand's module. Its docstring is the description in ``--help``."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    def run_command(self, options: argparse.Namespace, output: Output) -> int:
        """Run the subcommand and return the exit code. Raises ``AquilaError`` for a problem that the user can solve."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (by default that of the process) and return the exit code.

    0: done, nothing wrong; 1: something was found (secrets, differences); 2: a wrong argument, or a file that could
    not be read or written.
    """
    try:
        code = _run_command_line(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except SystemExit as ended:  # argparse
        return ended.code if isinstance(ended.code, int) else FAILED
    except BrokenPipeError:
        # The reader of our output has closed it (`| head`). Python flushes at exit and would report it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except KeyboardInterrupt:
        return 128 + 2
    except AquilaError as error:
        print(f"aquila: {error}", file=sys.stderr)
        return FAILED
    except OSError as error:
        print(f"aquila: {error.filename or 'file'}: {error.strerror or error}", file=sys.stderr)
        return FAILED


def _run_command_line(words: list[str]) -> int:
    if words[:1] == ["--version"]:
        print(f"aquila {metadata.version('pytest-aquila')}")
        return 0
    for count in range(1, min(len(words), _LONGEST) + 1):
        command = next((one for one in COMMANDS if one.name == " ".join(words[:count])), None)
        if command is not None:
            return _call_subcommand(command, words[count:])
    return _answer_without_command(words)


def _answer_without_command(words: list[str]) -> int:
    """Print help for a group such as ``aquila cassettes``, or name what is near to an unknown command."""
    is_group = bool(words) and any(one.name.startswith(f"{words[0]} ") for one in COMMANDS)
    group = words[0] if is_group else ""
    rest = words[1:] if is_group else words
    if not rest or rest[0] in ("-h", "--help"):
        print(describe_commands(group))
        return 0 if rest else FAILED
    known = {one.name.removeprefix(group).split()[0] for one in COMMANDS if one.name.startswith(group)}
    hint = suggest_name(rest[0], known)
    print(f"aquila: unknown command {f'{group} {rest[0]}'.strip()!r}{hint}", file=sys.stderr)
    return FAILED


_LONGEST = max(len(command.name.split()) for command in COMMANDS)


def describe_commands(group: str = "") -> str:
    """Describe the commands of ``group`` (all by default), one line each."""
    prefix = f"{group} " if group else ""
    rows = [(one.name, one.help) for one in COMMANDS if one.name.startswith(prefix)]
    width = max(len(name) for name, _ in rows)
    lines = [f"  aquila {name.ljust(width)}  {help}" for name, help in rows]
    head = f"usage: aquila {prefix}COMMAND [options]"
    return "\n".join([head, "", *lines, "", "aquila COMMAND --help describes one command."])


def _call_subcommand(command: Command, words: list[str]) -> int:
    module: SubcommandModule = importlib.import_module(f"{__name__}.{command.module}")
    parser = argparse.ArgumentParser(
        prog=f"aquila {command.name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    options = parser.parse_args(words)
    return module.run_command(options, Output(as_json=getattr(options, "json", False)))
