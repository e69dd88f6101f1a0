"""Loads whole cassette files, and changes them under a lock. ``file_replacement`` replaces the files."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aquila import shell_words
from aquila.cassettes.body_file import LFS_POINTER
from aquila.cassettes.codecs import BUILT_IN_SUFFIXES, MAX_BYTES, cassette_suffixes, codec_for
from aquila.cassettes.model import Cassette
from aquila.cassettes.storage.compiled_copies import load_compiled_bytes
from aquila.cassettes.storage.names import WORK_FOLDER, is_script
from aquila.cassettes.storage.regular_files import find_files, read_regular
from aquila.errors import AquilaError, CassetteCorrupt, CassetteWriteError, reason_of
from aquila.fork_locks import held_at_fork
from aquila.lazy_imports import lazy_modules
from aquila.lazy_patterns import lazy_pattern

if TYPE_CHECKING:
    from aquila.cassettes.storage import cassette_lock, file_replacement, large_bodies, work_folder
else:
    lazy_modules(globals(), "aquila.cassettes.storage: cassette_lock, file_replacement, large_bodies, work_folder")

_VCRPY_JSON = lazy_pattern(rb'\s*\{\s*(?:"version"\s*:\s*\d+\s*,\s*)?"interactions"\s*:')
_LIMITED_SUFFIXES = (".yaml", ".yml")
_BODY_NAME = b"sha256-"
"""The beginning of the name of each large body. A cassette without these bytes has no large body."""


class _LoadedCassettes:
    """Keeps cassettes that are loaded again and again, because many tests share one.

    The key is the suffix, the hash of the bytes, and, if bodies lie in files beside the cassette, the folder. So no
    entry is ever stale. A cassette that was loaded only once is kept only while it is among the newest. If each test
    has a cassette of its own, no cassette is loaded again, and hundreds of them in memory would slow down each run of
    the garbage collector.

    ``limit`` is the largest sum of the sizes, in bytes, of the files of the cassettes that are kept. Beyond it the
    oldest are dropped; the newest is kept, whatever its size. The process has one object of this class, and nothing
    else clears it.
    """

    _NEWEST = 4
    """How many cassettes are kept that were loaded only once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        # By key: a cassette and the size of its file. `_shared` has the cassettes that were loaded more than once, and
        # `_single` the others. `_seen` has the hashes of all keys so far: integers, which the garbage collector skips.
        self._shared: dict[tuple[object, ...], tuple[Cassette, int]] = {}
        self._single: dict[tuple[object, ...], tuple[Cassette, int]] = {}
        self._seen: set[int] = set()
        # Any thread may load. Two threads in `add` at once would make `_size` wrong. `find` needs no lock: each of its
        # two lookups is atomic.
        self._lock = held_at_fork(threading.Lock())

    def find(self, key: tuple[object, ...]) -> Cassette | None:
        """Return a cassette that was loaded or saved before and is still kept, or None."""
        known = self._shared.get(key)
        if known is None and (known := self._single.get(key)) is not None:
            self.add(key, *known)
        return known[0] if known is not None else None

    def add(self, key: tuple[object, ...], cassette: Cassette, size: int) -> None:
        """Keep a cassette whose file has ``size`` bytes. Drop others beyond the limits."""
        with self._lock:
            if key in self._shared:
                return
            if self._single.pop(key, None) is None:
                self._size += size
            kept = self._shared if hash(key) in self._seen else self._single
            self._seen.add(hash(key))
            kept[key] = cassette, size
            self._drop_excess(newest=key)

    def _drop_excess(self, newest: tuple[object, ...]) -> None:
        while len(self._single) > self._NEWEST or self._size > self._limit:
            oldest = next((key for key in itertools.chain(self._single, self._shared) if key != newest), None)
            if oldest is None:
                break
            _, size = (self._single if oldest in self._single else self._shared).pop(oldest)
            self._size -= size


_loaded = _LoadedCassettes(limit=64 * 1024 * 1024)


def load_cassette(path: str | Path, *, copies_folder: Path | None = None) -> Cassette:
    """Return the cassette in a file. A file whose bytes were loaded before is not parsed again.

    ``copies_folder`` is the folder of copies that load faster (see ``compiled_copies``); None means no copies. Raises
    ``FileNotFoundError``, ``CassetteCorrupt`` for a file that cannot be read, and ``CassetteTooNew``.
    """
    file = os.fspath(path)  # as text: every replayed test calls this, and `Path` takes several times as long
    try:
        # Links are followed, because a project may keep its cassettes elsewhere. One byte more than the limit is read,
        # so that the parser sees that the text is too long and refuses it.
        limit = MAX_BYTES + 1 if file.lower().endswith(_LIMITED_SUFFIXES) else -1
        data = read_regular(file, most=limit, follow=True)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CassetteCorrupt(f"{file}: cannot be read: {error.strerror}") from error
    key = _loaded_key(data, file)
    cassette = _loaded.find(key)
    if cassette is None:
        try:
            if copies_folder is None:
                cassette = codec_for(Path(file)).loads(data, source=file)
            else:
                cassette = load_compiled_bytes(data, file, copies_folder, key[1])
            if key[2] is not None:
                cassette = _locate_bodies(cassette, Path(file))
        except AquilaError:
            if data.startswith(LFS_POINTER):
                raise CassetteCorrupt(
                    f"{file}: is a pointer of Git LFS, not the cassette. Get it with: git lfs pull"
                ) from None
            raise
        except Exception as error:  # a plugin's codec may raise anything, and so may a mistake in a codec of Aquila
            raise CassetteCorrupt(f"{file}: cannot be read: {reason_of(error)}") from error
        _loaded.add(key, cassette, len(data))
    return cassette


