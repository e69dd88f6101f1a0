"""Remove dead letters for good."""

from __future__ import annotations

import argparse

from aquila.cli.output import Output
from aquila.cli.queues import dead_letters
from aquila.plurals import count_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    dead_letters.add_arguments(parser)
    dead_letters.add_choice(parser, "drop")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Remove them."""
    with dead_letters.open_letters(options) as letters:
        dropped = [id for id in dead_letters.choose_ids(options, letters) if letters.drop(id)]
    output.print_line(f"{count_of(len(dropped), 'dead letter')} removed")
    output.print_json({"dropped": dropped})
    return 0
