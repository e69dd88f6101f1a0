"""Bodies that lie in files of their own, and the objects that represent them in an interaction.

A body of many megabytes is neither held in memory nor written into a cassette. It lies in a file that is named by the
hash of its content, and is read piece by piece. The interaction then has `StoredChunks` in place of a tuple of chunks,
or a `StoredRequest` in place of a `RecordedRequest`, with the same interface.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from pathlib import Path
from typing import IO, TYPE_CHECKING, overload

from aquila.cassettes.codecs import HOW_TO_RECORD
from aquila.cassettes.model import Headers, Interaction, RecordedChunk, RecordedRequest
from aquila.cassettes.storage.regular_files import open_regular
from aquila.errors import CassetteCorrupt
from aquila.lazy_patterns import lazy_pattern
from aquila.shell_words import quote_word

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from aquila.quick_records import dataclass

LARGE = 256 * 1024
"""A body with more bytes than this lies in a file of its own."""

LARGE_STREAM = 4 * 1024 * 1024
"""The same limit for an event stream, higher because its table in the cassette is much shorter than the stream."""

_STREAM = rb"(?:data|event|id|retry|):"
PREFIX = "sha256-"
SUFFIXES = (".wav", ".mp3", ".ogg", ".flac", ".webm", ".raw")
"""The endings of files that hold sound, which let a player open them."""
NAME = lazy_pattern(rf"{PREFIX}[0-9a-f]{{64}}(?:{'|'.join(map(re.escape, SUFFIXES))})?")
"""The names of files with bodies. A name is checked before it becomes a path: a cassette may come from a stranger."""
PIECE = 256 * 1024
"""How many bytes are read from a file at a time."""

LFS_POINTER = b"version https://git-lfs.github.com/"
"""The beginning of the small file that Git LFS puts in the place of a file whose content is not fetched yet."""
_FOUND_INTACT: set[tuple[str, int, int]] = set()
"""Files whose content was found to have the hash in their name: path, size in bytes, time of change in nanoseconds.

