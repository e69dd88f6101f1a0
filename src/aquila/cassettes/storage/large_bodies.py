"""Keeps large bodies in files of their own, in the folder ``@bodies`` beside the cassettes that refer to them.

Each file is named by the hash of its content. So a body is written once, however many cassettes of the folder share it,
and two processes that write the same body cannot harm each other. ``body_file`` reads these files.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.body_file import (
    LARGE,
    LARGE_STREAM,
    NAME,
    PREFIX,
    BodyFile,
    StoredChunks,
    StoredRequest,
    is_named_by,
    looks_like_event_stream,
)
from aquila.cassettes.codecs.event_streams.stream_writer import FoldedChunks, write_table
from aquila.cassettes.model import SWITCHED, Cassette, Interaction, RecordedChunk
from aquila.cassettes.storage.body_writer import write_body
from aquila.cassettes.storage.file_replacement import change_open_file, flush_to_disk, lock_half_written_file
from aquila.cassettes.storage.regular_files import find_files
from aquila.cassettes.web_socket_frames.sound_chunks import SoundChunks
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    from aquila.cassettes.storage import sound_files
else:
    lazy_modules(globals(), "aquila.cassettes.storage: sound_files")

BODIES_FOLDER = "@bodies"
"""The folder beside cassettes that holds their large bodies. The cassette of a test never has this name."""

_ATTRIBUTES = ".gitattributes"
_GIT_ATTRIBUTES = "# Written by Aquila: these are bytes as they came, and git must not change or show them.\n* binary\n"
_NAMED = re.compile(NAME.pattern.encode())


def bodies_folder(cassette: Path) -> Path:
    """Return the folder of the large bodies of a cassette file."""
    return cassette.parent / BODIES_FOLDER


def move_large_bodies_out(cassette: Cassette, folder: Path) -> Cassette:
    """Return a cassette whose large bodies all lie in ``folder``. Files that exist there are not written again.

    Raises ``OSError``, and ``CassetteCorrupt`` if the file of a body is missing.
    """
    return _change_interactions(cassette, lambda one: move_interaction_out(one, folder, durable=True))


def surely_has_large_bodies(interaction: Interaction) -> bool:
    """Say whether a body of an interaction lies in a file, or is too large for a cassette even as an event table.

    This is cheap, because no table is made. So some bodies of which it says False may prove too large later.
    """
    request, chunks = interaction.request, interaction.response.chunks
    if isinstance(request, StoredRequest) or isinstance(chunks, StoredChunks | SoundChunks):
        return True
    size = sum([len(chunk.data) for chunk in chunks])
    return len(request.body) > LARGE or size > LARGE_STREAM or (size > LARGE and not _may_be_folded(chunks, size))


def move_interaction_out(interaction: Interaction, folder: Path, *, durable: bool = False) -> Interaction:
    """Do for one interaction what ``move_large_bodies_out`` does for a cassette.

    A long event stream whose table is short stays in the cassette. It is returned with the table, so that the codec
    need not make the table again. With ``durable`` a file that is written survives a loss of power.
    """
    request, response = interaction.request, interaction.response
    if isinstance(request, StoredRequest):
        if request.file.folder != folder:
            _place_file(request.file, folder)
            request = request.within(folder)
    elif len(request.body) > LARGE:
        file = write_body(folder, [request.body], durable=durable)
        request = StoredRequest(request.method, request.url, request.headers, file)
    chunks = response.chunks
    if interaction.kind == "websocket" and response.status == SWITCHED:
        chunks = _move_conversation_out(chunks, request.url, folder, durable=durable)
    else:
        chunks = _move_chunks_out(chunks, folder, durable=durable)
    if request is interaction.request and chunks is response.chunks:
        return interaction
    if isinstance(request, StoredRequest) or isinstance(chunks, StoredChunks | SoundChunks):
        write_git_attributes(folder)
    return replace(interaction, request=request, response=replace(response, chunks=chunks))


def locate_bodies(cassette: Cassette, folder: Path) -> Cassette:
    """Return a cassette that was just read, with its large bodies in ``folder``."""

    def locate(interaction: Interaction) -> Interaction:
        request, response = interaction.request, interaction.response
        if isinstance(request, StoredRequest):
            request = request.within(folder)
        if isinstance(response.chunks, StoredChunks | SoundChunks):
            response = replace(response, chunks=response.chunks.within(folder))
        if request is interaction.request and response is interaction.response:
            return interaction
        return replace(interaction, request=request, response=response)

    return _change_interactions(cassette, locate)


def with_stored_bodies(recording: Interaction, path: Path) -> Interaction:
    """Return a recording with the present paths of its large bodies, which moved from the journal to the cassette."""
    request, chunks = recording.request, recording.response.chunks
    files = chunks.files() if isinstance(chunks, SoundChunks) else []
    files += [part.file for part in (request, chunks) if isinstance(part, StoredRequest | StoredChunks)]
    if all(file.path.exists() for file in files):
        return recording
    return locate_bodies(Cassette((recording,)), bodies_folder(path)).interactions[0]


def _change_interactions(cassette: Cassette, change: Callable[[Interaction], Interaction]) -> Cassette:
    changed = tuple(map(change, cassette.interactions))
    same = all(new is old for new, old in zip(changed, cassette.interactions, strict=True))
    return cassette if same else Cassette(changed)


def share_bodies(data: bytes, source: Path, target: Path) -> None:
    """Copy or link the large bodies of the cassette ``source`` to the folder of the cassette ``target``.

    ``data`` are the bytes of the cassette ``source``, which hold the names of the bodies. A body that is damaged, or a
    pointer of Git LFS, is shared as it is. Raises ``OSError``.
    """
    here, there = bodies_folder(source), bodies_folder(target)
    bodies = [here / name for name in sorted(names_in(data)) if (here / name).exists()]
    for path in bodies:
        _share_file(path, there)
    if bodies:
        write_git_attributes(there)


def check_bodies(cassette: Cassette) -> None:
    """Raise ``CassetteCorrupt`` if a large body of a cassette is missing or was changed."""
    for interaction in cassette.interactions:
        if isinstance(interaction.request, StoredRequest):
            interaction.request.file.check_intact()
        if isinstance(interaction.response.chunks, StoredChunks):
            interaction.response.chunks.file.check_intact()
        if isinstance(interaction.response.chunks, SoundChunks):
            interaction.response.chunks.check_intact()


def names_in(data: bytes) -> set[str]:
    """Return the names of body files that stand in the bytes of a cassette, a journal, or any other file."""
    return {name.decode() for name in _NAMED.findall(data)}


def find_unused_bodies(root: Path, leaving: Collection[Path] = ()) -> list[Path]:
    """Return the body files below ``root`` that no cassette or other file beside their folder names.

    Those beside a file that cannot be read are left out: it may name them. Files that are ``leaving`` do not count.
    """
    used: dict[Path, set[str] | None] = {}
    unused = []
    for path in find_files(root):
        if path.parent.name == BODIES_FOLDER and path.name.startswith(PREFIX):
            owners = path.parent.parent
            if owners not in used:
                used[owners] = _names_in_files_of(owners, leaving)
            names = used[owners]
            if names is not None and path.name not in names:
                unused.append(path)
    return unused


def _names_in_files_of(folder: Path, leaving: Collection[Path]) -> set[str] | None:
    """Return the names of body files in all files of a folder that stay; None if one of them cannot be read."""
    names: set[str] = set()
    try:
        for path in folder.iterdir():
            if path not in leaving and path.is_file():
                with contextlib.suppress(FileNotFoundError):  # another process has just removed it
                    names |= names_in(path.read_bytes())
    except OSError:
        return None
    return names


def write_git_attributes(folder: Path) -> None:
    """Tell git that the files of a folder are binary. Otherwise git may convert line ends, which changes the hash."""
    attributes = folder / _ATTRIBUTES
    if not attributes.exists():
        attributes.write_text(_GIT_ATTRIBUTES, newline="\n")


def remove_folder_without_bodies(folder: Path) -> None:
    """Remove a folder of large bodies if it is empty."""
    if all(path.name == _ATTRIBUTES for path in folder.iterdir()):
        (folder / _ATTRIBUTES).unlink(missing_ok=True)
        folder.rmdir()


def _may_be_folded(chunks: Sequence[RecordedChunk], size: int) -> bool:
    """Say whether a body of more than ``LARGE`` bytes may stay in its cassette as an event table."""
    return size <= LARGE_STREAM and looks_like_event_stream(chunks[0].data)


def _move_conversation_out(
    chunks: Sequence[RecordedChunk], url: str, folder: Path, *, durable: bool
) -> Sequence[RecordedChunk]:
    """Move the sound of a conversation into files that players can open. The rest is stored like any other body."""
    if isinstance(chunks, SoundChunks):
        for file in chunks.files():
            if file.folder != folder:
                _place_file(file, folder)
        return chunks.within(folder) if any(file.folder != folder for file in chunks.files()) else chunks
    is_here = isinstance(chunks, StoredChunks) and chunks.file.folder == folder
    sounding = None if is_here else sound_files.move_sounds_out(chunks, url, folder, durable=durable)
    if sounding is None:
        return _move_chunks_out(chunks, folder, durable=durable)
    return SoundChunks(_move_chunks_out(sounding.templates, folder, durable=durable), sounding.sounds)


def _move_chunks_out(chunks: Sequence[RecordedChunk], folder: Path, *, durable: bool) -> Sequence[RecordedChunk]:
    if isinstance(chunks, StoredChunks):
        if chunks.file.folder == folder:
            return chunks
        _place_file(chunks.file, folder)
        return chunks.within(folder)
    sizes = [len(chunk.data) for chunk in chunks]
    if sum(sizes) <= LARGE or isinstance(chunks, FoldedChunks):
        return chunks
    written = write_table(chunks) if _may_be_folded(chunks, sum(sizes)) else None
    if written is not None and len(written[0]) <= LARGE:
        return FoldedChunks(chunks, written)
    file = write_body(folder, [chunk.data for chunk in chunks], durable=durable)
    return StoredChunks.from_sizes(file, sizes, [chunk.at for chunk in chunks])


def _place_file(body: BodyFile, folder: Path) -> None:
    """Put a body file into ``folder`` as well. Raises ``OSError``, and ``CassetteCorrupt`` if the body is damaged."""
    body.check_intact()
    _share_file(body.path, folder)


def _share_file(body: Path, folder: Path) -> None:
    """Put a body file into ``folder`` as well, as a hard link if possible. A damaged file of its name there is
    replaced. Raises ``OSError``.
    """
    target = folder / body.name
    folder.mkdir(parents=True, exist_ok=True)
    if target.exists() and is_named_by(body.name, _hash_of(target)):
        return
    temporary = folder / f".{secrets.token_hex(8)}.tmp"
    try:
        try:
            os.link(body, temporary)
            # A link has the age of the body, so `remove_half_written_files` would take it for a file left behind.
            os.utime(temporary)
            file = temporary.open("rb+")
        except OSError:  # another file system, one without hard links, or a body that this user may only read
            temporary.unlink(missing_ok=True)
            shutil.copyfile(body, temporary)
            file = temporary.open("rb+")
        with file:
            lock_half_written_file(file.fileno())
            flush_to_disk(file.fileno())
        change_open_file(os.replace, temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
