"""Show a dead letter: the time and reason, the arguments of its task, and the traceback. Secrets are left out.

A message that was pickled is not read, because reading a pickle runs code: only its size and its beginning are shown.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from aquila.cli.output import Output, format_size
from aquila.cli.queues import dead_letters
from aquila.cli.queues.dead_letters_list import describe_letter
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.huey import error_texts
    from aquila.huey.delivery.dead_letters import DeadLetter
    from aquila.huey.live import redacting
else:
    lazy_modules(globals(), "aquila.huey: error_texts", "aquila.huey.live: redacting")

_BEGINNING = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    dead_letters.add_arguments(parser)
    parser.add_argument("id", metavar="ID", help="which one, by its id in the list")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Print the letter."""
    with dead_letters.open_letters(options) as letters:
        letter = dead_letters.get_letter(options, letters, options.id)
        call = letters.read_call(letter)
    if output.as_json:
        told = None if call is None else redacting.describe_values({"args": call[0], "kwargs": call[1]})
        output.print_json({**describe_letter(letter), "arguments": told, "traceback": letter.details or None})
        return 0
    rows = [("id", letter.id), ("when", f"{letter.at:%Y-%m-%d %H:%M:%S} UTC"), ("kind", letter.kind)]
    rows += [("task", letter.task_name or "not known"), ("reason", letter.reason)]
    for name, value in rows:
        output.print_line(f"{name:<10}{value}")
    _print_message(letter, call, output)
    if letter.details:
        output.print_line()
        output.print_text(letter.details.rstrip())
    return 0


def _print_message(letter: DeadLetter, call: tuple[Any, Any] | None, output: Output) -> None:
    output.print_line(f"{'message':<10}{format_size(len(letter.message))}")
    if call is None:
        if letter.message:
            # Cut after redaction, because a part of a key would not be recognized.
            begins = error_texts.redact_long_text(letter.message.decode("latin-1"), redacting.redact_text)[:_BEGINNING]
            output.print_line(f"{'begins':<10}{begins.encode('latin-1', 'replace')!r}")
        return
    for number, value in enumerate(call[0]):
        output.print_line(f"{f'args[{number}]':<10}{_write(value)}")
    for name, value in call[1].items():
        output.print_line(redacting.hide_named_values(f"{name}={_write(value)}"))


def _write(value: Any) -> str:
    """Return the ``repr`` of a value without secrets, or a substitute if the value is nested too deeply."""
    return redacting.hide_named_values(error_texts.write_safely(lambda: repr(value), sys.maxsize))
