"""Collects the body of a request that the client sends in pieces: in memory, or in a file if it is large."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Self

from aquila.cassettes.body_file import LARGE, PIECE, BodyFile
from aquila.cassettes.storage import body_writer
from aquila.errors import CassetteCorrupt
from aquila.temporary_folders import TemporaryFolder


class _Resemblance:
    """A recorded body that begins with the pieces of an upload so far."""

    def __init__(self, body: BodyFile, file: IO[bytes]) -> None:
        self.body = body
        self._file = file

    def goes_on_with(self, piece: bytes) -> bool:
        """Whether the recorded body goes on with these bytes."""
        return self._file.read(len(piece)) == piece

    def read_again(self, size: int) -> Iterator[bytes]:
        """Yield the first ``size`` bytes."""
        self._file.seek(0)
        while size:
            data = self._file.read(min(size, PIECE))
            if not data:
                raise OSError(errno.EIO, f"{self.body.path} became shorter while it was read")
            size -= len(data)
            yield data

    def close(self) -> None:
        self._file.close()


class UploadSpool:
    """Collects the pieces of one body. It is a context manager, which closes its files.

    ``find_recorded`` returns the large bodies that were recorded. A body that equals one of them is compared while it
    arrives, and not written to disk again, which would take most of the time.
    """

    def __init__(self, find_recorded: Callable[[], Iterable[BodyFile]] = tuple) -> None:
        self._find_recorded = find_recorded
        self._alike: list[_Resemblance] | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._folder: TemporaryFolder | None = None
        self._writer: body_writer.BodyWriter | None = None

    def add(self, piece: bytes) -> None:
        """Take in a piece. Raises ``OSError``."""
        if self._writer is not None:
            self._writer.write(piece)
        elif self._alike is not None:
            self._compare(piece)
        else:
            self._pieces.append(piece)
            if self._size + len(piece) > LARGE:
                piece, self._size = b"".join(self._pieces), 0
                self._pieces.clear()
                self._alike = _open_all(self._find_recorded())
                self._compare(piece)
        self._size += len(piece)

    def _compare(self, piece: bytes) -> None:
        """Compare the next bytes with the recorded bodies that are equal so far. If none is left, write all to disk."""
        alike = self._alike or []
        still = [one for one in alike if one.goes_on_with(piece)]
        if not still:
            self._write_all(alike, piece)
        for one in alike:
            if one not in still:
                one.close()
        self._alike = still

    def _write_all(self, alike: Sequence[_Resemblance], piece: bytes) -> body_writer.BodyWriter:
        """Write the bytes so far, which are the beginning of a recorded body, and then ``piece``."""
        self._folder = TemporaryFolder("upload")
        writer = self._writer = body_writer.BodyWriter(Path(self._folder.path))
        for data in alike[0].read_again(self._size) if alike else ():
            writer.write(data)
        writer.write(piece)
        return writer

    def finish(self) -> bytes | BodyFile:
        """Return the body, or its temporary file."""
        if self._writer is None and self._alike is None:
            return b"".join(self._pieces)
        alike = self._alike or []
        for one in alike:
            if one.body.size == self._size:
                return one.body
        writer = self._writer or self._write_all(alike, b"")
        return replace(writer.finish(), owner=self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files, also those of an upload that has broken off."""
        for one in self._alike or ():
            one.close()
        if self._writer is not None:
            self._writer.abandon()


def _open_all(bodies: Iterable[BodyFile]) -> list[_Resemblance]:
    found = []
    for body in bodies:
        with contextlib.suppress(CassetteCorrupt):  # reported where the recording is needed
            found.append(_Resemblance(body, body.open()))
    return found
