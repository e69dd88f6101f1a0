"""Opens files that somebody else may have put there: a pipe, a device or a link must neither stop nor lead a run."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""A pipe that nobody writes to is opened at once, to be refused."""
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)


def open_regular(path: str | Path, flags: int = os.O_RDONLY, *, follow: bool = False) -> int:
    """Open a file and return its descriptor. Raises ``OSError`` for what is no regular file.

    A symbolic link is none, unless ``follow``.
    """
    descriptor = os.open(path, flags | _NO_WAITING | (0 if follow else _NO_LINKS))
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            reason = os.strerror(number) if number == errno.EISDIR else "Not a regular file"
            raise OSError(number, reason, str(path))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_regular(path: str | Path, *, most: int = -1, follow: bool = False) -> bytes:
    """Return the content of a file, or its first ``most`` bytes. Raises ``OSError`` like ``open_regular``."""
    with open(open_regular(path, follow=follow), "rb", buffering=0) as file:
        if 0 <= most < os.fstat(file.fileno()).st_size:
            return file.read(most)
        data = file.read()  # asked for a number of bytes it would get memory for all of them first, and `most` is large
        return data if most < 0 else data[:most]  # the file may grow meanwhile


def write_new_file(path: Path, data: bytes) -> None:
    """Write a file in place of whatever has its name. A link there is removed, not followed. Raises ``OSError``."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        file.write(data)
