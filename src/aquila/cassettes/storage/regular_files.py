"""Opens files that somebody else may have put there, and refuses pipes, devices and links.

A pipe or a device could block a run for ever, and a link could lead it to a file outside of its folder.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""``O_NONBLOCK``: opening a pipe without a writer returns at once, so that it can be refused; no effect on files."""
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)


def open_regular(path: str | Path, flags: int = os.O_RDONLY, *, follow: bool = False) -> int:
    """Open a regular file and return its descriptor. ``flags`` are those of ``os.open``.

    Raises ``OSError`` for anything else, also for a symbolic link unless ``follow`` is true.
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
        data = file.read()  # not `read(most)`, which allocates all of `most` first
        return data if most < 0 else data[:most]  # the file may have grown since `fstat`


def write_new_file(path: Path, data: bytes) -> None:
    """Write a file in place of whatever has its name. A link there is removed, not followed. Raises ``OSError``."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        file.write(data)
