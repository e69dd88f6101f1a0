"""The chunks of a conversation whose sound lies in files that can be played, and the references to it in the frames.

Where a frame had sound in base64, a template has a reference: the number of a file, from 1, and which of its bytes the
text encodes. With the references filled in, a frame is byte by byte what came over the wire.

    data: {"type":"response.output_audio.delta","delta":"sound 1 from 44, 4800 bytes"}

In a binary frame the reference is the whole of it.
"""

from __future__ import annotations

import base64
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO, NamedTuple, overload

from aquila.cassettes.body_file import BodyFile, StoredChunks
from aquila.cassettes.model import RecordedChunk
from aquila.errors import CassetteCorrupt

_REFERENCE = re.compile(rb"sound ([1-9][0-9]{0,5}) from (0|[1-9][0-9]{0,14}), ([1-9][0-9]{0,14}) bytes(, url-safe)?")
_QUOTED = re.compile(rb'"(?:%b)"' % _REFERENCE.pattern)
_MOST_OPEN = 8
"""The most files that a reader keeps open: a process may open few, and a conversation may have hundreds of sounds."""

_BINARY = (b"event: received-binary\ndata: ", b"event: sent-binary\ndata: ")


class SoundReference(NamedTuple):
    """Which sound stands in a frame: ``size`` bytes from offset ``start`` of file ``number``, from 1.

    ``url_safe`` says that the frame has them in the URL-safe alphabet of base64.
    """

    number: int
    start: int
    size: int
    url_safe: bool = False

    def __str__(self) -> str:
        return f"sound {self.number} from {self.start}, {self.size} bytes" + ", url-safe" * self.url_safe


class SoundChunks(Sequence[RecordedChunk]):
    """Chunks whose sound lies in ``sounds``. ``templates`` are the same chunks with references in its place."""

    __slots__ = ("sounds", "templates")

    def __init__(self, templates: Sequence[RecordedChunk], sounds: Sequence[BodyFile]) -> None:
        self.templates = templates
        self.sounds = tuple(sounds)

    def within(self, folder: Path) -> SoundChunks:
        """Return the same chunks with their files in another folder."""
        templates = self.templates
        return SoundChunks(
            templates.within(folder) if isinstance(templates, StoredChunks) else templates,
            [sound.within(folder) for sound in self.sounds],
        )

    def files(self) -> list[BodyFile]:
        """Return all files that the chunks need."""
        return [*self.sounds, *([self.templates.file] if isinstance(self.templates, StoredChunks) else [])]

    def check_intact(self) -> None:
        """Raise ``CassetteCorrupt`` if a file is missing, or is not what it was."""
        for file in self.files():
            file.check_intact()

    def check_references(self) -> None:
        """Raise ``ValueError`` if a chunk refers to sound that is in no file. Chunks that lie in a file are skipped."""
        if not isinstance(self.templates, StoredChunks):
            for chunk in self.templates:
                for reference in references_in(chunk):
                    self._check_reference(reference)

    def _check_reference(self, reference: SoundReference) -> None:
        if reference.number > len(self.sounds):
            raise ValueError(f"there is no sound {reference.number}")
        if reference.start + reference.size > self.sounds[reference.number - 1].size:
            raise ValueError(f"the file of sound {reference.number} is too short")

    @property
    def size(self) -> int:
        """About how many bytes the chunks have."""
        templates = self.templates
        said = templates.file.size if isinstance(templates, StoredChunks) else sum(len(one.data) for one in templates)
        return said + sum(sound.size for sound in self.sounds) * 4 // 3

    def __len__(self) -> int:
        return len(self.templates)

    def __iter__(self) -> Iterator[RecordedChunk]:
        for sound in self.sounds:
            sound.check_intact()
        with ExitStack() as opened:
            read = self._opened_by(opened)
            for chunk in self.templates:
                yield fill_in(chunk, read)

    @overload
    def __getitem__(self, index: int) -> RecordedChunk: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[RecordedChunk]: ...
    def __getitem__(self, index: int | slice) -> RecordedChunk | Sequence[RecordedChunk]:
        with ExitStack() as opened:
            read = self._opened_by(opened)
            if isinstance(index, int):
                return fill_in(self.templates[index], read)
            return tuple([fill_in(chunk, read) for chunk in self.templates[index]])

    def _opened_by(self, opened: ExitStack) -> Callable[[SoundReference], bytes]:
        # The open files, the least recently read first. They are closed when `opened` ends, also after an error.
        files: OrderedDict[int, IO[bytes]] = OrderedDict()
        opened.callback(lambda: [file.close() for file in files.values()])

        def read(reference: SoundReference) -> bytes:
            try:
                self._check_reference(reference)
            except ValueError as error:
                raise CassetteCorrupt(f"a conversation refers to sound that it does not have: {error}") from None
            sound = self.sounds[reference.number - 1]
            if reference.number not in files:
                if len(files) >= _MOST_OPEN:
                    files.popitem(last=False)[1].close()
                files[reference.number] = sound.open()
            files.move_to_end(reference.number)
            files[reference.number].seek(reference.start)
            return sound.read_exactly(files[reference.number], reference.size)

        return read

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SoundChunks):
            return NotImplemented
        if isinstance(self.templates, StoredChunks) or isinstance(other.templates, StoredChunks):
            return (self.sounds, self.templates) == (other.sounds, other.templates)
        return (self.sounds, tuple(self.templates)) == (other.sounds, tuple(other.templates))

    def __hash__(self) -> int:
        return hash((self.sounds, len(self.templates)))

    def __repr__(self) -> str:
        return f"<SoundChunks: {len(self)}, with sound in {len(self.sounds)} files>"


