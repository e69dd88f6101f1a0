"""Moves the sound of conversations into files that can be played, in the folder of large bodies.

A conversation is read twice: first to measure each sound, because the header of a WAV file holds its length, and then
to write the sounds. So neither the sound nor a long conversation is ever held in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from aquila.cassettes.body_file import LARGE_STREAM, BodyFile, StoredChunks
from aquila.cassettes.model import RecordedChunk
from aquila.cassettes.storage.body_writer import BodyWriter, write_body
from aquila.cassettes.web_socket_frames.found_sounds import SoundFinder
from aquila.cassettes.web_socket_frames.sound_chunks import SoundChunks, SoundReference, put_reference, references_in
from aquila.cassettes.web_socket_frames.sound_formats import suffix_by_beginning, suffix_of

SMALL = 4 * 1024
"""The fewest bytes of a sound that gets a file. A smaller sound stays in its frames."""


class _Planned(NamedTuple):
    """A sound that gets a file: its number from 1, the header and suffix of the file, and the bytes of the sound."""

    number: int
    header: bytes
    size: int
    suffix: str


def move_sounds_out(
    chunks: Sequence[RecordedChunk], url: str, folder: Path, *, durable: bool = False
) -> SoundChunks | None:
    """Write the sound of a conversation to files in ``folder``. Return the chunks that refer to the files.

    Returns None if the conversation has no sound of that size, or if one of its frames already looks like a reference.
    ``url`` is the URL of its handshake. Raises ``OSError``, and ``CassetteCorrupt`` if the chunks lie in a file that is
    missing.
    """
    planned = _plan(chunks, url)
    if not planned:
        return None
    writers = _Writers(planned, folder, durable=durable)
    try:
        templates = _store_templates(writers.write(chunks, url), folder, durable=durable)
        return SoundChunks(templates, writers.finish())
    finally:
        writers.abandon()


def _plan(chunks: Iterable[RecordedChunk], url: str) -> dict[int, _Planned]:
    """Return the sounds that get files, by the numbers that a ``SoundFinder`` gives them."""
    finder = SoundFinder(url)
    sizes: list[int] = []
    for chunk in chunks:
        if references_in(chunk):  # a replay would take text in this frame for a reference
            return {}
        pieces = finder.find(chunk)
        sizes += [0] * (len(finder.sounds) - len(sizes))
        for piece in pieces:
            sizes[piece.sound] += len(piece.data)
    planned: dict[int, _Planned] = {}
    for sound, (size, (form, beginning)) in enumerate(zip(sizes, finder.sounds, strict=True)):
        if size >= SMALL:
            has_header = suffix_by_beginning(beginning) is not None
            header = b"" if has_header or form is None else form.header(size)
            planned[sound] = _Planned(len(planned) + 1, header, size, suffix_of(beginning, form))
    return planned


class _Writers:
    """Writes the sounds of one conversation. Call ``write``, then ``finish``, and at the end always ``abandon``."""

    def __init__(self, planned: dict[int, _Planned], folder: Path, *, durable: bool) -> None:
        self._planned = planned
        self._folder = folder
        self._durable = durable
        # By number. A sound moves from `_open` to `_finished` with its last byte, so that few files are open at once.
        self._open: dict[int, BodyWriter] = {}
        self._finished: dict[int, BodyFile] = {}

    def write(self, chunks: Iterable[RecordedChunk], url: str) -> Iterator[RecordedChunk]:
        """Write the sound, and yield the chunks with references in place of the sound."""
        finder = SoundFinder(url)  # gives the sounds the same numbers as the finder in `_plan`
        for chunk in chunks:
            template = chunk
            for piece in finder.find(chunk):
                if (plan := self._planned.get(piece.sound)) is not None:
                    start = self._write_piece(plan, piece.data)
                    reference = SoundReference(plan.number, start, len(piece.data), piece.url_safe)
                    template = put_reference(template, piece.text, reference)
            yield template

    def _write_piece(self, plan: _Planned, data: bytes) -> int:
        """Write a piece of a sound, and return the offset in the file at which it begins."""
        writer = self._open.get(plan.number)
        if writer is None:
            writer = self._open[plan.number] = BodyWriter(self._folder, durable=self._durable, suffix=plan.suffix)
            writer.write(plan.header)
        start = writer.size
        writer.write(data)
        if writer.size == len(plan.header) + plan.size:
            self._finished[plan.number] = self._open.pop(plan.number).finish()
        return start

    def finish(self) -> list[BodyFile]:
        """Return the files, in the order of their numbers."""
        return [self._finished[plan.number] for plan in self._planned.values()]

    def abandon(self) -> None:
        """Remove the files that were not finished."""
        with ExitStack() as left:
            for writer in self._open.values():
                left.callback(writer.abandon)


def _store_templates(
    templates: Iterator[RecordedChunk], folder: Path, *, durable: bool
) -> tuple[RecordedChunk, ...] | StoredChunks:
    """Return the chunks without their sound: in memory, or in a file if they have more than ``LARGE_STREAM`` bytes."""
    first: list[RecordedChunk] = []
    size = 0
    for chunk in templates:
        first.append(chunk)
        size += len(chunk.data)
        if size > LARGE_STREAM:
            break
    else:
        return tuple(first)
    sizes: list[int] = []
    times: list[int] = []

    def pieces() -> Iterator[bytes]:
        for chunks in (first, templates):
            for chunk in chunks:
                sizes.append(len(chunk.data))
                times.append(chunk.at)
                yield chunk.data

    file = write_body(folder, pieces(), durable=durable)
    return StoredChunks.from_sizes(file, sizes, times)
