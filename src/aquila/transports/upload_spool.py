"""Collects the body of a request that its client sends piece by piece: in memory, or in a file if it is large."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.body_file import LARGE, BodyFile
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.cassettes.storage import large_bodies
else:
    lazy_modules(globals(), large_bodies="aquila.cassettes.storage.large_bodies")


class _TemporaryFolder:
    """A folder that only this user can read, and that goes with this object."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="aquila-upload-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


class UploadSpool:
    """Takes in the pieces of one body."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._folder: _TemporaryFolder | None = None
        self._writer: large_bodies.BodyWriter | None = None

    def add(self, piece: bytes) -> None:
        """Take in a piece. Raises ``OSError``."""
        if self._writer is not None:
            self._writer.write(piece)
            return
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size > LARGE:
            self._folder = _TemporaryFolder()
            self._writer = large_bodies.BodyWriter(self._folder.path)
            for early in self._pieces:
                self._writer.write(early)
            self._pieces.clear()

    def finish(self) -> bytes | BodyFile:
        """Return the body, or its temporary file."""
        if self._writer is None:
            return b"".join(self._pieces)
        return replace(self._writer.finish(), owner=self._folder)
