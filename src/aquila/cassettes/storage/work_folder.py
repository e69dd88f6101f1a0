"""The folder of journals and locks below the cassette folder: created when needed, removed when empty.

For each cassette that is being written it has a lock file, and a file with the name of the process that holds the lock;
see ``cassette_lock``. On NFS and FUSE, lock files stay, and so does the folder.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sys
from pathlib import Path

from aquila.cassettes.storage.names import WORK_FOLDER
from aquila.cassettes.storage.regular_files import read_regular
from aquila.errors import CassetteWriteError

_IGNORE_ALL = "*\n"
_MOST_ATTEMPTS = 20
"""How often the folder is created again while other processes remove it because it is empty."""
HAS_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL})
"""The errors of locking a file on a file system without locks. The kind of the file system decides which one it is."""
_SHORT_ENOUGH = 200
"""The characters of a path that are never too many on Windows. It usually allows 259, and Aquila adds some while it
writes."""
_MADE_ROOT = "# Aquila made the cassette folder too.\n"
"""A line in the ``.gitignore`` of the work folder: the cassette folder may be removed with the work folder."""


def work_folder(root: Path) -> Path:
    """Return the folder of journals and locks, and create it if it does not exist. Raises ``CassetteWriteError``.

    ``root`` is the cassette folder. While the folder is empty, another process may remove it; see
    ``remove_unused_work_folder``.
    """
    folder = root / WORK_FOLDER
    ignore = folder / ".gitignore"
    if os.path.islink(folder):  # `Path.is_symlink` raises where the folder around it cannot be searched
        raise CassetteWriteError(
            f"{folder} is a symbolic link, which is not followed, so nothing can be written there. Remove it."
        )
    for attempt in itertools.count():
        try:
            made_root = not root.exists()
            folder.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(ignore):
                _write_ignore(ignore, _IGNORE_ALL + (_MADE_ROOT if made_root else ""))
        except OSError as error:
            was_removed = isinstance(error, FileNotFoundError | FileExistsError)
            if not was_removed or attempt >= _MOST_ATTEMPTS:
                raise cassette_write_error(folder, error) from error
        else:
            break
    return folder


def _write_ignore(ignore: Path, content: str) -> None:
    """Write the whole ``.gitignore`` of the folder, or remove it: on a full disk an empty file would stay."""
    file = ignore.open("x", newline="\n")  # "x" follows no link, not even a dangling one
    try:
        with file:
            file.write(content)
    except BaseException:
        ignore.unlink(missing_ok=True)
        raise


def remove_unused_work_folder(root: Path) -> None:
    """Remove the folder of journals and locks if it is empty, and ``root`` if Aquila created it and it is empty.

    A process that was about to use the folder creates it again.
    """
    folder = root / WORK_FOLDER
    ignore = folder / ".gitignore"
    with contextlib.suppress(OSError):  # there is no such folder, or `root` has cassettes: nothing is to be removed
        if folder.is_symlink() or os.listdir(folder) != [ignore.name]:
            return
        content = read_regular(ignore).decode()
        ignore.unlink()
        try:
            folder.rmdir()
        except OSError:  # another process has put a file into the folder meanwhile
            ignore.write_text(content, newline="\n")
            return
        if content.endswith(_MADE_ROOT):
            root.rmdir()


def cannot_lock_error(path: Path, error: OSError) -> CassetteWriteError:
    """Return the error for a file that the file system would not lock."""
    return CassetteWriteError(
        f"cannot write {path}: files there cannot be locked ({error.strerror or error}), and without locks two runs "
        "could undo what the other records. Nothing was changed; mount that file system with locks (NFS needs a lock "
        "service or nolock, Lustre flock or localflock), or set a folder on another one with aquila_cassette_dir. A "
        "replay needs no locks."
    )


def cassette_write_error(path: Path, error: OSError) -> CassetteWriteError:
    """Return the error for a path that could not be written."""
    reason = error.strerror or str(error)
    advice = "free the disk or make the folder writable, or set another folder with aquila_cassette_dir"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        advice = "close files or connections that the program keeps open, or allow more of them (ulimit -n 4096)"
    elif sys.platform == "win32" and isinstance(error, PermissionError):
        advice = (
            "close the program that has it open (an editor, a virus scanner), or make it and its folder writable "
            "(attrib -r), or set another folder with aquila_cassette_dir"
        )
    elif sys.platform == "win32" and error.errno == errno.ENOENT and len(str(path)) > _SHORT_ENOUGH:
        advice = (
            f"its path has {len(str(path))} characters. Windows takes at most 259, including those that are added "
            "while it is written: give parameters short ids, or set a folder with a shorter path with "
            "aquila_cassette_dir, or allow long paths (LongPathsEnabled in the registry; git config core.longpaths)"
        )
    return CassetteWriteError(f"cannot write {path}: {reason}. The cassette is as it was; {advice}.")
