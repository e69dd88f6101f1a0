"""Put dead letters into the queue again. A task that failed gets all its retries again.

A message that cannot be read here is put back unchanged, because a worker may be able to read it. The exit code is 1 if
there was such a message, or one that could not be retried, and otherwise 0.
"""

from __future__ import annotations

import argparse

from aquila.cli import FOUND
from aquila.cli.output import Output
from aquila.cli.queues import dead_letters
from aquila.errors import TaskError
from aquila.plurals import count_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    dead_letters.add_arguments(parser)
    dead_letters.add_choice(parser, "retry")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Put them back."""
    retried, refused, unreadable = [], [], []
    with dead_letters.open_letters(options) as letters:
        ids = dead_letters.choose_ids(options, letters)
        try:
            for id in ids:
                try:
                    letter = letters.retry(id)
                except TaskError as error:
                    refused.append(id)
                    output.print_line(f"not retried: {error}")
                    continue
                retried.append(id)
                if letters.read_task(letter) is None:
                    unreadable.append(id)
                    output.print_line(f"{id} cannot be read here, and was put back as it is")
        finally:  # Also where the storage stops answering.
            output.print_line(f"{count_of(len(retried), 'message')} put into the queue again")
            output.print_json({"retried": retried, "refused": refused, "unreadable": unreadable})
    return FOUND if unreadable or refused else 0