def _loaded_key(data: bytes, file: str) -> tuple[str, bytes, Path | None]:
    """Return the key of a cassette in ``_loaded``: the suffix, the hash of the bytes, and the folder or None."""
    digest = hashlib.sha256(data).digest()
    # The folder matters only for a cassette that refers to bodies in files beside it.
    return file.rpartition(".")[2], digest, Path(file).resolve().parent if _BODY_NAME in data else None


def _locate_bodies(cassette: Cassette, path: Path) -> Cassette:
    return large_bodies.locate_bodies(cassette, large_bodies.bodies_folder(path.resolve()))


def read_version(data: bytes, path: Path, *, source: str) -> Cassette:
    """Parse ``data``, another version of the cassette ``path``, such as one from git.

    Its large bodies are those beside ``path``. ``source`` is the name of the version in messages. Raises
    ``CassetteCorrupt`` and ``CassetteTooNew``.
    """
    return _locate_bodies(codec_for(path).loads(data, source=source), path)


def load_cassette_or_empty(path: str | Path, *, copies_folder: Path | None = None) -> Cassette:
    """Like ``load_cassette``, with an empty cassette for a file that does not exist."""
    try:
        return load_cassette(path, copies_folder=copies_folder)
    except FileNotFoundError:
        return Cassette()


def update_cassette(
    path: Path,
    change: Callable[[Cassette], Cassette],
    *,
    root: Path,
    tell: Callable[[str], None] | None = None,
    advise: Callable[[Path], str] | None = None,
) -> Cassette:
    """Change a cassette under its lock and return what is stored now.

    ``change`` gets the cassette in the file, or an empty one if there is no file, and returns the new cassette. If that
    has no interactions, the file is removed. ``root`` is the cassette folder. If another process holds the lock for
    long, ``tell`` is called with a sentence that says so; the log gets it, too. ``advise`` is as in
    ``encode_cassette``. Raises ``CassetteWriteError``; the file is then unchanged.
    """
    with cassette_lock.hold_cassette_lock(path, root, tell):
        return change_held_cassette(path, change, root=root, advise=advise)


def change_held_cassette(
    path: Path,
    change: Callable[[Cassette], Cassette],
    *,
    root: Path,
    advise: Callable[[Path], str] | None = None,
) -> Cassette:
    """Like ``update_cassette``, for a caller that already holds the lock of the cassette."""
    _refuse_what_leads_out(path, root)
    before = load_cassette_or_empty(path)
    after = change(before)
    if after.interactions:
        if after != before or not path.exists():
            save_cassette(path, after, advise=advise)
        elif after is not before:
            move_large_bodies_out(after, path)  # equal recordings may bring bodies whose files are missing or damaged
    elif before.interactions:
        remove_cassette(path)
    return after


def leads_out(path: Path, root: Path) -> bool:
    """Say whether a path, or a link on its way, leads out of a folder."""
    try:
        return not path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a link to itself: which of the two is raised depends on the version of Python
        return True


def can_be_cassette(path: Path, root: Path) -> bool:
    """Say whether a path is that of a cassette below the folder ``root``, or of a pending recording there."""
    return path.suffix in cassette_suffixes() and not is_script(path) and not leads_out(path, root)


def _refuse_what_leads_out(path: Path, root: Path) -> None:
    """Raise ``CassetteWriteError`` if a link would lead a recording out of the cassette folder."""
    folder_leads_out = leads_out(path.parent, root)
    for place in (path, large_bodies.bodies_folder(path)):  # both are in that folder, and are seldom links themselves
        if leads_out(place, root) if os.path.islink(place) else folder_leads_out:
            raise CassetteWriteError(
                f"cannot record: {place} leads out of the cassette folder {root}, over a link. Remove the link, or let "
                "aquila_cassette_dir name the folder where the cassettes are"
            )


