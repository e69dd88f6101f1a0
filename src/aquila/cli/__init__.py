"""The ``aquila`` command. Each subcommand is one module and one row of ``COMMANDS``.

The modules of subcommands are in ``cassettes``, ``reviewing`` and ``queues``. ``serve`` and ``report`` are here, and so
are the modules that several subcommands share: ``arguments``, ``output``, ``tables``, ``progress``, ``project`` (finds
the cassettes of a project), ``completion`` for shells, and ``listening`` (the address on which a
server listens). ``comparing`` compares two versions of a cassette and shows the differences.

Begin with the table ``COMMANDS``. Imported by ``command``, the entry point, and by ``pytest_aquila``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Protocol, TextIO

from aquila.cli.output import Output, print_error
from aquila.errors import AquilaError
from aquila.lazy_imports import lazy_modules
from aquila.spelling import suggest_name

if TYPE_CHECKING:
    from aquila import other_variables
    from aquila.cli import completion
else:
    lazy_modules(globals(), "aquila: other_variables", "aquila.cli: completion")

FOUND, FAILED = 1, 2
"""Exit codes. FOUND: the command has found what its row in ``COMMANDS`` names. FAILED: it could not do its work."""


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand: its name, the module below this package that implements it, and one line of help.

    ``examples`` are command lines without ``aquila`` and the name. ``found`` says when it ends with ``FOUND``.
    """

    name: str
    module: str
    help: str
    examples: tuple[str, ...]
    found: str = ""


COMMANDS = (
    Command(
        "cassettes list",
        "cassettes.cassettes_list",
        "list the cassettes: how old they are, and what answered",
        ("", "tests/api", "'jobs/*' --json"),
    ),
    Command(
        "cassettes show",
        "cassettes.cassettes_show",
        "show what a cassette holds",
        ("jobs/summary", "jobs/summary -n 2"),
    ),
    Command(
        "cassettes diff",
        "cassettes.cassettes_diff",
        "compare two cassettes, request by request",
        ("jobs/summary jobs/summary.pending", "HEAD~3 jobs/summary", "main...HEAD --markdown comment.md"),
        found="they differ",
    ),
    Command(
        "cassettes stats",
        "cassettes.cassettes_stats",
        "sum up all cassettes: ages, models, tokens, statuses, sizes",
        ("", "tests/api --json"),
    ),
    Command(
        "cassettes convert",
        "cassettes.cassettes_convert",
        "turn cassettes into YAML or msgpack, also those of vcrpy and cassetter",
        ("'jobs/*' --to msgpack --replace", "tests/cassettes/test_old.yaml --to yaml --replace"),
    ),
    Command(
        "cassettes scan",
        "cassettes.cassettes_scan",
        "look for secrets; exit with 1 if there are any",
        ("", "README.md build.log"),
        found="there is a secret",
    ),
    Command(
        "cassettes accept",
        "cassettes.cassettes_accept",
        "store what failing tests and interrupted runs recorded",
        ("jobs/summary", "--dry-run"),
        found="something is pending, and stdin is not a terminal",
    ),
    Command(
        "cassettes review",
        "reviewing.cassettes_review",
        "review what waits beside cassettes, recording by recording",
        ("", "jobs/summary", "--list", "--accept jobs/summary:2 --reject jobs/title"),
        found="something is pending, with --list or without a terminal",
    ),
    Command(
        "cassettes prune",
        "cassettes.cassettes_prune",
        "remove files that nothing uses any more",
        ("--dry-run",),
    ),
    Command(
        "cassettes merge",
        "cassettes.cassettes_merge",
        "merge two branches' versions of a cassette, for git",
        ("base.yaml ours.yaml theirs.yaml cassettes/jobs/summary.yaml",),
        found="conflicts are left",
    ),
    Command(
        "cassettes mv",
        "cassettes.cassettes_mv",
        "move cassettes after a test, a module or a folder was renamed",
        ("tests/test_web.py::test_ask tests/test_web.py::test_asks", "tests/web tests/site --dry-run"),
    ),
    Command(
        "cassettes install-merge-driver",
        "cassettes.cassettes_install_merge_driver",
        "let git merge cassettes request by request, in this clone",
        ("",),
    ),
    Command(
        "cassettes drift",
        "cassettes.cassettes_drift",
        "list what no recording answers, by change, with what cures it",
        ("", "--full -- tests/api -k summary"),
        found="a request has drifted, or a test has nothing recorded",
    ),
    Command(
        "dead-letters list",
        "queues.dead_letters_list",
        "list the jobs and messages that no worker could do or read",
        ("--huey app.tasks:huey", "--huey app.tasks:huey --kind failed --json"),
    ),
    Command(
        "dead-letters show",
        "queues.dead_letters_show",
        "show one of them: why, when, its arguments and its traceback",
        ("--huey app.tasks:huey 8e0f3a4c-2b1d-4f6e-9c0a-1b2c3d4e5f60",),
    ),
    Command(
        "dead-letters retry",
        "queues.dead_letters_retry",
        "put them into the queue again",
        ("--huey app.tasks:huey 8e0f3a4c-2b1d-4f6e-9c0a-1b2c3d4e5f60", "--huey app.tasks:huey --all --kind unknown"),
        found="one of them could not be retried, or cannot be read here and was put back as it is",
    ),
    Command(
        "dead-letters drop",
        "queues.dead_letters_drop",
        "remove them for good",
        ("--huey app.tasks:huey 8e0f3a4c-2b1d-4f6e-9c0a-1b2c3d4e5f60", "--huey app.tasks:huey --all --kind failed"),
    ),
    Command(
        "jobs",
        "queues.jobs",
        "show the jobs of a Huey on a page, while they run",
        ("--huey app.tasks:huey", "--huey app.tasks:huey --actions --port 8000"),
    ),
    Command(
        "report",
        "report",
        "join the reports of several runs into one",
        ("shard-1.json shard-2.json --to run.html", "py311.json py313.json --to run.html --to run.json"),
    ),
    Command(
        "serve",
        "serve",
        "answer any program from cassettes, over HTTP",
        ("--cassette jobs/summary", "--record --cassette jobs/summary --upstream https://api.openai.com"),
    ),
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
    not be read or written; 130: interrupted by Ctrl-C; 141: the reader of the output has closed it.
    """
    _open_closed_streams()
    try:
        if "_ARGCOMPLETE" in os.environ and argv is None:  # a shell asks how a command line may go on
            completion.complete_command_line()
        code = _run_command_line(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except SystemExit as ended:  # argparse
        return ended.code if isinstance(ended.code, int) else FAILED
    except BrokenPipeError:  # the reader of our output has closed it (`| head`)
        return 128 + 13  # as a shell names a death by SIGPIPE, which Windows does not have
    except KeyboardInterrupt:
        return 128 + 2
    except AquilaError as error:
        print_error(f"aquila: {error}")
        return FAILED
    except OSError as error:
        name = error.filename or ("file" if _is_written(sys.stdout) else "standard output")
        print_error(f"aquila: {name}: {error.strerror or error}")
        return FAILED
    finally:
        _drop_unwritten_text()


def _drop_unwritten_text() -> None:
    """Drop what the standard streams cannot write. Python flushes them at exit, and would end with another code."""
    for stream in (sys.stdout, sys.stderr):
        if not _is_written(stream):
            with contextlib.suppress(OSError, ValueError):  # a stream in memory, or a closed one
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_written(stream: TextIO) -> bool:
    """Whether a stream has written all its text, or can do so now."""
    try:
        stream.flush()
    except (OSError, ValueError):
        return False
    return True


def _open_closed_streams() -> None:
    """Open the null device for each standard stream without which the process was started (``>&-``)."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Never closed: it lives as long as the process. The encoding lets it take any text under any locale.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8", errors="replace"))  # noqa: SIM115


