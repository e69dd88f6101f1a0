"""Loads cassette files whole, replaces them atomically, and changes them under a lock."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shlex
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aquila.cassettes.codecs import BUILT_IN_SUFFIXES, cassette_suffixes, codec_for
from aquila.cassettes.codecs.yaml.tree import MAX_BYTES
from aquila.cassettes.model import Cassette
from aquila.cassettes.storage.compiled_copies import load_compiled_bytes
from aquila.errors import AquilaError, CassetteCorrupt, CassetteWriteError, reason_of
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    import logging
    import platform

    import filelock

    from aquila.cassettes.storage import large_bodies
else:
    lazy_modules(globals(), logging="logging", platform="platform", filelock="filelock")
    lazy_modules(globals(), large_bodies="aquila.cassettes.storage.large_bodies")

WORK_FOLDER = ".journal"
"""The folder below the cassette folder for journals and locks. It holds a ``.gitignore`` for itself."""

_LIMITED_SUFFIXES = (".yaml", ".yml")
_HALF_WRITTEN = re.compile(r"\.(?:.+\.[0-9a-f]{8}|[0-9a-f]{16})\.tmp")
_SAID_AFTER = 2.0
"""Seconds after which it is said that another process holds a lock, and after which a file without one was left."""

_OLD = 3600.0
_BODY_NAME = b"sha256-"
"""What the name of each large body begins with."""


class _LoadedCassettes:
    """The cassettes that were loaded last, because many tests share one.

    By folder, suffix and hash of the bytes, so that none is ever stale. For the whole process, and as many as their
    files have ``limit`` bytes together; the one that was loaded last stays whatever its size.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._entries: OrderedDict[tuple[object, ...], tuple[Cassette, int]] = OrderedDict()
        # Any thread may load; two that add at once would lose count of the size.
        self._lock = threading.Lock()

    def find(self, key: tuple[object, ...]) -> Cassette | None:
        """Return a cassette that was loaded before."""
        known = self._entries.get(key)
        return known[0] if known is not None else None

    def add(self, key: tuple[object, ...], cassette: Cassette, size: int) -> None:
        """Keep a cassette whose file has ``size`` bytes, and give up the oldest ones that do not fit beside it."""
        with self._lock:
            if key in self._entries:
                return
            self._entries[key] = cassette, size
            self._size += size
            while self._size > self._limit and len(self._entries) > 1:
                self._size -= self._entries.popitem(last=False)[1][1]


_loaded = _LoadedCassettes(limit=64 * 1024 * 1024)


def load_cassette(path: Path, *, copies_folder: Path | None = None) -> Cassette:
    """Return the cassette in a file. Raises ``FileNotFoundError`` or ``CassetteCorrupt``.

    A file whose bytes were loaded before is not parsed again. A copy that loads faster is kept for the next run in
    ``copies_folder``, if there is one.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CassetteCorrupt(f"{path}: cannot be read: {error.strerror}") from error
    digest = hashlib.blake2b(data, digest_size=16).digest()
    # Only a file that speaks of bodies in other files depends on where it lies.
    key = (path.suffix, digest, path.parent if _BODY_NAME in data else None)
    cassette = _loaded.find(key)
    if cassette is None:
        try:
            cassette = load_compiled_bytes(data, path, copies_folder, digest)
            if _BODY_NAME in data:
                cassette = _locate_bodies(cassette, path)
        except AquilaError:
            raise
        except Exception as error:  # a plugin's codec, or a mistake in ours
            raise CassetteCorrupt(f"{path}: cannot be read: {reason_of(error)}") from error
        _loaded.add(key, cassette, len(data))
    return cassette


def _locate_bodies(cassette: Cassette, path: Path) -> Cassette:
    return large_bodies.locate_bodies(cassette, large_bodies.bodies_folder(path))


def read_version(data: bytes, path: Path, *, source: str) -> Cassette:
    """Read the bytes of another version of the cassette ``path``, whose large bodies lie where those of ``path`` do.

    ``source`` is what messages call it. Raises ``CassetteCorrupt``.
    """
    return _locate_bodies(codec_for(path).loads(data, source=source), path)


def load_cassette_or_empty(path: Path, *, copies_folder: Path | None = None) -> Cassette:
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
) -> Cassette:
    """Change a cassette under its lock and return what is stored now.

    ``change`` gets the cassette as it is in the file (empty if there is none). A result without interactions removes
    the file. ``root`` is the cassette folder. ``tell`` is told what is waited for, besides the log. Raises
    ``CassetteWriteError``; the file is then as it was.
    """
    with _hold_cassette_lock(path, root, tell):
        before = load_cassette_or_empty(path)
        after = change(before)
        if after.interactions:
            if after != before or not path.exists():
                save_cassette(path, after)
        elif before.interactions:
            remove_cassette(path)
        return after


def save_cassette(path: Path, cassette: Cassette) -> None:
    """Write a cassette into a new file beside the old one, and replace that. Raises ``CassetteWriteError``.

    Large bodies are written first, into files of their own.
    """
    try:
        path = path.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        cassette = move_large_bodies_out(cassette, path)
        _replace_file(path, encode_cassette(path, cassette))
    except OSError as error:
        raise cassette_write_error(path, error) from error


def move_large_bodies_out(cassette: Cassette, path: Path) -> Cassette:
    """Write the large bodies of a cassette into files beside its own; return it with these in their place.

    ``path`` is the cassette's file. One in the format of a plugin keeps its bodies: it need not know such files. Raises
    ``CassetteWriteError``, and ``CassetteCorrupt`` for a body whose file is missing.
    """
    if path.suffix.lower() not in BUILT_IN_SUFFIXES:
        return cassette
    folder = large_bodies.bodies_folder(path.resolve())
    try:
        return large_bodies.move_large_bodies_out(cassette, folder)
    except OSError as error:
        raise cassette_write_error(folder, error) from error


def encode_cassette(path: Path, cassette: Cassette) -> bytes:
    """Return the content of a cassette's file.

    Raises ``CassetteWriteError`` for any failure of the codec, and for a content that could not be read again.
    """
    codec = codec_for(path)
    try:
        data = codec.dumps(cassette)
    except AquilaError:
        raise
    except Exception as error:
        raise CassetteWriteError(f"{path}: the cassette cannot be written: {reason_of(error)}") from error
    if len(data) > MAX_BYTES and path.suffix.lower() in _LIMITED_SUFFIXES:
        raise CassetteWriteError(
            f"{path}: the cassette would have {len(data):,} bytes, and a file in YAML may have {MAX_BYTES:,}. "
            f"{_advise_msgpack(path)}. Or give each test a cassette of its own"
        )
    return data


def _advise_msgpack(path: Path) -> str:
    """Say what to type so that what waits for a cassette that is too large for YAML is stored as msgpack."""
    if path.exists():
        return (
            "It is as it was, and what was recorded waits in the journal. Write the cassette as msgpack, which has no "
            f"limit, and take it over: aquila cassettes convert {shlex.quote(str(path))} --to msgpack --replace; "
            "aquila cassettes accept"
        )
    return (
        "Nothing was written, and what was recorded waits in the journal. Take it over as msgpack, which has no limit: "
        "aquila cassettes accept --to msgpack. The cassette is then used by its name without a suffix, or with .msgpack"
    )


def remove_cassette(path: Path) -> None:
    """Remove a cassette file. Raises ``CassetteWriteError``."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cassette_write_error(path, error) from error