def save_cassette(path: Path, cassette: Cassette, *, advise: Callable[[Path], str] | None = None) -> None:
    """Write a cassette to a new file beside the old one, and replace the old one. Raises ``CassetteWriteError``.

    Large bodies are written first, into files of their own, so that a cassette never refers to a missing body.
    ``advise`` is as in ``encode_cassette``.
    """
    try:
        path = path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        cassette = move_large_bodies_out(cassette, path)
        data = encode_cassette(path, cassette, advise=advise)
        file_replacement.replace_file(path, data)
    except OSError as error:
        raise work_folder.cassette_write_error(path, error) from error
    # The next load need not parse what was just written. Not for a codec of a plugin: it may read something else than
    # it has written.
    if path.suffix.lower() in BUILT_IN_SUFFIXES:
        _loaded.add(_loaded_key(data, str(path)), Cassette(cassette.interactions), len(data))


def move_large_bodies_out(cassette: Cassette, path: Path) -> Cassette:
    """Write the large bodies of a cassette to files beside ``path``, its file. Return the cassette that refers to them.

    A cassette in the format of a plugin keeps its bodies, because the plugin need not know such files. Raises
    ``CassetteWriteError``, and ``CassetteCorrupt`` for a body whose file is missing.
    """
    if path.suffix.lower() not in BUILT_IN_SUFFIXES:
        return cassette
    folder = large_bodies.bodies_folder(path.resolve())
    try:
        return large_bodies.move_large_bodies_out(cassette, folder)
    except OSError as error:
        raise work_folder.cassette_write_error(folder, error) from error


def encode_cassette(path: Path, cassette: Cassette, *, advise: Callable[[Path], str] | None = None) -> bytes:
    """Return the content of a cassette's file.

    Raises ``CassetteWriteError`` for any failure of the codec, and for a content that is too large to be read again. In
    the second case, ``advise`` is called with ``path`` and returns sentences for the message: where the recordings are,
    and what to type. By default they say that the recordings are in a journal.
    """
    codec = codec_for(path)
    try:
        data = codec.dumps(cassette)
    except AquilaError:
        raise
    except Exception as error:  # a codec of a plugin may raise anything, and the callers report only errors of Aquila
        raise CassetteWriteError(f"{path}: the cassette cannot be written: {reason_of(error)}") from error
    if len(data) > MAX_BYTES and path.suffix.lower() in _LIMITED_SUFFIXES:
        raise CassetteWriteError(
            f"{path}: the cassette would have {len(data):,} bytes, and a file in YAML may have {MAX_BYTES:,}. "
            f"{(advise or _advise_msgpack)(path)}. Or give each test a cassette of its own"
        )
    return data


def _advise_msgpack(path: Path) -> str:
    """Return how to store the recordings of a cassette as msgpack, because they are too large for YAML."""
    path = cassette_of_pending(path)
    if path.exists():
        return (
            "The file is unchanged; the new recordings are in the journal. Convert the cassette to msgpack, which has "
            "no limit, and store the recordings: aquila cassettes convert "
            f"{shell_words.quote_word(str(path))} --to msgpack --replace; aquila cassettes accept"
        )
    return (
        "Nothing was written, and the recordings are in the journal. Store them as msgpack, which has no limit: "
        "aquila cassettes accept --to msgpack. The cassette is then used by its name without a suffix, or with .msgpack"
    )


def remove_cassette(path: Path) -> None:
    """Remove a cassette file. Raises ``CassetteWriteError``."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise work_folder.cassette_write_error(path, error) from error


def pending_path(path: Path) -> Path:
    """Return the file beside a cassette that keeps what a failing test recorded."""
    return path.with_name(f"{path.stem}.pending{path.suffix}")


def cassette_of_pending(path: Path) -> Path:
    """Return the cassette that a pending file belongs to, in the form that exists; for another file, its own path."""
    if not is_pending_file(path):
        return path
    own = path.with_name(path.stem.removesuffix(".pending") + path.suffix)
    forms = [own, *(own.with_suffix(suffix) for suffix in (".yaml", ".msgpack"))]
    return next((form for form in forms if form.exists()), own)


def is_pending_file(path: Path) -> bool:
    """Say whether a file is the pending recording of a cassette."""
    return path.stem.endswith(".pending") and not _is_of_macos(path)


def _is_of_macos(path: Path) -> bool:
    """Say whether macOS wrote a file for attributes that the file system, such as exFAT, cannot store."""
    return path.name.startswith("._")


def find_cassette_files(root: Path) -> Iterator[Path]:
    """Return every cassette file below a folder, sorted, without pending recordings."""
    return (path for path in find_files(root) if is_cassette_name(path, root))


def is_cassette_name(path: Path, root: Path) -> bool:
    """Say whether a path below ``root`` is that of a cassette, and not of a pending recording or a script."""
    inside = path.relative_to(root).parts
    if is_script(path) or is_pending_file(path) or _is_of_macos(path):
        return False
    return WORK_FOLDER not in inside and (path.suffix in cassette_suffixes() or is_json_of_vcrpy(path))


def is_json_of_vcrpy(path: Path) -> bool:
    """Say whether a file begins like a cassette that vcrpy wrote as JSON. Beside cassettes there may be any JSON."""
    if path.suffix != ".json":
        return False
    try:
        return _VCRPY_JSON.match(read_regular(path, most=200, follow=True)) is not None
    except OSError:
        return False
