"""The pending files beside cassettes: where they are, and what to type to accept them.

Apart from ``pending_recordings``, which reads them: every run checks whether there are any, and few runs have some.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from aquila.cassettes.storage import cassette_files
from aquila.cassettes.storage.names import candidate_paths, folder_of_cassette, name_of_file, name_on_this_system
from aquila.recording import runtime
from aquila.shell_words import quote_word


def find_pending_files(root: Path, cassette: str) -> list[Path]:
    """Return the pending files of a cassette, in any of its formats."""
    beside = map(cassette_files.pending_path, candidate_paths(root, cassette))
    return [path for path in beside if os.path.exists(path)]


def find_all_pending_files(cassettes: Iterable[tuple[Path, str]]) -> Iterator[tuple[Path, Path]]:
    """Yield the root folder and the path of each pending file of many cassettes.

    ``cassettes`` are their root folders and names. Each folder is listed once, and most have no such file.
    """
    # Known by the part of the name before the last slash: many cassettes lie in few folders.
    folders: dict[tuple[Path, str], bool] = {}
    for root, told in cassettes:
        name = name_on_this_system(told)
        folder = root, name.replace("\\", "/").rpartition("/")[0]
        if folder not in folders:
            folders[folder] = _may_hold_pending(folder_of_cassette(root, name))
        if folders[folder]:
            for path in find_pending_files(root, name):
                yield root, path


def _may_hold_pending(folder: str) -> bool:
    """Whether a folder has a file whose name looks pending, in any case of letters, or cannot be listed."""
    try:
        return any(".pending." in file.lower() for file in os.listdir(folder))
    except OSError:
        return True


def accept_command(pending: Path, root: Path, *, usual_root: Path | None = None, verb: str = "accept") -> str:
    """Return the command that accepts a pending file; with the ``verb`` ``review``, the one that shows it first.

    ``root`` is its cassette folder, and ``usual_root`` the one that the command uses without ``--dir``.
    """
    name = name_of_file(root, cassette_files.cassette_of_pending(pending))
    elsewhere = "" if usual_root in (None, root) else f" --dir {quote_word(str(shown_path(root)))}"
    return f"aquila cassettes {verb} {quote_word(name)}{elsewhere}"


def shown_path(path: Path) -> Path:
    """Return a path as it is shown: relative to the folder in which the user types commands, if it is in there."""
    return runtime.current_run().layers.shown_path(path)
