"""Opens and lists files that somebody else may have put into a folder. Pipes, devices and links are refused.

A pipe or a device could block a run for ever, and a link could lead to a file outside of the folder.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    import filelock
else:
    lazy_modules(globals(), "filelock")

BINARY = getattr(os, "O_BINARY", 0)
"""A flag for ``os.open``. Without it, Windows writes each ``\\n`` as ``\\r\\n``, and stops reading at a Ctrl-Z."""
_NO_WAITING = getattr(os, "O_NONBLOCK", 0) | BINARY
"""With ``O_NONBLOCK``, opening a pipe without a writer returns at once, and the pipe can be refused. The flag has no
effect on files."""
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)


def open_regular(path: str | Path, flags: int = os.O_RDONLY, *, follow: bool = False) -> int:
    """Open a file and return its descriptor. Raises ``OSError``, also for anything that is not a regular file.

    A symbolic link is refused, too, unless ``follow`` is true.
    """
    return _open_regular(path, flags, follow)[0]


def _open_regular(path: str | Path, flags: int, follow: bool) -> tuple[int, int]:
    """Open a file and return its descriptor and its size in bytes."""
    descriptor = os.open(path, flags | _NO_WAITING | (0 if follow else _NO_LINKS))
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            number = errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EINVAL
            reason = os.strerror(number) if number == errno.EISDIR else "Not a regular file"
            raise OSError(number, reason, str(path))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, found.st_size


def read_regular(path: str | Path, *, most: int = -1, follow: bool = False) -> bytes:
    """Return the content of a file, or its first ``most`` bytes. Raises ``OSError`` like ``open_regular``."""
    # With a descriptor: a file object makes five more system calls, and each replayed test reads two files.
    descriptor, size = _open_regular(path, os.O_RDONLY, follow)
    try:
        # One byte more than the file has, so that the number of bytes that come tells whether these are all. Not
        # `most`, because `os.read` first reserves memory for as many bytes as it is asked for.
        wanted = size + 1 if most < 0 else min(size + 1, most)
        data = os.read(descriptor, wanted)
        if len(data) == size or len(data) == most:
            return data
        return _read_rest(descriptor, [data], most)
    finally:
        os.close(descriptor)


_PART = 1024 * 1024


def _read_rest(descriptor: int, parts: list[bytes], most: int) -> bytes:
    """Read the rest of a file that has grown meanwhile, or that is too large for one call."""
    left = most - len(parts[0])
    while parts[-1] and (most < 0 or left > 0):
        parts.append(os.read(descriptor, _PART if most < 0 else min(_PART, left)))
        left -= len(parts[-1])
    return b"".join(parts)


def open_to_append(path: str | Path) -> int:
    """Open a file for appending, and create it for this user alone if it does not exist. Return its descriptor.

    Raises ``OSError``.
    """
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | BINARY, 0o600)


def append_whole(descriptor: int, path: str | Path, data: bytes) -> None:
    """Append ``data`` as a whole: what other processes append comes before or after it.

    ``descriptor`` is from ``open_to_append``, ``path`` is the path of its file. Raises ``OSError``.
    """
    if sys.platform == "win32":  # Windows looks for the end of the file and writes in two steps
        with filelock.FileLock(f"{path}.lock"):
            os.write(descriptor, data)
    else:
        os.write(descriptor, data)


def write_new_file(path: Path, data: bytes) -> None:
    """Write a new file. A file or a link of that name is removed first; a link is not followed. Raises ``OSError``."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        file.write(data)


def find_files(root: Path) -> list[Path]:
    """Return all files and links below a folder, sorted. Folders that cannot be read or are removed are left out."""
    # Unlike `Path.rglob`, which raises for a folder that another process removes before it is read.
    return sorted(Path(folder, name) for folder, _, names in os.walk(root) for name in names)


def find_folders(root: Path, called: str) -> list[Path]:
    """Return the folders below a folder whose name is ``called``, sorted, like ``find_files``."""
    return sorted(Path(folder, called) for folder, inner, _ in os.walk(root) if called in inner)
