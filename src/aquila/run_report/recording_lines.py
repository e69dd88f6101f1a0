"""Names the file of a cassette for a report, and finds the line at which a recording begins."""

from __future__ import annotations

import os
from pathlib import Path

_MOST_READ = 64 * 1024 * 1024
_KNOWN = 64


class RecordingLines:
    """Finds the lines of recordings in YAML files.

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
