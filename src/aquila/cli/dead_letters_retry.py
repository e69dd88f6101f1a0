"""Put dead letters into the queue again. A task that failed has its retries again.

A message that cannot be read here is put back as it is: perhaps a worker can read it.
"""

from __future__ import annotations

import argparse

from aquila.cli import FOUND, dead_letters
from aquila.cli.output import Output, format_count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    dead_letters.add_arguments(parser)
    dead_letters.add_choice(parser, "retry")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Put them back."""
    letters = dead_letters.open_letters(options)
    ids = dead_letters.choose_ids(options, letters)
    unreadable = []
    for id in ids:
        letter = letters.retry(id)
        if not letters.can_be_read(letter):
            unreadable.append(id)
            output.print_line(f"{id} cannot be read here, and was put back as it is")
    output.print_line(f"{format_count(len(ids), 'message')} put into the queue again")
    output.print_json({"retried": ids, "unreadable": unreadable})
    return FOUND if unreadable else 0