def _run_command_line(words: list[str]) -> int:
    if words[:1] == ["--version"]:
        print(f"aquila {metadata.version('aquila-llm')}")
        return 0
    for count in range(1, min(len(words), _LONGEST) + 1):
        command = next((one for one in COMMANDS if one.name == " ".join(words[:count])), None)
        if command is not None:
            return _call_subcommand(command, words[count:])
    return _answer_without_command(words)


def _answer_without_command(words: list[str]) -> int:
    """Print the help of a group such as ``aquila cassettes``, or an error that suggests the nearest command."""
    is_group = bool(words) and any(one.name.startswith(f"{words[0]} ") for one in COMMANDS)
    group = words[0] if is_group else ""
    rest = words[1:] if is_group else words
    if not rest or rest[0] in ("-h", "--help"):
        print(describe_commands(group))
        return 0 if rest else FAILED
    known = {one.name.removeprefix(group).split()[0] for one in COMMANDS if one.name.startswith(group)}
    within = [f"'{one.name}'" for one in COMMANDS if not group and one.name.split()[-1] == rest[0]]
    hint = f"; did you mean {' or '.join(within)}?" if within else suggest_name(rest[0], known)
    print_error(f"aquila: unknown command {f'{group} {rest[0]}'.strip()!r}{hint}")
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


def _describe_use(command: Command) -> str:
    """Return what follows the options in the help of a command: examples and exit codes."""
    lines = ["examples:", *(f"  aquila {command.name} {example}".rstrip() for example in command.examples)]
    lines += ["", "exit codes:", "  0  done"]
    if command.found:
        lines.append(f"  {FOUND}  {command.found}")
    lines.append(f"  {FAILED}  a wrong argument, or a file that cannot be read or written")
    return "\n".join(lines)


def add_command_arguments(command: Command, parser: argparse.ArgumentParser) -> SubcommandModule:
    """Declare the arguments of a command, and return its module."""
    module: SubcommandModule = importlib.import_module(f"{__name__}.{command.module}")
    module.add_arguments(parser)
    return module


def _call_subcommand(command: Command, words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog=f"aquila {command.name}", formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    module = add_command_arguments(command, parser)
    parser.description, parser.epilog = module.__doc__, _describe_use(command)
    options = parser.parse_args(words)
    for sentence in other_variables.find_unknown_variables():
        print_error(f"aquila: warning: {sentence}")
    return module.run_command(options, Output(as_json=getattr(options, "json", False)))
