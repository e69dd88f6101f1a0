"""Finds the files of a cassette: Aquila's own, and files that only vcrpy can read.

Aquila reads vcrpy's YAML itself, whatever the name of the file. A file in another format is loaded with the program's
own serializer and persister. The recordings of a file answer into which Aquila does not write, because of its format or
its name; new ones go into a file of Aquila's beside it.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vcr.persisters.filesystem import FilesystemPersister

from aquila.cassettes.body_file import LFS_POINTER
from aquila.cassettes.codecs import BUILT_IN_SUFFIXES, READ_ONLY_SUFFIXES
from aquila.cassettes.codecs.msgpack import MAGIC
from aquila.cassettes.codecs.vcrpy import build_response
from aquila.cassettes.codecs.yaml.conflict_marks import find_conflict
from aquila.cassettes.codecs.yaml.tree import FormatError, is_ours
from aquila.cassettes.model import Cassette, Interaction, RecordedResponse
from aquila.cassettes.storage.cassette_files import load_cassette
from aquila.cassettes.storage.names_beside import is_name_of_cassette, name_beside
from aquila.cassettes.storage.regular_files import read_regular
from aquila.errors import CassetteCorrupt
from aquila.recording import runtime
from aquila.vcr.forms import from_vcr_response, request_from_vcr, with_text

AnswerChange = Callable[[Any], Any]
"""A function on answers in vcrpy's form; None instead of an answer leaves its recording out."""


class CassetteFiles(NamedTuple):
    """The files of a cassette.

    ``own`` is the file that is written, and ``shown`` the one that programs get as its path. ``load_further`` loads the
    recordings of the files ``further``, which answer after those of ``own``; None without such files. ``exists`` says
    that something was recorded before.
    """

    own: Path
    shown: Path
    load_further: Callable[[], Cassette] | None
    further: Sequence[Path]
    exists: bool


def find_files(
    path: Path, extra: Sequence[Path], *, serializer: Any, persister: Any, change_response: AnswerChange | None = None
) -> CassetteFiles:
    """Find the files of the cassette ``path``. The recordings of the files in ``extra`` answer after its own.

    ``serializer``, ``persister`` and ``change_response`` are those of the recorder, in vcrpy's form. Raises
    ``CassetteCorrupt`` if ``path`` is empty or a damaged cassette of Aquila.
    """
    load = functools.partial(
        _load_for_vcrpy, serializer=serializer, persister=persister, change_response=change_response
    )
    own, exists = path, os.path.exists(path)
    if not _can_record_into(path):
        own = path.with_name(name_beside(path))
    others = [each for each in dict.fromkeys(extra) if each not in (path, own)]
    if own is not path:
        if exists or _has_own_way(persister):  # the name may be too long for a file
            others.insert(0, path)
        exists = exists or own.exists() or (_has_own_way(persister) and bool(load(path).interactions))
    elif not exists and _has_own_way(persister):
        exists = bool(load(path).interactions)
        others.insert(0, path)
    # A program may ask whether the file with the name that it gave is there, to know whether this is a replay.
    shown = path if os.path.exists(path) else own
    return CassetteFiles(own, shown, functools.partial(_load_all, others, load) if others else None, others, exists)


def _can_record_into(path: Path) -> bool:
    """Whether Aquila writes files with this name, and can read the file if it exists."""
    if path.suffix not in set(BUILT_IN_SUFFIXES) - READ_ONLY_SUFFIXES or not is_name_of_cassette(path):
        return False
    return not os.path.exists(path) or _load(path) is not None


def _load(path: Path) -> Cassette | None:
    """Return the cassette in a file, or None if the file is one that perhaps vcrpy can read.

    Raises ``CassetteCorrupt`` for an empty file, a pointer of Git LFS, a git conflict, and a damaged cassette of
    Aquila: vcrpy cannot read these either.
    """
    if path.suffix.lower() not in BUILT_IN_SUFFIXES:
        return None
    try:
        return load_cassette(path, copies_folder=runtime.current_run().layers.copies_folder())
    except CassetteCorrupt:
        try:
            data = read_regular(path, follow=True)
        except OSError:  # such as a folder, which a persister may have a way to read
            return None
        if not data.strip() or is_ours(data) or MAGIC.encode() in data[:16] or data.startswith(LFS_POINTER):
            raise
        if find_conflict(data) is not None:
            raise
        return None


def _load_all(paths: Iterable[Path], load: Callable[[Path], Cassette]) -> Cassette:
    return Cassette.from_interactions(each for path in paths for each in load(path).interactions)


def _load_for_vcrpy(path: Path, *, serializer: Any, persister: Any, change_response: AnswerChange | None) -> Cassette:
    """Load a cassette, with vcrpy's persister if Aquila cannot read it. Without a file it is empty."""
    try:
        found = _load(path)
        if found is not None:
            return found
    except FileNotFoundError:
        if not _has_own_way(persister):
            return Cassette()
    try:
        requests, responses, *_ = persister.load_cassette(str(path), serializer=serializer)
    except FileNotFoundError:  # vcrpy's own error for a missing cassette is one
        return Cassette()
    rows = zip(requests, responses, strict=True)
    try:
        return Cassette.from_interactions(
            Interaction(request_from_vcr(request), _response_from_file(answer))
            for request, response in rows
            if (answer := with_text(response, change_response)) is not None
        )
    except FormatError as error:
        raise CassetteCorrupt(f"{path}: {error.what}") from None


def _response_from_file(answer: Mapping[str, Any]) -> RecordedResponse:
    """Return an answer of a file in the form in which a file that Aquila reads itself has it. Raises FormatError."""
    # The code of a program may have changed the body, so that its length is another than recorded.
    found = from_vcr_response(answer, RecordedResponse(0))
    return build_response(found.status, found.headers, found.body, ("response",))


def _has_own_way(persister: Any) -> bool:
    """Whether a persister loads cassettes in another way than vcrpy's own, so that they need not be files."""
    usual = FilesystemPersister.load_cassette
    loads = persister.load_cassette
    return getattr(loads, "__func__", loads) is not usual.__func__
