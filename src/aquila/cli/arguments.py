"""Arguments that name cassettes and files, and their completion in a shell."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable
from typing import TypeAlias

from aquila.cassettes.storage.cassette_files import cassette_of_pending
from aquila.cli import project
from aquila.errors import AquilaError

Completer: TypeAlias = Callable[..., Iterable[str]]
"""A function that argcomplete calls with ``prefix``, ``parsed_args`` and other keyword arguments."""


def complete_with(action: argparse.Action, completer: Completer) -> None:
    """Let a shell complete the value of an argument by ``completer``."""
    action.completer = completer  # type: ignore[attr-defined]  # argcomplete reads this attribute


def complete_cassettes(prefix: str, parsed_args: argparse.Namespace, **_: object) -> Iterable[str]:
    """Return the names of cassettes that begin with ``prefix``, up to the next ``/``; if there is none, files."""
    return _complete_names(prefix, parsed_args) or complete_files(prefix)


def complete_cassettes_and_files(prefix: str, parsed_args: argparse.Namespace, **_: object) -> Iterable[str]:
    """Return the names of cassettes, and the files and folders, that begin with ``prefix``."""
    return dict.fromkeys([*_complete_names(prefix, parsed_args), *complete_files(prefix)])


def _complete_names(prefix: str, parsed_args: argparse.Namespace) -> list[str]:
    return _complete(prefix, parsed_args, lambda here: map(here.name_of, here.list_cassettes()))


def complete_pending(prefix: str, parsed_args: argparse.Namespace, **_: object) -> Iterable[str]:
    """Return the names of cassettes with a pending recording that begin with ``prefix``."""
    return _complete(
        prefix, parsed_args, lambda here: (here.name_of(cassette_of_pending(path)) for path in here.list_pending())
    )


def complete_files(prefix: str, **_: object) -> list[str]:
    """Return the files and folders that begin with ``prefix``. Folders end with ``/``."""
    folder, begin = os.path.split(prefix)
    try:
        with os.scandir(folder or ".") as entries:
            found = [
                entry for entry in entries if entry.name.startswith(begin or "") and (begin or entry.name[0] != ".")
            ]
            return sorted(os.path.join(folder, entry.name) + ("/" if entry.is_dir() else "") for entry in found)
    except OSError:
        return []


def _complete(
    prefix: str, parsed_args: argparse.Namespace, list_names: Callable[[project.Project], Iterable[str]]
) -> list[str]:
    try:
        with project.open_project(parsed_args) as here:
            names = [name for name in list_names(here) if name.startswith(prefix)]
    except (AquilaError, OSError):
        return []  # the command itself will report the error
    found = set()
    for name in names:
        head, slash, _ = name[len(prefix) :].partition("/")
        found.add(prefix + head + slash)
    return sorted(found)
