"""Replaces files in one step, and finds the temporary files of writers that were killed before that step."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.storage.regular_files import find_files
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    import fcntl

    import filelock
else:
    lazy_modules(globals(), fcntl="fcntl", filelock="filelock")

_HALF_WRITTEN = r"\.(?:.+\.[0-9a-f]{8}|[0-9a-f]{16})\.tmp"  # the names of `replace_file` and of `BodyWriter`
_LEFT_AFTER = 2.0
"""Seconds after which an unlocked temporary file counts as left behind. Its writer may not have locked it before."""
_OPEN_FOR = 2.0
"""For how many seconds a file of Windows that is open elsewhere is tried to be replaced."""
_OLD = 3600.0
"""Seconds after which a temporary file counts as left behind where files cannot be locked."""
_CANNOT_FLUSH = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""What ``fsync`` says of a file system that has no such thing, as many of FUSE and of networks."""


def replace_file(path: Path, data: bytes) -> None:
    """Write ``data`` to a file beside ``path``, and replace ``path`` by it in one step. Raises ``OSError``."""
    # In the same folder, because a rename is atomic only within one file system. The name is cut, because file systems
    # allow 255 bytes.
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            lock_half_written_file(descriptor)
            file.write(data)
            file.flush()
            flush_to_disk(file.fileno())
        # A new file has what the umask has left of 0o666. Some file systems, such as FAT, have no modes to set. Windows
        # replaces no read-only file, and would not remove a temporary one that is read-only, too.
        if sys.platform != "win32":
            with contextlib.suppress(OSError):
                os.chmod(temporary, path.stat().st_mode & 0o777)
        # After the flush: some file systems may otherwise store the new name before the data, and a loss of power would
        # leave an empty file.
        change_open_file(os.replace, temporary, path)
        sync_folder(path.parent)
    except BaseException:  # also Ctrl-C, and the time limit of a test
        with contextlib.suppress(OSError):  # the error of the writing is the one to tell
            temporary.unlink()
        raise


def flush_to_disk(descriptor: int) -> None:
    """Make what was written to a file survive a loss of power, if its file system can do that. Raises ``OSError``."""
    if sys.platform != "win32" and (full := getattr(fcntl, "F_FULLFSYNC", None)) is not None:
        # macOS, where `fsync` leaves it in the memory of the disk. Some file systems know no more than that.
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, full)
            return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_FLUSH:
            raise


def change_open_file(change: Callable[..., None], *paths: str | Path) -> None:
    """Replace or remove a file by calling ``change`` with ``paths``. Raises ``OSError``.

    Windows refuses that while somebody has the file open: another process of the tests that reads it, or a virus
    scanner. They are done within moments, so there it is tried again for two seconds.
    """
    until = time.perf_counter() + _OPEN_FOR
    while True:
        try:
            return change(*paths)
        except PermissionError:
            if sys.platform != "win32" or time.perf_counter() > until:
                raise
            time.sleep(0.01)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a loss of power, where the system can do that."""
    with contextlib.suppress(OSError):  # Windows opens no folder, and some file systems sync none
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            flush_to_disk(descriptor)
        finally:
            os.close(descriptor)


def lock_half_written_file(descriptor: int) -> None:
    """Mark a temporary file as being written, for as long as its descriptor is open."""
    with contextlib.suppress(OSError):  # a file system without locks: `_is_unlocked` then goes by the age
        filelock.lock_descriptor(descriptor, blocking=False)


def find_half_written_files(root: Path) -> Iterator[Path]:
    """Find the temporary files below a folder whose writers were killed: those that nobody has locked for 2 seconds."""
    for path in find_files(root):
        if re.fullmatch(_HALF_WRITTEN, path.name):
            with contextlib.suppress(OSError):  # its writer has just renamed or removed it
                if time.time() - path.stat().st_mtime > _LEFT_AFTER and _is_unlocked(path):
                    yield path


def remove_half_written_files(root: Path) -> None:
    """Remove what ``find_half_written_files`` finds."""
    for path in find_half_written_files(root):
        with contextlib.suppress(OSError):
            path.unlink()


def _is_unlocked(path: Path) -> bool:
    """Say whether no process is writing a file. Where files cannot be locked, an old file counts as such."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        return filelock.lock_descriptor(descriptor, blocking=False)
    except OSError:
        return time.time() - path.stat().st_mtime > _OLD
    finally:
        os.close(descriptor)
