"""Finds where recordings are stored: their numbers and lines in a cassette, and the files of large bodies."""

from __future__ import annotations

import os
from pathlib import Path

from aquila.cassettes.model import Interaction
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.errors import AquilaError
from aquila.recording.sessions.session import Session

_MOST_READ = 64 * 1024 * 1024
"""The greatest size in bytes of a cassette file in which lines are found."""

_KNOWN = 64
"""The greatest number of files whose lines are cached."""


class StoredPlaces:
    """Finds the numbers of the recordings of one scope, each once. It lives while the notes of the scope are read."""

    def __init__(self) -> None:
        self._held: dict[int, dict[int, int]] = {}
        self._stored: dict[Path, list[Interaction | None]] = {}

    def find_held(self, session: Session, interaction: Interaction) -> int | None:
        """Return the number, from 1, of a recording that a session holds; a faulted copy is found by its request."""
        numbers = self._held.get(id(session))
        if numbers is None:
            numbers = self._held[id(session)] = {}
            for number, each in enumerate(session.cassette.interactions, 1):
                numbers[id(each)] = number
                numbers.setdefault(id(each.request), number)
        return numbers.get(id(interaction)) or numbers.get(id(interaction.request))

    def find_stored(self, path: Path | None, interaction: Interaction) -> int | None:
        """Return the number, from 1, of an equal recording in a file, or None."""
        if path is None:
            return None
        if path not in self._stored:
            try:
                self._stored[path] = list(load_cassette(path).interactions) if path.exists() else []
            except (AquilaError, OSError):
                self._stored[path] = []
        stored = self._stored[path]
        for at, each in enumerate(stored):
            if each is not None and each.request == interaction.request and each.recorded == interaction.recorded:
                stored[at] = None
                return at + 1
        return None


class RecordingLines:
    """Names cassette files, and finds the lines at which recordings begin in them.

    It caches the lines of the latest files; a changed file is read again.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        # From path, size and time of change to the lines of the recordings. `find_line` removes the oldest entries.
        self._known: dict[tuple[str, int, int], list[int]] = {}

    def name_file(self, path: Path) -> str:
        """Return the name of a file: relative to the root folder, or its bare name if it is elsewhere."""
        try:
            return path.absolute().relative_to(self._root.absolute()).as_posix()
        except ValueError:  # the file is outside the root folder
            return path.name

    def find_line(self, path: Path, number: int) -> int | None:
        """Return the line, from 1, at which recording ``number``, from 1, begins; None if it is not known."""
        if path.suffix.lower() not in (".yaml", ".yml"):
            return None
        try:
            status = os.stat(path)
            mark = (str(path), status.st_size, status.st_mtime_ns)
            lines = self._known.get(mark)
            if lines is None:
                if status.st_size > _MOST_READ:
                    return None
                with path.open("rb") as file:
                    # Each recording is an item of a list at the left margin. Bodies are always indented.
                    lines = [at for at, line in enumerate(file, 1) if line.startswith(b"- ")]
                while len(self._known) >= _KNOWN:
                    del self._known[next(iter(self._known))]
                self._known[mark] = lines
        except OSError:
            return None
        return lines[number - 1] if 0 < number <= len(lines) else None