def pending_path(path: Path) -> Path:
    """Return the file beside a cassette that keeps what a failing test recorded."""
    return path.with_name(f"{path.stem}.pending{path.suffix}")


def is_pending_file(path: Path) -> bool:
    """Say whether a file is the pending recording of a cassette."""
    return path.stem.endswith(".pending")


def find_cassette_files(root: Path) -> Iterator[Path]:
    """Yield every cassette file below a folder, sorted, without pending ones."""
    for path in sorted(root.rglob("*")):
        if is_cassette_name(path, root) and not path.is_dir():
            yield path


def is_cassette_name(path: Path, root: Path) -> bool:
    """Say whether a file below ``root`` with this path is a cassette, and no pending one."""
    inside = path.relative_to(root).parts
    return path.suffix in cassette_suffixes() and not is_pending_file(path) and WORK_FOLDER not in inside


def work_folder(root: Path) -> Path:
    """Return the folder of journals and locks, and make it if need be. Raises ``CassetteWriteError``."""
    folder = root / WORK_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        raise cassette_write_error(folder, error) from error
    return folder


def cassette_write_error(path: Path, error: OSError) -> CassetteWriteError:
    """Return the error for a path that could not be written."""
    reason = error.strerror or str(error)
    advice = "free the disk or make the folder writable, or set another folder with aquila_cassette_dir"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        advice = "close files or connections that the program keeps open, or allow more of them (ulimit -n 4096)"
    return CassetteWriteError(f"cannot record: {path}: {reason}. The cassette is as it was; {advice}.")


@contextlib.contextmanager
def _hold_cassette_lock(path: Path, root: Path, tell: Callable[[str], None] | None = None) -> Iterator[None]:
    name = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    lock = filelock.FileLock(work_folder(root) / f"{name}.lock")
    owner = Path(lock.lock_file).with_suffix(".owner")
    try:
        _acquire_lock(lock, path, owner, tell)
        owner.write_text(f"process {os.getpid()} on {platform.node()}")
    except OSError as error:
        raise cassette_write_error(Path(lock.lock_file), error) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            owner.unlink()
        lock.release()


def _acquire_lock(lock: Any, path: Path, owner: Path, tell: Callable[[str], None] | None) -> None:
    """Wait for the lock of a cassette. After a while, say who holds it: a process that hangs would be a riddle."""
    try:
        lock.acquire(timeout=_SAID_AFTER)
    except filelock.Timeout:
        try:
            holder = owner.read_text()
        except OSError:
            holder = "another process"
        sentence = f"{path}: waiting to write it; {holder} is writing it now (lock {lock.lock_file})"
        logging.getLogger("aquila").warning("%s", sentence)
        if tell is not None:
            tell(sentence)
        lock.acquire()


def remove_half_written_files(root: Path) -> None:
    """Remove the temporary files below a folder whose writers were killed. What is being written now is locked."""
    for path in root.rglob(".*.tmp"):
        if _HALF_WRITTEN.fullmatch(path.name):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _SAID_AFTER and _is_unlocked(path):
                    path.unlink()


def _is_unlocked(path: Path) -> bool:
    """Say whether nobody writes a file. Where files cannot be locked, an old one is taken for that."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        return filelock.lock_descriptor(descriptor, blocking=False)
    except OSError:
        return time.time() - path.stat().st_mtime > _OLD
    finally:
        os.close(descriptor)


def lock_half_written_file(descriptor: int) -> None:
    """Mark a temporary file as being written, for as long as its descriptor is open."""
    with contextlib.suppress(OSError):
        filelock.lock_descriptor(descriptor, blocking=False)


def _replace_file(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            lock_half_written_file(descriptor)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            os.chmod(temporary, path.stat().st_mode & 0o777)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Let the names in a folder survive a loss of power, where the system can do that."""
    with contextlib.suppress(OSError):  # Windows opens no folder, and some file systems sync none
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