A cache for the whole process, so that each file is hashed once. It is never cleared: a file that changes has another
time of change, and so another entry. Adding to a set is atomic, so threads need no lock.
"""


@dataclass(frozen=True, slots=True)
class BodyFile:
    """A body in a file of its own.

    ``name`` is ``sha256-`` with the hash of the content in hexadecimal, and one of ``SUFFIXES`` if the content is
    sound. ``size`` is the length of the content in bytes. ``folder`` is the folder of the file; None if it is not known
    yet. Two body files are equal if their contents are. ``owner`` is an object that deletes a temporary file when the
    object is collected; this reference keeps the file as long as anything refers to the body.
    """

    name: str
    size: int
    folder: Path | None = field(default=None, compare=False)
    owner: object = field(default=None, compare=False, repr=False)

    def __init__(self, name: str, size: int, folder: Path | None = None, owner: object = None) -> None:
        for field_name, value in (("name", name), ("size", size), ("folder", folder), ("owner", owner)):
            object.__setattr__(self, field_name, value)

    @property
    def path(self) -> Path:
        """The file."""
        return (self.folder or Path()) / self.name

    def within(self, folder: Path) -> BodyFile:
        """Return the same body in a file of another folder."""
        return BodyFile(self.name, self.size, folder)

    def open(self) -> IO[bytes]:
        """Open the file. Raises ``CassetteCorrupt`` if it is missing or has another length."""
        try:
            file = os.fdopen(open_regular(self.path, follow=True), "rb", buffering=0)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise self._error("is missing (was it committed with its cassette?)") from error
            raise self._error(f"cannot be read: {error.strerror}") from error
        if os.fstat(file.fileno()).st_size != self.size:
            with file:
                start = self._read_some(file, len(LFS_POINTER))
            if start == LFS_POINTER:
                raise CassetteCorrupt(f"{self.path}: is a pointer of Git LFS, not the body. Get it with: git lfs pull")
            raise self._error(f"does not have the {self.size:,} bytes that were recorded")
        return file

    def first_bytes(self, size: int) -> bytes:
        """Return the first ``size`` bytes of the content. Raises ``CassetteCorrupt`` like ``open``."""
        with self.open() as file:
            return self._read_some(file, size)

    def last_bytes(self, size: int) -> bytes:
        """Return the last ``size`` bytes of the content. Raises ``CassetteCorrupt`` like ``open``."""
        with self.open() as file:
            file.seek(max(0, self.size - size))
            return self._read_some(file, size)

    def pieces(self) -> Iterator[bytes]:
        """Yield the content in pieces of ``PIECE`` bytes.

        Raises ``CassetteCorrupt``: like ``open`` at the first piece, and before the last piece if the content does not
        have the hash in the file's name.
        """
        yield from self.cut_into(itertools.chain(itertools.repeat(PIECE, self.size // PIECE), (self.size % PIECE,)))

    def cut_into(self, sizes: Iterable[int]) -> Iterator[bytes]:
        """Yield the content in pieces of these sizes in bytes, whose sum is the size of the file.

        Raises ``CassetteCorrupt`` like ``pieces``.
        """
        with self.open() as file:
            changed = os.fstat(file.fileno())
            mark = (str(self.path), changed.st_size, changed.st_mtime_ns)
            check = None if mark in _FOUND_INTACT else hashlib.sha256()
            left, ahead, at = self.size, b"", 0
            for size in sizes:
                if size > len(ahead) - at:
                    more = self.read_exactly(file, min(left, max(PIECE, size)))
                    left -= len(more)
                    if check is not None:
                        check.update(more)
                        # Before the last piece is yielded, so that no caller takes a changed body for a complete one.
                        if not left:
                            self._compare_hash(check.hexdigest(), mark)
                    ahead, at = ahead[at:] + more if at < len(ahead) else more, 0
                whole = at == 0 and size == len(ahead)
                yield ahead if whole else ahead[at : at + size]
                at += size

    def read_exactly(self, file: IO[bytes], size: int) -> bytes:
        """Read exactly ``size`` bytes from the opened file. Raises ``CassetteCorrupt`` if they cannot be read."""
        # The file is unbuffered (see `open`), and one unbuffered read may return less than was asked for.
        data = self._read_some(file, size)
        while len(data) < size:
            more = self._read_some(file, size - len(data))
            if not more:
                raise self._error("became shorter while it was read")
            data += more
        return data

    def _read_some(self, file: IO[bytes], size: int) -> bytes:
        try:
            return file.read(size)
        except OSError as error:  # a broken disk, or a server that has gone away
            raise self._error(f"cannot be read: {error.strerror}") from error

    def _compare_hash(self, digest: str, mark: tuple[str, int, int]) -> None:
        if not is_named_by(self.name, digest):
            raise self._error("was changed: its content does not fit its name")
        _FOUND_INTACT.add(mark)

    def check_intact(self) -> None:
        """Raise ``CassetteCorrupt`` if the file is missing, or its content does not have the hash in its name."""
        for _ in self.pieces():
            pass

    def read(self) -> bytes:
        """Return the content as a whole. Raises ``CassetteCorrupt`` like ``pieces``."""
        return b"".join(self.pieces())

    def _error(self, what: str) -> CassetteCorrupt:
        return CassetteCorrupt(
            f"{self.path}: the body of a recording {what}. Restore it (for example: git checkout -- "
            f"{quote_word(str(self.path))}), or record again: {HOW_TO_RECORD}=all"
        )


class StoredChunks(Sequence[RecordedChunk]):
    """The chunks of a body that lies in a file.

    ``ends`` are the offsets in the body at which the chunks end. ``times`` are milliseconds since the request was sent.
    """

    __slots__ = ("_ends", "_times", "file")

    def __init__(self, file: BodyFile, ends: Iterable[int], times: Iterable[int]) -> None:
        self.file = file
        self._ends = array("Q", ends)
        self._times = array("Q", times)

    @classmethod
    def from_sizes(cls, file: BodyFile, sizes: Iterable[int], times: Iterable[int]) -> StoredChunks:
        """Build from the sizes of the chunks in bytes, and their times as for the class."""
        return cls(file, itertools.accumulate(sizes), times)

    def within(self, folder: Path) -> StoredChunks:
        """Return the same chunks of a file in another folder."""
        same = StoredChunks(self.file.within(folder), (), ())
        # The arrays are shared, not copied: they may have a million entries, and nothing changes them after __init__.
        same._ends, same._times = self._ends, self._times
        return same

    def sizes(self) -> list[int]:
        """Return the sizes of the chunks, in bytes."""
        return list(self._read_sizes())

    def _read_sizes(self) -> Iterator[int]:
        return (end - start for start, end in zip(itertools.chain((0,), self._ends), self._ends))  # noqa: B905 - one start too many

    def times(self) -> list[int]:
        """Return the times of the chunks, in milliseconds since the request."""
        return list(self._times)

    def check_present(self) -> None:
        """Raise ``CassetteCorrupt`` if the file is missing or has another length, without reading its content."""
        self.file.open().close()

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[RecordedChunk]:
        return map(RecordedChunk, self.file.cut_into(self._read_sizes()), self._times)

    @overload
    def __getitem__(self, index: int) -> RecordedChunk: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RecordedChunk]: ...
    def __getitem__(self, index: int | slice) -> RecordedChunk | Sequence[RecordedChunk]:
        places = range(len(self))[index]
        with self.file.open() as file:
            if isinstance(places, int):
                return self._read_chunks(file, places, places + 1)[0]
            if places.step == 1:
                return self._read_chunks(file, places.start, places.stop)
            return tuple([self._read_chunks(file, place, place + 1)[0] for place in places])

    def _read_chunks(self, file: IO[bytes], first: int, end: int) -> Sequence[RecordedChunk]:
        if first >= end:
            return ()
        cuts = [self._ends[first - 1] if first else 0, *self._ends[first:end]]
        file.seek(cuts[0])
        data = self.file.read_exactly(file, cuts[-1] - cuts[0])
        pieces = [data[start - cuts[0] : stop - cuts[0]] for start, stop in itertools.pairwise(cuts)]
        return tuple(map(RecordedChunk, pieces, self._times[first:end]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StoredChunks):
            return NotImplemented
        return (self.file, self._ends, self._times) == (other.file, other._ends, other._times)

    def __hash__(self) -> int:
        return hash((self.file, len(self._ends)))

    def __repr__(self) -> str:
        return f"<StoredChunks: {len(self)} of {self.file.size} bytes in {self.file.path}>"


class StoredRequest(RecordedRequest):
    """A request whose body lies in a file. ``body`` reads that file anew each time."""

    __slots__ = ("file",)

    file: BodyFile

    def __init__(self, method: str, url: str, headers: Headers, file: BodyFile) -> None:
        # The base is frozen, so its fields can be set in this way only. Its __init__ is not called: it would assign
        # `body`, which is a property here.
        for name, value in (("method", method), ("url", url), ("headers", headers), ("file", file)):
            object.__setattr__(self, name, value)

    @property
    def body(self) -> bytes:
        """The whole body. Raises ``CassetteCorrupt``."""
        return self.file.read()

    @property
    def size(self) -> int:
        """The length of the body in bytes, without reading its file."""
        return self.file.size

    def with_parts(self, url: str, headers: Headers) -> StoredRequest:
        """Return the request with another URL and other headers, and the same body."""
        return StoredRequest(self.method, url, headers, self.file)

    def within(self, folder: Path) -> StoredRequest:
        """Return the same request with its file in another folder."""
        return StoredRequest(self.method, self.url, self.headers, self.file.within(folder))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StoredRequest):
            return NotImplemented
        return (self.method, self.url, self.headers, self.file) == (
            *(other.method, other.url, other.headers),
            other.file,
        )

    def __hash__(self) -> int:
        return hash((self.method, self.url, self.headers, self.file))


def find_large_requests(interactions: Iterable[Interaction]) -> Iterable[BodyFile]:
    """Return the bodies of recorded requests that lie in files of their own."""
    requests = [interaction.request for interaction in interactions]
    return dict.fromkeys([request.file for request in requests if isinstance(request, StoredRequest)])


def looks_like_event_stream(body: bytes) -> bool:
    """Say whether a body, or its beginning, may be a stream of server-sent events."""
    return re.match(_STREAM, body) is not None


def is_named_by(name: str, digest: str) -> bool:
    """Say whether the name of a body file holds this SHA-256 ``digest``, which is in hexadecimal."""
    return name.removeprefix(PREFIX).partition(".")[0] == digest


def name_of_body(body: bytes) -> str:
    """Return the name of the file for a body."""
    return PREFIX + hashlib.sha256(body).hexdigest()
