"""Finds the folders of a project that hold cassettes."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from aquila.cassettes.codecs import cassette_suffixes
from aquila.cassettes.storage.cassette_files import is_json_of_vcrpy
from aquila.cassettes.storage.names import WORK_FOLDER
from aquila.cli.output import print_error
from aquila.pytest_settings import SETTINGS_FILES, configured_folder

USUAL_NAMES = frozenset({"cassettes", "vcr_cassettes"})
"""The usual names of cassette folders."""
_SKIPPED = frozenset({"node_modules", "site-packages", "__pycache__", "build", "dist", "target", "vendor", "venv"})
"""Large folders with generated or foreign files, not searched. Neither are folders whose name begins with a dot."""
_MOST_VISITED = 20_000
"""The greatest number of folders that are searched, nearest first, so that a command ends soon in a home folder."""


def find_cassette_folders(root: Path, names: Collection[str]) -> list[Path]:
    """Return the folders below ``root`` with one of ``names`` that hold cassettes, sorted.

    Folders with Python modules are left out. Links are not followed. A project may contain others: the cassette folders
    that their settings name are returned too, whatever they are called. A folder within another one is left out.
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
                    f"aquila: looked for cassettes only in the first {_MOST_VISITED:,} folders of {root}; "
                    "name other folders with --dir"
                )
                return _without_inner_ones(found)
            inside = _read_folder(folder)
            if folder != root and any(entry.name == "pyvenv.cfg" for entry in inside):
                continue  # a virtual environment
            if folder != root and any(entry.name in SETTINGS_FILES for entry in inside):
                own = configured_folder(folder)
                if own is not None and holds_cassettes(own):
                    found.add(own)
            for entry in inside:
                if entry.is_dir(follow_symlinks=False) and entry.name not in _SKIPPED and entry.name[0] != ".":
                    inner = folder / entry.name
                    if entry.name in names and _is_without_modules(inner) and holds_cassettes(inner):
                        found.add(inner)
                    else:
                        below.append(inner)
        level = below
    return _without_inner_ones(found)


def _without_inner_ones(found: Collection[Path]) -> list[Path]:
    """Return the folders that are in no other of them, sorted."""
    return sorted(folder for folder in found if not any(parent in found for parent in folder.parents))


def _read_folder(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # no permission, or removed meanwhile
        return []


def _is_without_modules(folder: Path) -> bool:
    return not any(entry.name.endswith(".py") for entry in _read_folder(folder))


def holds_cassettes(folder: Path) -> bool:
    """Return whether a folder holds a cassette, a pending recording or journals, at any depth.

    A folder that cannot be read completely counts as one that does.
    """
    suffixes = cassette_suffixes()
    return any(
        WORK_FOLDER in folders or any(name.endswith(suffixes) or is_json_of_vcrpy(Path(within, name)) for name in files)
        for within, folders, files in os.walk(folder)
    ) or bool(find_closed_folders(folder))


def can_be_read(folder: Path) -> bool:
    """Return whether a folder exists and can be listed."""
    try:
        os.listdir(folder)
    except OSError:
        return False
    return True


def find_closed_folders(folder: Path) -> list[Path]:
    """Return those of ``folder`` and the folders below it that cannot be read, sorted."""
    closed: list[Path] = []
    for _ in os.walk(folder, onerror=lambda error: closed.append(Path(error.filename))):
        pass
    return sorted(folder for folder in closed if folder.exists())
