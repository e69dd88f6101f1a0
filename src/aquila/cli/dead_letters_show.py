"""Show a dead letter: when and why it became one, the arguments of its task, and the traceback. Secrets are left out.

A message that was pickled is not read, because reading a pickle runs code: only its size and its beginning are shown.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from aquila.cli import dead_letters
from aquila.cli.dead_letters_list import describe_letter
from aquila.cli.output import Output, format_size

if TYPE_CHECKING:
    from aquila.huey.delivery.dead_letters import DeadLetter, DeadLetters

_BEGINNING = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    dead_letters.add_arguments(parser)
    parser.add_argument("id", metavar="ID", help="which one, by its id in the list")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Print the letter."""
    letters = dead_letters.open_letters(options)
    letter = dead_letters.get_letter(letters, options.id)
    call = letters.read_call(letter)
    output.print_json({**describe_letter(letter), **_describe_call(call), "traceback": letter.details or None})
    rows = [("id", letter.id), ("when", f"{letter.at:%Y-%m-%d %H:%M:%S} UTC"), ("kind", letter.kind)]
    rows += [("task", letter.task_name or "not known"), ("reason", letter.reason)]
    for name, value in rows:
        output.print_line(f"{name:<10}{value}")
    _print_message(letter, letters, call, output)
    if letter.details:
        output.print_line()
        output.print_text(letter.details.rstrip())
    return 0


def _describe_call(call: tuple[Any, Any] | None) -> dict[str, Any]:
    return {"arguments": None} if call is None else {"arguments": {"args": list(call[0]), "kwargs": call[1]}}


def _print_message(letter: DeadLetter, letters: DeadLetters, call: tuple[Any, Any] | None, output: Output) -> None:
    output.print_line(f"{'message':<10}{format_size(len(letter.message))}")
    if call is None:
        if letter.message:
            output.print_line(f"{'begins':<10}{letter.message[:_BEGINNING]!r}")
        return
    for number, value in enumerate(call[0]):
        output.print_line(f"{f'args[{number}]':<10}{value!r}")
    for name, value in call[1].items():
        output.print_line(f"{name}={value!r}")
