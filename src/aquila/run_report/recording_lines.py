"""Where recordings stand: the file of a cassette as a report names it, and the line where a recording begins."""

from __future__ import annotations

import os
from pathlib import Path

_MOST_READ = 64 * 1024 * 1024
_KNOWN = 64


class RecordingLines:
    """Finds the lines of recordings in YAML files. Keeps those of the files that were asked for last."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[tuple[str, int, int], list[int]] = {}

    def name_file(self, path: Path) -> str:
        """Return a file as it is shown: from the root folder, and with its whole path only elsewhere."""
        try:
            return path.absolute().relative_to(self._root.absolute()).as_posix()
        except ValueError:
            return path.name

    def find_line(self, path: Path, number: int) -> int | None:
        """Return the line, from 1, where the ``number``-th recording (from 1) begins; None where that is not known."""
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
                    # In a cassette nothing of a body begins a line.
                    lines = [at for at, line in enumerate(file, 1) if line.startswith(b"- ")]
                while len(self._known) >= _KNOWN:
                    del self._known[next(iter(self._known))]
                self._known[mark] = lines
        except OSError:
            return None
        return lines[number - 1] if 0 < number <= len(lines) else None