def fill_in(chunk: RecordedChunk, read: Callable[[SoundReference], bytes]) -> RecordedChunk:
    """Return a chunk with the sound in place of the references. ``read`` gives the bytes of one."""
    head = _head_of_binary(chunk)
    if head is not None:
        found = _REFERENCE.fullmatch(_content_of_binary(chunk, head))
        if found is None:
            return chunk
        return replace(chunk, data=b"%b%b\n\n" % (head, base64.b64encode(read(_reference_of(found)))))
    if b'"sound ' not in chunk.data:
        return chunk

    def text_of(found: re.Match[bytes]) -> bytes:
        reference = _reference_of(found)
        encode = base64.urlsafe_b64encode if reference.url_safe else base64.b64encode
        return b'"%b"' % encode(read(reference))

    return replace(chunk, data=_QUOTED.sub(text_of, chunk.data))


def references_in(chunk: RecordedChunk) -> list[SoundReference]:
    """Return the references in a chunk. A text that only looks like a reference is returned, too."""
    head = _head_of_binary(chunk)
    if head is not None:
        found = _REFERENCE.fullmatch(_content_of_binary(chunk, head))
        return [] if found is None else [_reference_of(found)]
    return [_reference_of(found) for found in _QUOTED.finditer(chunk.data)] if b'"sound ' in chunk.data else []


def put_reference(chunk: RecordedChunk, text: str, reference: SoundReference) -> RecordedChunk:
    """Put a reference where a chunk has a text in base64, or, if that is empty, in place of a whole binary frame."""
    head = _head_of_binary(chunk)
    if head is not None:
        return replace(chunk, data=b"%b%b\n\n" % (head, base64.b64encode(str(reference).encode())))
    return replace(chunk, data=chunk.data.replace(b'"%b"' % text.encode(), b'"%b"' % str(reference).encode(), 1))


def is_reference(data: bytes) -> bool:
    """Say whether the content of a binary frame is a reference."""
    return _REFERENCE.fullmatch(data) is not None


def _reference_of(found: re.Match[bytes]) -> SoundReference:
    number, start, size, url_safe = found.groups()
    return SoundReference(int(number), int(start), int(size), url_safe is not None)


def _head_of_binary(chunk: RecordedChunk) -> bytes | None:
    return next((head for head in _BINARY if chunk.data.startswith(head)), None)


def _content_of_binary(chunk: RecordedChunk, head: bytes) -> bytes:
    encoded = chunk.data[len(head) : -2]
    if len(encoded) > 120:  # longer than any reference
        return b""
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:
        return b""
