"""Writes the files of bodies that lie beside their cassettes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from aquila.cassettes.body_file import PREFIX, BodyFile
from aquila.cassettes.storage.file_replacement import (
    change_open_file,
    flush_to_disk,
    lock_half_written_file,
    sync_folder,
)


class BodyWriter:
    """Writes the file of a body piece by piece. ``folder`` is created if it does not exist. Raises ``OSError``.

    With ``durable`` a finished body survives a loss of power. ``suffix`` is the ending of the file's name. That name
    holds the hash of the whole content, so the file has a temporary name until ``finish``, and no reader sees a part of
    a body.
    """

    def __init__(self, folder: Path, *, durable: bool = False, suffix: str = "") -> None:
        self._durable = durable
        self._suffix = suffix
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._temporary = folder / f".{secrets.token_hex(8)}.tmp"
        self._file = self._temporary.open("xb", buffering=0)
        # The lock ends with this process. It tells a file that is being written from one that a killed run left.
        lock_half_written_file(self._file.fileno())
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append ``data`` to the body. Raises ``OSError``."""
        view = memoryview(data)
        while view:  # an unbuffered file may write less than it is given
            written = self._file.write(view)
            view = view[written:]
        self._hash.update(data)
        self.size += len(data)

    def finish(self) -> BodyFile:
        """Give the file its final name, and return the body. Raises ``OSError``."""
        body = BodyFile(f"{PREFIX}{self._hash.hexdigest()}{self._suffix}", self.size, self.folder)
        if self._durable:
            flush_to_disk(self._file.fileno())
        self._file.close()
        change_open_file(os.replace, self._temporary, body.path)
        if self._durable:
            sync_folder(self.folder)
        return body

    def abandon(self) -> None:
        """Remove what was written. May be called at any time, and twice."""
        with contextlib.suppress(OSError):  # a full disk may raise its error once more when the file is closed
            self._file.close()
        with contextlib.suppress(OSError):  # `find_half_written_files` finds a file that stays
            self._temporary.unlink()


def write_body(folder: Path, pieces: Iterable[bytes], *, durable: bool = False) -> BodyFile:
    """Write a body into a folder and return its file. Raises ``OSError``."""
    writer = BodyWriter(folder, durable=durable)
    try:
        for piece in pieces:
            writer.write(piece)
        return writer.finish()
    except BaseException:  # also KeyboardInterrupt: no half-written file must stay behind
        writer.abandon()
        raise
