"""Writes the files of bodies that lie beside their cassettes."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from aquila.cassettes.body_file import PREFIX, BodyFile
from aquila.cassettes.storage.cassette_files import lock_half_written_file, sync_folder


class BodyWriter:
    """Writes a body whose length is not known yet. ``folder`` is made if need be. Raises ``OSError``.

    With ``durable`` a finished body survives a loss of power. Until ``finish`` the file has a name of its own, so that
    nobody takes a part for the whole. ``suffix`` is what its name ends with.
    """

    def __init__(self, folder: Path, *, durable: bool = False, suffix: str = "") -> None:
        self._durable = durable
        self._suffix = suffix
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._temporary = folder / f".{secrets.token_hex(8)}.tmp"
        self._file = self._temporary.open("xb", buffering=0)
        lock_half_written_file(self._file.fileno())
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Add to the body."""
        view = memoryview(data)
        while view:
            written = self._file.write(view)
            view = view[written:]
        self._hash.update(data)
        self.size += len(data)

    def finish(self) -> BodyFile:
        """Give the file its name."""
        body = BodyFile(f"{PREFIX}{self._hash.hexdigest()}{self._suffix}", self.size, self.folder)
        if self._durable:
            os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, body.path)
        if self._durable:
            sync_folder(self.folder)
        return body

    def abandon(self) -> None:
        """Remove what was written. May be called at any time, and twice."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)


def write_body(folder: Path, pieces: Iterable[bytes], *, durable: bool = False) -> BodyFile:
    """Write a body into a folder and return its file. Raises ``OSError``."""
    writer = BodyWriter(folder, durable=durable)
    try:
        for piece in pieces:
            writer.write(piece)
        return writer.finish()
    except BaseException:
        writer.abandon()
        raise
