"""Shared by the commands about dead letters: opens the letters of a Huey, and chooses some of them."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from aquila.cli.queues import hueys
from aquila.errors import AquilaError, ConfigError, TaskError
from aquila.lazy_imports import lazy_modules
from aquila.optional import import_optional
from aquila.shell_words import join_words

if TYPE_CHECKING:
    from aquila.huey import error_texts, instrumenting
    from aquila.huey.delivery import burying, dead_letters
    from aquila.huey.delivery.dead_letters import DeadLetter, DeadLetters
else:
    lazy_modules(globals(), "aquila.huey: error_texts, instrumenting", "aquila.huey.delivery: burying, dead_letters")

KINDS = ("unreadable", "unknown", "failed", "lost")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of all commands about dead letters."""
    parser.add_argument(
        "--huey",
        required=True,
        metavar="MODULE:NAME",
        help="the Huey, such as app.tasks:huey; its module is imported, so name one that imports the tasks",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_choice(parser: argparse.ArgumentParser, verb: str) -> None:
    """Declare the arguments that choose letters. ``verb`` says in the help what the command does with them."""
    parser.add_argument("ids", nargs="*", metavar="ID", help=f"what to {verb}, by its id in the list")
    parser.add_argument("--all", action="store_true", help=f"{verb} all of them, or all of a --kind")
    parser.add_argument("--kind", choices=KINDS, help=f"with --all, {verb} those of this kind")


@contextlib.contextmanager
def open_letters(options: argparse.Namespace) -> Iterator[DeadLetters]:
    """Yield the dead letters of the Huey that ``--huey`` names.

    Raises ``ConfigError`` if there is no such Huey, and if its storage does not answer within the block.
    """
    import_optional("huey", "huey", purpose="aquila dead-letters")
    found = hueys.import_huey(options.huey)
    instrumenting.change_class(found)
    letters = dead_letters.dead_letters(found)
    try:
        yield letters
    except (AquilaError, BrokenPipeError):  # The second one is of our own output.
        raise
    except Exception as error:  # whatever the client of a storage raises
        reason = burying.redact_safely(error_texts.text_of(error))
        raise ConfigError(f"--huey {options.huey}: its storage does not answer: {reason}") from error


def choose_ids(options: argparse.Namespace, letters: DeadLetters) -> list[str]:
    """Return the ids that a command line chooses.

    Raises ``ConfigError`` unless it gives either ids or ``--all``, and ``TaskError`` for an id without a letter.
    """
    if bool(options.ids) == options.all or (options.kind and not options.all):
        raise ConfigError("give the ids of dead letters, or --all, perhaps with --kind")
    if options.all:
        return [letter.id for letter in letters if options.kind in (None, letter.kind)]
    ids = list(dict.fromkeys(options.ids))
    for id in ids:
        get_letter(options, letters, id)
    return ids


def get_letter(options: argparse.Namespace, letters: DeadLetters, id: str) -> DeadLetter:
    """Return the letter with an id. Raises ``TaskError`` if there is none."""
    letter = letters.get(id)
    if letter is None:
        listing = join_words(["aquila", "dead-letters", "list", "--huey", options.huey])
        raise TaskError(f"there is no dead letter {id!r}, perhaps no longer; all ids: {listing}")
    return letter
