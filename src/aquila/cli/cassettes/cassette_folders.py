"""Find the folders of a project that hold cassettes."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path

from aquila.cassettes.codecs import cassette_suffixes
from aquila.cassettes.storage.names import WORK_FOLDER
from aquila.cli.output import print_error

USUAL_NAMES = frozenset({"cassettes", "vcr_cassettes"})
"""Names of the folders in which recorders keep cassettes."""
_PASSED_OVER = frozenset({"node_modules", "site-packages", "__pycache__", "build", "dist", "target", "vendor", "venv"})
"""Folders that are large and hold what others have made. Those with a dot before their name are passed over too."""
_MOST_VISITED = 20_000
"""Folders that are looked into, the nearest first, so that a command ends soon also in a home folder."""


def find_cassette_folders(
    root: Path, names: Collection[str], *, settings_files: Collection[str], configured: Callable[[Path], Path | None]
) -> list[Path]:
    """Return the folders below ``root`` that are called one of ``names`` and hold cassettes, sorted.

    A folder of Python modules is none. Links are not followed. A project may have others within it, with settings of
    their own: ``configured`` returns the cassette folder that they name, and is asked about each folder in which one of
    ``settings_files`` lies.
    """
    found: set[Path] = set()
    level = [root]
    visited = 0
    while level:
        below: list[Path] = []
        for folder in level:
            visited += 1
            if visited > _MOST_VISITED:
                print_error(
                    f"aquila: looked for cassettes in the first {_MOST_VISITED:,} folders of {root} alone; "
                    "name others with --dir"
                )
                return _without_inner_ones(found)
            inside = _read_folder(folder)
            if folder != root and any(entry.name == "pyvenv.cfg" for entry in inside):
                continue  # a virtual environment
            if folder != root and any(entry.name in settings_files for entry in inside):
                found.update(own for own in [configured(folder)] if own is not None and holds_cassettes(own))
            for entry in inside:
                if entry.is_dir(follow_symlinks=False) and entry.name not in _PASSED_OVER and entry.name[0] != ".":
                    inner = folder / entry.name
                    is_found = entry.name in names and _is_without_modules(inner) and holds_cassettes(inner)
                    (found.add if is_found else below.append)(inner)
        level = below
    return _without_inner_ones(found)


def _without_inner_ones(found: Collection[Path]) -> list[Path]:
    return sorted(folder for folder in found if not any(parent in found for parent in folder.parents))


def _read_folder(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder; nothing for one that cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # no permission, or removed meanwhile
        return []


def _is_without_modules(folder: Path) -> bool:
    return not any(entry.name.endswith(".py") for entry in _read_folder(folder))


def holds_cassettes(folder: Path) -> bool:
    """Say whether a folder has a cassette, a pending recording, or journals in it, at any depth.

    One that cannot be read may have.
    """
    suffixes = cassette_suffixes()
    return any(
        WORK_FOLDER in folders or any(name.endswith(suffixes) for name in files)
        for _, folders, files in os.walk(folder)
    ) or bool(find_closed_folders(folder))


def can_be_read(folder: Path) -> bool:
    """Say whether a folder is there and can be listed."""
    try:
        os.listdir(folder)
    except OSError:
        return False
    return True


def find_closed_folders(folder: Path) -> list[Path]:
    """Return the folders, of one and those below it, that cannot be read, sorted."""
    closed: list[Path] = []
    for _ in os.walk(folder, onerror=lambda error: closed.append(Path(error.filename))):
        pass
    return sorted(folder for folder in closed if folder.exists())
