"""List the dead letters of a queue, oldest first: messages that no worker could read or whose task it could not finish.

KIND is unreadable (damaged, or of another version, serializer or secret), unknown (the consumer has no such task: give
huey_consumer the module that imports the tasks), failed (no retry was left) or lost (three times its worker was
lost, or its outcome could not be stored).
"""

from __future__ import annotations

import argparse
import itertools
from typing import TYPE_CHECKING, Any

from aquila.cli.output import Output
from aquila.cli.queues import dead_letters
from aquila.cli.tables import Column
from aquila.plurals import count_of

if TYPE_CHECKING:
    from aquila.huey.delivery.dead_letters import DeadLetter

_COLUMNS = (
    Column("ID"),
    Column("WHEN (UTC)"),
    Column("KIND"),
    Column("TASK", "middle", 16),
    Column("REASON", "end", 20),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    dead_letters.add_arguments(parser)
    parser.add_argument("--kind", choices=dead_letters.KINDS, help="only those of this kind")
    parser.add_argument("--limit", "-n", type=int, default=100, metavar="N", help="at most so many (default: 100)")


def run_command(options: argparse.Namespace, output: Output) -> int:
    """Print the list."""
    with dead_letters.open_letters(options) as letters:
        chosen = (letter for letter in letters if options.kind in (None, letter.kind))
        found = list(itertools.islice(chosen, max(0, options.limit)))
        total = len(letters)
    output.print_table(
        _COLUMNS,
        [
            (letter.id, f"{letter.at:%Y-%m-%d %H:%M:%S}", letter.kind, letter.task_name or "", letter.reason)
            for letter in found
        ],
    )
    output.print_line(count_of(total, "dead letter") + (f", {len(found):,} shown" if len(found) < total else ""))
    output.print_json([describe_letter(letter) for letter in found])
    return 0


def describe_letter(letter: DeadLetter) -> dict[str, Any]:
    """Return a letter as a JSON value, without its message."""
    return {
        "id": letter.id,
        "at": letter.at.isoformat(),
        "kind": letter.kind,
        "task": letter.task_name,
        "task_id": letter.task_id,
        "reason": letter.reason,
        "bytes": len(letter.message),
    }
