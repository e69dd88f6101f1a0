"""The folder of journals and locks below the cassette folder: created when needed, removed when empty.

For each cassette that is being written it holds a lock file, and a file with the name of the process that holds it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aquila.cassettes.storage.names import WORK_FOLDER
from aquila.cassettes.storage.regular_files import read_regular, write_new_file
from aquila.errors import CassetteWriteError
from aquila.lazy_imports import lazy_modules

if TYPE_CHECKING:
    import logging
    import platform

    import filelock
else:
    lazy_modules(globals(), logging="logging", platform="platform", filelock="filelock")

_IGNORE_ALL = "*\n"
_MOST_ATTEMPTS = 20
"""How often the folder is created again while other processes remove it because it is empty."""
_MADE_ROOT = "# Aquila made the cassette folder too.\n"
"""A line of the ``.gitignore`` in the folder: the cassette folder may be removed, too, when the folder is."""
_SAID_AFTER = 2.0
"""After how many seconds of waiting for a lock the user is told who holds it."""


def work_folder(root: Path) -> Path:
    """Return the folder of journals and locks, and create it if it does not exist. Raises ``CassetteWriteError``.

    ``root`` is the cassette folder. As long as the folder is empty another process may remove it; see
    ``remove_unused_work_folder``.
    """
    folder = root / WORK_FOLDER
    ignore = folder / ".gitignore"
    if folder.is_symlink():
        raise CassetteWriteError(f"cannot record: {folder} is a symbolic link, which is not followed. Remove it.")
    for attempt in itertools.count():
        try:
            made_root = not root.exists()
            folder.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(ignore):
                with ignore.open("x") as file:  # "x" follows no link, not even a dangling one
                    file.write(_IGNORE_ALL + (_MADE_ROOT if made_root else ""))
        except OSError as error:
            was_removed = isinstance(error, FileNotFoundError | FileExistsError)
            if not was_removed or attempt >= _MOST_ATTEMPTS:
                raise cassette_write_error(folder, error) from error
        else:
            break
    return folder


def remove_unused_work_folder(root: Path) -> None:
    """Remove the folder of journals and locks if it is empty, and ``root`` if Aquila created it and it is empty.

    A process that was about to use the folder creates it again.
    """
    folder = root / WORK_FOLDER
    ignore = folder / ".gitignore"
    with contextlib.suppress(OSError):  # there is no such folder, or `root` has cassettes: both are as they should be
        if folder.is_symlink() or os.listdir(folder) != [ignore.name]:
            return
        content = read_regular(ignore).decode()
        ignore.unlink()
        try:
            folder.rmdir()
        except OSError:  # another process has put something into it since
            ignore.write_text(content)
            return
        if content.endswith(_MADE_ROOT):
            root.rmdir()


@contextlib.contextmanager
def hold_cassette_lock(path: Path, root: Path, tell: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold the lock of a cassette within the block. Only one process at a time can hold it.

    ``root`` is the cassette folder. If another process holds the lock for more than two seconds, ``tell`` is called
    with a sentence that names it; the log gets it, too. Raises ``CassetteWriteError``.
    """
    # The lock is a file in the work folder, and not beside the cassette, where it would show up in git.
    name = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def acquire(lock: filelock.FileLock, name_holder: Callable[[], str]) -> None:
        # Without the sentence, a run that waits for a process that hangs would look as if it hung itself.
        try:
            lock.acquire(timeout=_SAID_AFTER)
        except filelock.Timeout:
            sentence = f"{path}: waiting to write it; {name_holder()} is writing it now (lock {lock.lock_file})"
            logging.getLogger("aquila").warning("%s", sentence)
            if tell is not None:
                tell(sentence)
            lock.acquire()

    with hold_named_lock(work_folder(root) / f"{name}.lock", acquire):
        yield


@contextlib.contextmanager
def hold_named_lock(file: Path, acquire: Callable[[filelock.FileLock, Callable[[], str]], None]) -> Iterator[None]:
    """Hold a lock within the block, with the name of this process beside it.

    ``file`` is the lock file. ``acquire`` acquires the lock that it is given; its second argument is a function that
    returns the name of the process that holds it. Its exceptions pass through, but an ``OSError`` becomes
    ``CassetteWriteError``.
    """
    lock, owner = filelock.FileLock(file), file.with_suffix(".owner")

    def name_holder() -> str:
        try:
            return read_regular(owner, most=200).decode(errors="replace")
        except OSError:
            return "another process"

    try:
        acquire(lock, name_holder)
        write_new_file(owner, f"process {os.getpid()} on {platform.node()}".encode())
    except OSError as error:
        raise cassette_write_error(file, error) from error
    try:
        yield
    finally:
        # The name goes first: after `release`, it could be that of the next holder.
        with contextlib.suppress(OSError):
            owner.unlink()
        lock.release()


@contextlib.contextmanager
def hold_cassette_locks(paths: Iterable[Path], root: Path) -> Iterator[None]:
    """Hold the locks of several cassettes within the block. Raises ``CassetteWriteError``."""
    with contextlib.ExitStack() as stack:
        # Always in one order, so that two processes cannot deadlock; and one lock for two paths of the same file.
        for path in sorted({path.resolve(): path for path in paths}.values()):
            stack.enter_context(hold_cassette_lock(path, root))
        yield


def cassette_write_error(path: Path, error: OSError) -> CassetteWriteError:
    """Return the error for a path that could not be written."""
    reason = error.strerror or str(error)
    advice = "free the disk or make the folder writable, or set another folder with aquila_cassette_dir"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        advice = "close files or connections that the program keeps open, or allow more of them (ulimit -n 4096)"
    return CassetteWriteError(f"cannot record: {path}: {reason}. The cassette is as it was; {advice}.")
