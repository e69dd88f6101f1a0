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
    lazy_modules(globals(), "fcntl", "filelock")

_HALF_WRITTEN = r"\.(?:.+\.[0-9a-f]{8}|[0-9a-f]{16})\.tmp"  # the names of `replace_file` and of `BodyWriter`
_LEFT_AFTER = 2.0
"""Seconds after which an unlocked temporary file counts as left behind. A younger one may not be locked yet."""
_OPEN_FOR = 2.0
"""For how many seconds the replacement of a file is tried again on Windows while the file is open elsewhere."""
_OLD = 3600.0
"""Seconds after which a temporary file counts as left behind if files cannot be locked."""
_CANNOT_FLUSH = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""The errors of ``fsync`` on file systems that do not support it, such as many of FUSE and of networks."""


def replace_file(path: Path, data: bytes) -> None:
    """Write ``data`` to a file beside ``path``, and replace ``path`` by it in one step. Raises ``OSError``."""
    # In the same folder, because a rename is atomic only within one file system. The name is cut, because file systems
    # allow 255 bytes.
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            lock_half_written_file(descriptor)
            # A new file has the mode 0o666 without the bits of the umask, and belongs to root in a container of root.
            # Some file systems, such as FAT, have no modes to set, and only root may change the owner. Windows neither
            # replaces nor removes a read-only file, so there the temporary file must not become one.
            if sys.platform != "win32":
                with contextlib.suppress(OSError):
                    replaced = path.stat()
                    os.fchmod(descriptor, replaced.st_mode & 0o777)
                    os.fchown(descriptor, replaced.st_uid, replaced.st_gid)
            file.write(data)
            file.flush()
            flush_to_disk(file.fileno())
        # After the flush: some file systems may otherwise store the new name before the data, and a loss of power would
        # leave an empty file.
        change_open_file(os.replace, temporary, path)
        sync_folder(path.parent)
    except BaseException:  # also Ctrl-C, and the time limit of a test
        with contextlib.suppress(OSError):  # the error of the writing is the one to report
            temporary.unlink()
        raise


def flush_to_disk(descriptor: int) -> None:
    """Make what was written to a file survive a loss of power, if its file system can do that. Raises ``OSError``."""
    if sys.platform != "win32" and (full := getattr(fcntl, "F_FULLFSYNC", None)) is not None:
        # macOS, where `fsync` leaves the data in the memory of the disk. Some file systems there only have `fsync`.
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

    Windows refuses that while another process has the file open, such as another process of the tests or a virus
    scanner. These close it within moments, so on Windows the call is repeated for up to two seconds.
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
    with contextlib.suppress(OSError):  # a file system without locks: `_is_unlocked` then looks at the age
        filelock.lock_descriptor(descriptor, blocking=False)


def find_half_written_files(root: Path) -> Iterator[Path]:
    """Yield the temporary files below a folder whose writers were killed: unlocked, and unchanged for 2 seconds."""
    for path in find_files(root):
        if re.fullmatch(_HALF_WRITTEN, path.name):
            with contextlib.suppress(OSError):  # its writer has just renamed or removed it
                if time.time() - path.stat().st_mtime > _LEFT_AFTER and _is_unlocked(path):
                    yield path


def remove_half_written_files(root: Path) -> None:
    """Remove the files that ``find_half_written_files`` finds."""
    for path in find_half_written_files(root):
        with contextlib.suppress(OSError):
            path.unlink()


def _is_unlocked(path: Path) -> bool:
    """Say whether no process is writing a file. If files cannot be locked, the age of the file decides."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        return filelock.lock_descriptor(descriptor, blocking=False)
    except OSError:
        return time.time() - path.stat().st_mtime > _OLD
    finally:
        os.close(descriptor)
