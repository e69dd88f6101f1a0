"""Writes each finished interaction of a recording to disk, before its caller continues.

A scope that records has one journal for each process, and for each interpreter in a process:
``<scope>.<process>.journal``. A process holds a lock on its journal as long as it lives, so a journal without a lock
belongs to a process that has ended. The owner of the scope merges the journals at the end of the scope. The journals of
a killed run are merged by the next pytest run that records, or by ``aquila cassettes accept``; see
``recording.storing.interrupted_runs.recover_journals``.

A process may outlive the scope, for example a worker of a pool that several tests share. Its journal then stays, and a
file beside it says how much of it was merged.

Large bodies are not in the journal but in the folder ``<scope>.<process>.bodies`` beside it. The merge links them to
their cassettes, and the folder is removed with its journal.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import shutil
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.model import Interaction
from aquila.cassettes.storage.body_writer import BodyWriter
from aquila.cassettes.storage.file_replacement import change_open_file, flush_to_disk, sync_folder
from aquila.cassettes.storage.journal_entries import (
    JournalEntry,
    end_of_frames,
    pack_entry,
    split_frames,
    unpack_entry,
)
from aquila.cassettes.storage.large_bodies import move_interaction_out
from aquila.cassettes.storage.names import WORK_FOLDER
from aquila.cassettes.storage.regular_files import BINARY, open_regular, write_new_file
from aquila.cassettes.storage.scope_ids import checked_scope_id
from aquila.cassettes.storage.work_folder import (
    HAS_NO_LOCKS,
    cannot_lock_error,
    cassette_write_error,
    work_folder,
)
from aquila.errors import CassetteWriteError
from aquila.fork_locks import renewed_in_child
from aquila.lazy_imports import lazy_modules
from aquila.process_marks import process_mark

if TYPE_CHECKING:
    import filelock
else:
    lazy_modules(globals(), "filelock")

DAMAGED = ".damaged"
"""The suffix of a file beside a journal that keeps the bytes of the journal that cannot be read."""
_MERGED = ".merged"
"""The suffix of a file beside a journal whose process outlived a merge. The file says how many bytes were merged."""
_NAME = re.compile(r"[0-9a-f]{16}\.[0-9]{1,10}-[0-9a-f]{16}\.journal")
_LOCKED_BYTE = b"\0"
"""The first byte of a journal. It holds no data: on Windows, no other process can read the byte that is locked."""
_TO_WRITE = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | BINARY
_MOST_ATTEMPTS = 20
"""How often a journal, or its folder, is opened again after another run interfered."""


class Journal:
    """The journal that this process writes for one scope.

    The object owns the descriptor of the file, and with it the file lock, until ``close`` or ``remove_file``.
    Thread-safe. In a forked child the same object opens another file, for the child's process id.
    """

    def __init__(self, root: Path, scope: str, *, durable: bool = False) -> None:
        """``root`` is the cassette folder. With ``durable`` what is written survives a loss of power."""
        self._root = root
        self._durable = durable
        self._scope = checked_scope_id(scope)
        # Guards the fields below, and keeps the entries of two threads apart. It is re-entrant, because the garbage
        # collector may end and store an answer in a thread that holds the lock.
        self._lock = renewed_in_child(threading.RLock())
        self._process: int | None = None  # the process that opened the file; None while it is closed
        self._descriptor = -1
        self._path: Path | None = None

    @property
    def path(self) -> Path | None:
        """The file, once it was opened. In a forked child that has not written, it is the file of the parent."""
        return self._path

    def open(self) -> None:
        """Create the file now, so that a folder that cannot be written raises before a request costs money.

        Raises ``CassetteWriteError``.
        """
        with self._lock:
            self._open_in_this_process()

    def append_entry(self, entry: JournalEntry) -> None:
        """Write an entry. Raises ``CassetteWriteError``."""
        with self._lock:
            self._open_in_this_process()
            frame = pack_entry(entry)
            path = self._path or self._root
            try:
                written = os.write(self._descriptor, frame)
                # On a full disk, a part of the frame may be written. It is removed, so that the next frame can be read.
                if written < len(frame):
                    os.truncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if self._durable:
                    flush_to_disk(self._descriptor)
            except OSError as error:
                raise cassette_write_error(path, error) from error

    def open_body(self) -> BodyWriter:
        """Return a writer for a large body of a later entry. Raises ``CassetteWriteError``."""
        folder = self._open_bodies_folder()
        try:
            return BodyWriter(folder, durable=self._durable)
        except OSError as error:
            raise cassette_write_error(folder, error) from error

    def move_bodies_out(self, interaction: Interaction) -> Interaction:
        """Write the large bodies of an interaction beside the journal. Return the interaction that refers to them.

        Raises ``CassetteWriteError``.
        """
        folder = self._open_bodies_folder()
        try:
            return move_interaction_out(interaction, folder, durable=self._durable)
        except OSError as error:
            raise cassette_write_error(folder, error) from error

    def _open_bodies_folder(self) -> Path:
        with self._lock:
            self._open_in_this_process()
            return bodies_folder_of(self._path or self._root)

    def close(self) -> None:
        """Close the file. It stays on disk. Raises ``CassetteWriteError``."""
        with self._lock:
            descriptor, self._descriptor, self._process = self._descriptor, -1, None
            try:
                if descriptor >= 0:
                    os.close(descriptor)
            except OSError as error:  # NFS may report a full disk only here
                raise cassette_write_error(self._path or self._root, error) from error

    def remove_file(self) -> None:
        """Remove the file, after its entries were stored, and close it. Raises ``CassetteWriteError``."""
        with self._lock:
            descriptor, self._descriptor, self._process = self._descriptor, -1, None
            if descriptor >= 0 and self._path is not None:
                _remove_file(self._path, descriptor)

    def _open_in_this_process(self) -> None:
        process = os.getpid()
        if self._process == process:
            return
        # A forked child keeps its copy of the parent's descriptor open on purpose, because the file lock belongs to
        # both. As long as the child lives, the parent's journal counts as in use, so no run merges a scope that still
        # records.
        try:
            for attempt in itertools.count():
                path = work_folder(self._root) / f"{self._scope}.{process_mark()}.journal"
                try:
                    descriptor = _open_locked(path)
                    break
                except FileNotFoundError:  # another run has just removed the folder, because it was empty
                    if attempt >= _MOST_ATTEMPTS:
                        raise
            if self._durable:
                sync_folder(path.parent)
                sync_folder(self._root)
        except OSError as error:
            raise cassette_write_error(path, error) from error
        self._descriptor, self._process, self._path = descriptor, process, path


def bodies_folder_of(journal: Path) -> Path:
    """Return the folder of the large bodies of a journal."""
    return journal.with_suffix(".bodies")


def find_journals_of(root: Path, scope: str) -> list[Path]:
    """Return the journals that all processes of a scope have written."""
    scope = checked_scope_id(scope)
    return [path for path in _files_named_like_journals(root) if path.name.startswith(scope) and _NAME.match(path.name)]


def read_entries(path: Path) -> Iterator[JournalEntry]:
    """Yield the whole entries of a journal that were not merged before, without damaged and incomplete ones.

    Raises ``CassetteCorrupt`` for an entry that another version wrote, and ``OSError``.
    """
    bodies = bodies_folder_of(path)
    for payload in split_frames(_read_frames(path))[0]:
        yield unpack_entry(payload, path, bodies)


def keep_damaged_entries(path: Path) -> Path | None:
    """Write the damaged bytes of a journal to a file beside it, and return that file; None if nothing is damaged.

    A last entry that a process may be writing at this moment does not count as damaged. Raises ``OSError``.
    """
    data = _read_frames(path)
    damaged = split_frames(data)[1]
    if not damaged:
        return None
    # The data is read once more, because the process may have written the rest and ended after the first reading.
    if damaged == [data[end_of_frames(data) :]] and not (_is_unused(path) and _read_frames(path) == data):
        return None
    beside = path.with_suffix(DAMAGED)
    write_new_file(beside, b"".join(damaged))
    return beside


def is_damaged(path: Path) -> bool:
    """Whether a journal holds bytes that are not part of a whole entry. Raises ``OSError``."""
    return bool(split_frames(_read_frames(path))[1])


def _read_frames(path: Path) -> bytes:
    try:
        with open(open_regular(path), "rb", buffering=0) as file:
            file.seek(_begin_of_frames(path))
            return file.read()
    except FileNotFoundError:
        return b""


def _begin_of_frames(path: Path) -> int:
    """Return the offset of the first entry that was not merged before."""
    try:
        with open(open_regular(path.with_suffix(_MERGED)), encoding="ascii") as file:
            return max(len(_LOCKED_BYTE), int(file.read(20)))
    except (OSError, ValueError):  # nearly always, because there is no such file
        return len(_LOCKED_BYTE)


def size_of(path: Path) -> int:
    """Return how many bytes a journal has, also of an entry that is being written; 0 if there is no journal."""
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def discard_journal(path: Path, *, merged: int | None = None) -> None:
    """Remove a journal after its entries were stored.

    ``merged`` is the number of bytes that ``size_of`` returned before the journal was read. The journal stays if its
    process is alive, or has written more since. The whole entries in the first ``merged`` bytes are then not read
    again. Raises ``CassetteWriteError`` for a file that cannot be removed.
    """
    descriptor = _open_unused(path)
    if descriptor is not None and (merged is None or os.fstat(descriptor).st_size <= merged):
        _remove_file(path, descriptor)
        return
    if descriptor is not None:
        os.close(descriptor)
    if merged is not None and path.exists():
        begin, beside = _begin_of_frames(path), path.with_suffix(_MERGED)
        with contextlib.suppress(OSError):  # without that file, the entries are merged once more, which changes nothing
            end = begin + end_of_frames(_read_frames(path)[: max(merged - begin, 0)])
            beside.unlink(missing_ok=True)
            write_new_file(beside, str(end).encode())


def find_abandoned_journals(root: Path) -> dict[str, list[Path]]:
    """Return the journals of runs that ended without merging them, by the id of the scope.

    A scope is left out if a process still holds the lock of one of its journals.
    """
    scopes: dict[str, list[Path]] = defaultdict(list)
    for path in _files_named_like_journals(root):
        if _why_not_a_journal(path) is None:
            scopes[path.name.split(".", 1)[0]].append(path)
    return {scope: paths for scope, paths in scopes.items() if all(map(_is_unused, paths))}


def find_journals_in_use(root: Path) -> list[Path]:
    """Return the journals of runs that have not ended."""
    return [path for path in _files_named_like_journals(root) if not (_why_not_a_journal(path) or _is_unused(path))]


def find_what_is_no_journal(root: Path) -> list[tuple[Path, str]]:
    """Return the files with the suffix of a journal that are no journals or cannot be opened, each with the reason."""
    found = [(path, _why_not_a_journal(path)) for path in _files_named_like_journals(root)]
    return [(path, why) for path, why in found if why is not None]


def _files_named_like_journals(root: Path) -> list[Path]:
    folder = root / WORK_FOLDER
    return [] if folder.is_symlink() else sorted(folder.glob("*.journal"))


def _why_not_a_journal(path: Path) -> str | None:
    if not _NAME.fullmatch(path.name):
        return "not the name of a journal"
    try:
        os.close(open_regular(path, os.O_RDWR))
    except FileNotFoundError:
        return None  # its process has removed it meanwhile
    except OSError as error:
        return "a link" if error.errno == errno.ELOOP else (error.strerror or str(error))
    return None


def _open_locked(path: Path) -> int:
    """Open a journal for writing and lock it. Return its descriptor.

    Raises ``OSError``. Raises ``CassetteWriteError`` if files cannot be locked: without locks, a journal in use looks
    like one that a killed run has left.
    """
    for attempt in itertools.count():
        descriptor = os.open(path, _TO_WRITE, 0o666)
        try:
            locked = _try_lock(descriptor)
        except OSError as error:
            is_empty = not os.fstat(descriptor).st_size  # otherwise this process has recorded into it before
            os.close(descriptor)
            if is_empty:
                with contextlib.suppress(OSError):  # the error to report is that the file cannot be locked
                    path.unlink()
            if error.errno in HAS_NO_LOCKS:
                raise cannot_lock_error(path, error) from error
            raise
        # Between `open` and the lock, a run that looks for abandoned journals may lock the file and remove it.
        # Recordings that are written to a removed file would be lost, so the file is opened again.
        removed = sys.platform != "win32" and not os.fstat(descriptor).st_nlink
        if (locked or attempt >= _MOST_ATTEMPTS) and not removed:
            break
        os.close(descriptor)
        time.sleep(0 if removed else 0.005)
    try:
        if not os.fstat(descriptor).st_size:
            os.write(descriptor, _LOCKED_BYTE)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_file(path: Path, descriptor: int) -> None:
    """Remove a journal that is open and locked, then its large bodies. If this is killed, the next run removes the
    rest.

    Raises ``CassetteWriteError``.
    """
    try:
        if sys.platform == "win32":  # an open file cannot be removed
            os.close(descriptor)
            with contextlib.suppress(FileNotFoundError):
                change_open_file(os.unlink, path)
        else:  # removed while it is locked: after `close`, another process could open it to write
            try:
                path.unlink(missing_ok=True)
            finally:
                with contextlib.suppress(OSError):  # such as a full disk, which does not matter for a removed file
                    os.close(descriptor)
        path.with_suffix(_MERGED).unlink(missing_ok=True)
    except OSError as error:
        raise CassetteWriteError(
            f"{path} cannot be removed: {error.strerror or error}. Its recordings are stored or discarded: delete it."
        ) from error
    shutil.rmtree(bodies_folder_of(path), ignore_errors=True)


def remove_stray_bodies(root: Path) -> None:
    """Remove the files and folders of journals that do not exist: a process was killed while it removed them."""
    for file in (root / WORK_FOLDER).glob(f"*{_MERGED}"):
        if not file.with_suffix(".journal").exists():
            file.unlink(missing_ok=True)
    for folder in (root / WORK_FOLDER).glob("*.bodies"):
        if not folder.with_suffix(".journal").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _is_unused(path: Path) -> bool:
    descriptor = _open_unused(path)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def _open_unused(path: Path) -> int | None:
    try:
        descriptor = open_regular(path, os.O_RDWR)
    except OSError:
        return None
    with contextlib.suppress(OSError):  # a file system without locks
        if _try_lock(descriptor):
            return descriptor
    os.close(descriptor)
    return None


def _try_lock(descriptor: int) -> bool:
    """Lock a journal without waiting, and say whether that worked. Raises ``OSError`` if files cannot be locked.

    The lock ends when the last copy of the descriptor is closed. A forked child has such a copy.
    """
    return filelock.lock_descriptor(descriptor, blocking=False)
